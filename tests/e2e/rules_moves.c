/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole moves, and what the destination owes to the job when it arrives. */
#include "tests/e2e/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 64, STEPS = 6, MOVE_AT = 3 };

static const char *const on_demand[] = {"background", "off", NULL};

static void moves_right(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

/* The smallest and the largest numbers of slots and stages that the options allow. */
static void moves_at_the_limits(void)
{
    static const char *const least[] = {"slots", "1", "stages", "2", "stage-size", "16K", NULL};
    static const char *const most[] = {"slots", "4096", "stages", "64", "stage-size", "16K", NULL};
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    rig_run(&run,
            &(struct rig_setup){.body = grid_job, .ctx = &play, .destination_options = least});
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play, .destination_options = most});
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

static void moves_by_sleeping_threads(void)
{
    static const char *const sleeping[] = {"wait", "sleep", NULL};
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job,
                                      .ctx = &play,
                                      .source_options = sleeping,
                                      .destination_options = sleeping});
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

/* ---- on demand only -------------------------------------------------------------------------- */

static void count_requests(struct rig_side *side, struct grid *grid)
{
    struct ferry_status status;
    (void)grid;
    if (!side->destination)
        return;
    grid_await_complete(side);
    ferry_job_status(side->job, &status);
    rig_say(side, "requests %llu", (unsigned long long)status.requests);
    rig_say(side, "received %llu", (unsigned long long)status.received_bytes);
    rig_say(side, "remaining %llu", (unsigned long long)status.remaining_bytes);
}

static void touched_pages_arrive_without_background(void)
{
    static const char *const one_by_one[] = {"prefetch", "off", NULL};
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .finished = count_requests};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job,
                                      .ctx = &play,
                                      .source_options = on_demand,
                                      .destination_options = one_by_one});
    CU_ASSERT_EQUAL(rig_number(&run.destination, "requests"), PAGES);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "received"), PAGES * RIG_PAGE);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "remaining"), 0);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

static void try_to_move_on(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    rig_say(side, "refused %d", ferry_job_migrate(side->job, "tcp://127.0.0.1:1"));
    rig_say(side, "why %s", ferry_job_why(side->job));
}

static void arriving_job_can_not_move_on(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .arrived = try_to_move_on};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play, .source_options = on_demand});
    CU_ASSERT_EQUAL((int)rig_number(&run.destination, "refused"), -EBUSY);
    CU_ASSERT(rig_mentions(&run.destination, "arrival has not completed"));
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

/* ---- further --------------------------------------------------------------------------------- */

static void moves_twice(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_side last = {.body = grid_job, .ctx = &play, .destination = true};
    struct rig_side first = last;
    struct rig_process third;
    struct rig_run run = {.failures_before = CU_get_number_of_failures()};

    snprintf(last.uri, sizeof last.uri, "%s", rig_target());
    rig_launch(&third, &last);
    CU_ASSERT_TRUE_FATAL(rig_await(&third, "uri"));
    snprintf(first.uri, sizeof first.uri, "%s", rig_target());
    snprintf(first.next, sizeof first.next, "%s", rig_said(&third, "uri"));
    rig_launch(&run.destination, &first);
    CU_ASSERT_TRUE_FATAL(rig_await(&run.destination, "uri"));
    snprintf(first.uri, sizeof first.uri, "%s", rig_said(&run.destination, "uri"));
    first.destination = false;
    rig_launch(&run.source, &first);

    rig_end(&run);
    rig_finish(&third);
    CU_ASSERT_EQUAL(run.source.status, 0);
    CU_ASSERT_EQUAL(run.destination.status, 0);
    CU_ASSERT_EQUAL(rig_times_said(&run.source, "answer"), 0);
    CU_ASSERT_EQUAL(rig_times_said(&run.destination, "answer"), 0);
    CU_ASSERT_EQUAL(third.status, 0);
    CU_ASSERT_EQUAL(rig_number(&third, "answer"), grid_expected(PAGES, STEPS));
    rig_explain(&run);
}

/* ---- state, edges, pointers ------------------------------------------------------------------ */

enum { EDGE_BEFORE = 100, EDGE_AFTER = 33, INNER = 5 };

static char pattern(size_t i)
{
    return (char)(i * 7 + i / 251);
}

static int edges_job(struct rig_side *side)
{
    char *memory = aligned_alloc(RIG_PAGE, (INNER + 2) * RIG_PAGE);
    char *mine = memory + RIG_PAGE - EDGE_BEFORE;
    size_t bytes = EDGE_BEFORE + INNER * RIG_PAGE + EDGE_AFTER;
    char small[24] = "";
    double late = 0;
    rig_open(side);
    memset(memory, 'x', (INNER + 2) * RIG_PAGE);
    if (ferry_job_protect(side->job, "mine", mine, bytes) < 0 ||
        ferry_job_protect(side->job, "small", small, sizeof small) < 0 ||
        ferry_job_state(side->job, &late, sizeof late) < 0)
        return 96;
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t i = 0; i < bytes; i++)
            mine[i] = pattern(i);
        strcpy(small, "smaller than a page");
        late = 2.5;
        int status = rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
        free(memory);
        return status;
    }
    size_t wrong = 0;
    for (size_t i = 0; i < bytes; i++)
        wrong += mine[i] != pattern(i);
    /* The rest of the pages at the edges is not the region's, and stays. */
    wrong += mine[-1] != 'x' || mine[bytes] != 'x';
    wrong += strcmp(small, "smaller than a page") != 0 || late != 2.5;
    rig_say(side, "answer %zu", wrong);
    int status = rig_close(side);
    free(memory);
    return status;
}

static void edges_and_state_travel(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = edges_job});
    rig_assert_moved(&run, 0);
}

struct node {
    struct node *next;
    uint64_t value;
};

enum { NODES = 1000 };

static int pointers_job(struct rig_side *side)
{
    uint64_t sum = 0;
    struct node *first = NULL;
    rig_open(side);
    char *other = ferry_job_alloc(side->job, "other", 3 * RIG_PAGE, 0, FERRY_FIXED_ADDR);
    struct node *nodes =
        ferry_job_alloc(side->job, "nodes", NODES * sizeof(struct node), 0, FERRY_FIXED_ADDR);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): the pointer itself is what travels */
    if (!other || !nodes || ferry_job_state(side->job, &first, sizeof first) < 0)
        return 96;
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t i = 0; i < NODES; i++) {
            nodes[i] = (struct node){first, i};
            first = &nodes[i];
        }
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (const struct node *node = first; node; node = node->next)
        sum += node->value;
    rig_say(side, "answer %llu", (unsigned long long)sum);
    return rig_close(side);
}

static void pointers_stay_right_at_a_fixed_address(void)
{
    struct rig_run run;
#ifdef __SANITIZE_THREAD__
    printf("skipped: ThreadSanitizer keeps the fixed area for itself ... ");
    return;
#endif
    rig_run(&run, &(struct rig_setup){.body = pointers_job});
    rig_assert_moved(&run, NODES * (NODES - 1) / 2);
}

const struct pf_test rules_moves[] = {
    {"moves_right", moves_right},
    {"moves_at_the_limits", moves_at_the_limits},
    {"moves_by_sleeping_threads", moves_by_sleeping_threads},
    {"touched_pages_arrive_without_background", touched_pages_arrive_without_background},
    {"arriving_job_can_not_move_on", arriving_job_can_not_move_on},
    {"moves_twice", moves_twice},
    {"edges_and_state_travel", edges_and_state_travel},
    {"pointers_stay_right_at_a_fixed_address", pointers_stay_right_at_a_fixed_address},
    {NULL, NULL},
};
