/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_rails URI,URI [TESTNAME [STRIDE]]: migrations over two rails, one of which breaks at its
 * device's operation 1, 2, 3, ... (or every STRIDEth) until none breaks any more. Before the switch
 * the job stays where it is; afterwards it goes on at the destination with all of its memory as
 * long as control, requests and one rail are left.
 */
#include "core/job/job.h"
#include "tests/e2e/rules.h"
#include "tests/huge.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    PAGES = 192,
    LARGE_PAGES = 8 * 512, /* eight of 2 MiB */
    STEPS = 4,
    MOVE_AT = 2,
    STRIDE = RULES_SANITIZED ? 5 : 1,
    OPERATIONS_MAX = 500,
};

/* CUnit's tests take no argument: set by main before the first test. */
static unsigned stride = STRIDE;

/* Small stages: each rail sends many. */
static const char *const options[] = {"slots",        "3", "stages", "2", "stage-size", "16K",
                                      "peer-timeout", "8", NULL};
/* What is dropped is missed by nobody but who waits for it. */
static const char *const impatient[] = {"slots",        "3", "stages", "2", "stage-size", "16K",
                                        "peer-timeout", "1", NULL};

static void await_all(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    grid_await_complete(side);
}

/* The destination reads: what a broken rail had under way is its own to give to another. */
static const char *const pulling[] = {"slots", "3",    "stages",       "2", "stage-size", "16K",
                                      "fetch", "read", "peer-timeout", "8", NULL};

static const char *const pulling_impatiently[] = {
    "slots", "3", "stages", "2", "stage-size", "16K", "fetch", "read", "peer-timeout", "1", NULL};

/* The job touches pages as they come: requests and the rails share the work. */
static const struct grid_play working = {PAGES, STEPS, MOVE_AT, .declared = NULL};
/* It waits for all of them: the rails do it alone. */
static const struct grid_play waiting = {PAGES, STEPS, MOVE_AT, .arrived = await_all};

/* Written to their places in the destination's file; and large ones, in parts. */
static const struct grid_play shared = {LARGE_PAGES, STEPS, MOVE_AT, .arrived = await_all,
                                        .flags = FERRY_SHARED};
static const struct grid_play large = {LARGE_PAGES, STEPS, MOVE_AT, .arrived = await_all,
                                       .page_size = FERRY_PAGE_2M};
static const struct grid_play large_shared = {
    LARGE_PAGES,          STEPS, MOVE_AT, .arrived = await_all, .page_size = FERRY_PAGE_2M,
    .flags = FERRY_SHARED};
/* Eight parts a page. */
static const char *const in_parts[] = {"slots",        "3", "stages", "2", "stage-size", "256K",
                                       "peer-timeout", "8", NULL};

struct plan {
    unsigned rail; /* the one whose device fails */
    bool at_source;
    const char *kind;
    const struct grid_play *play;
    const char *const *options;
    unsigned step; /* one that takes long takes only some operations */
    bool may_lose; /* the device carries control and requests, too */
};

static bool answered(const struct rig_process *process, const struct plan *plan)
{
    return process->status == 0 && rig_times_said(process, "answer") == 1 &&
           rig_number(process, "answer") == grid_expected(plan->play->pages, STEPS);
}

static bool moved(const struct rig_run *run, const struct plan *plan)
{
    return answered(&run->destination, plan) && run->source.status == 0 &&
           rig_times_said(&run->source, "answer") == 0;
}

static bool stayed(const struct rig_run *run, const struct plan *plan)
{
    return answered(&run->source, plan) && rig_times_said(&run->destination, "answer") == 0;
}

static bool lost(const struct rig_run *run)
{
    return run->source.status == FERRY_EXIT_SOURCE_LOST &&
           rig_times_said(&run->source, "answer") == 0;
}

static bool says_broken(const struct rig_run *run, unsigned rail)
{
    char words[32];
    snprintf(words, sizeof words, "rail %u (", rail);
    return rig_mentions(&run->source, words) || rig_mentions(&run->destination, words);
}

static void begin(struct rig_run *run, const struct plan *plan, unsigned at)
{
    char listen[RIG_URI];
    struct rig_setup setup = {
        .body = grid_job,
        .ctx = plan->play,
        .source_options = plan->options,
        .destination_options = plan->options,
    };
    if (plan->at_source) {
        setup.source_at = at;
        setup.source_rail = plan->rail;
        setup.kind = plan->kind;
    } else {
        rig_fault_rail(listen, rig_target(), plan->rail, at, plan->kind);
        setup.listen = listen;
    }
    rig_begin(run, &setup);
    rig_finish(&run->source);
    /* If it stayed where it was, the destination may wait for another. */
    if (rig_times_said(&run->source, "answer") > 0)
        rig_kill(&run->destination);
    rig_finish(&run->destination);
}

static bool ended_well(const struct rig_run *run, const struct plan *plan)
{
    /* The destination never listened. */
    if (run->source.pid == 0)
        return run->destination.status == 3;
    return moved(run, plan) || stayed(run, plan) || (plan->may_lose && lost(run));
}

/* A rail that breaks at one operation after the other. How many moves outlived that. */
static unsigned sweep_once(const struct plan *plan)
{
    bool came = true;
    unsigned outlived = 0;
    unsigned at = 1;
    for (; came && at < OPERATIONS_MAX; at += stride * plan->step) {
        struct rig_run run;
        begin(&run, plan, at);
        came = !rig_mentions(plan->at_source ? &run.source : &run.destination,
                             "the planned one never came");
        bool well = came ? ended_well(&run, plan) : moved(&run, plan);
        outlived += moved(&run, plan) && says_broken(&run, plan->rail);
        if (!well)
            fprintf(stderr, "\noperation %u of rail %u, do=%s:", at, plan->rail, plan->kind);
        CU_ASSERT_TRUE(well);
        rig_explain(&run);
    }
    CU_ASSERT_FALSE(came);
    printf("%u operations, %u outlived ... ", at - stride * plan->step - 1, outlived);
    return outlived;
}

/*
 * At least one move outlives it. On a busy machine the rail's thread may get its first turn when
 * the other one has carried all there was: then there is nothing to outlive, and it's tried again.
 */
static void sweep(const struct plan *plan)
{
    enum { TRIES = 4 };
    unsigned outlived = 0;
    for (unsigned i = 0; i < TRIES && outlived == 0; i++)
        outlived = sweep_once(plan);
    CU_ASSERT_TRUE(outlived > 0 ||
                   stride * plan->step > 1); /* by every second one it may be missed */
}

static void source_is_cut(void)
{
    sweep(&(struct plan){1, true, "cut", &waiting, options, 1, false});
}

static void destination_is_cut(void)
{
    sweep(&(struct plan){1, false, "cut", &waiting, options, 1, false});
}

static void source_fails_while_the_job_faults(void)
{
    sweep(&(struct plan){1, true, "fail", &working, options, 1, false});
}

static void destination_fails_while_the_job_faults(void)
{
    sweep(&(struct plan){1, false, "fail", &working, options, 1, false});
}

/* What left never arrives, and no link says so. */
static void source_drops(void)
{
    sweep(&(struct plan){1, true, "drop", &waiting, impatient, 3, false});
}

/* Control and requests are on this one's device: only its bulk lane can be outlived. */
static void first_rail_is_cut(void)
{
    sweep(&(struct plan){0, true, "cut", &waiting, options, 1, true});
}

static void rail_of_shared_memory_is_cut(void)
{
    sweep(&(struct plan){1, true, "cut", &shared, options, 1, false});
    sweep(&(struct plan){1, false, "cut", &shared, options, 1, false});
}

/* A page of which some parts were on the broken rail is sent by another from the beginning. */
static void rail_of_large_pages_is_cut(void)
{
    if (!huge_2m(2 * LARGE_PAGES / 512)) {
        printf("skipped: no huge pages to be had ... ");
        return;
    }
    sweep(&(struct plan){1, true, "cut", &large, in_parts, 5, false});
    sweep(&(struct plan){1, false, "cut", &large_shared, in_parts, 5, false});
}

/* ---- a connection that is really killed ------------------------------------------------------ */

enum { LONG_PAGES = 8192, HALT_AT = 40 };

/* Nobody gives the rail up by himself. */
static const char *const patient[] = {"stages",      "2",  "stage-size",   "16K", "prefetch", "off",
                                      "progress-ms", "10", "peer-timeout", "50",  NULL};

static unsigned rails_up(struct rig_side *side, uint64_t bytes[2])
{
    unsigned up = 0;
    pthread_mutex_lock(&side->job->lock);
    for (unsigned i = 0; i < side->job->rail_count && i < 2; i++) {
        up += side->job->rails[i].alive;
        bytes[i] = side->job->rails[i].bytes;
    }
    pthread_mutex_unlock(&side->job->lock);
    return up;
}

/* Kill what leads to the second rail's address, and wait for all the pages to come all the same. */
static void kill_connection(struct rig_side *side, struct grid *grid)
{
    uint64_t bytes[2] = {0, 0};
    (void)grid;
    while (rails_up(side, bytes) == 2 && bytes[1] == 0)
        usleep(1000);
    int status = system("ss -K -t state established dst 127.0.0.3 >/dev/null 2>&1");
    rig_say(side, "killed %d", status == 0);
    grid_await_complete(side);
    rig_say(side, "up %u", rails_up(side, bytes));
}

static bool can_kill(void)
{
    return geteuid() == 0 && system("ss -K -t dst 127.0.0.99 >/dev/null 2>&1") == 0;
}

static void connection_is_killed(void)
{
    static const struct grid_play play = {LONG_PAGES, STEPS, MOVE_AT, .arrived = kill_connection};
    struct rig_run run;
    struct rig_setup setup = {
        .body = grid_job,
        .ctx = &play,
        .source_options = patient,
        .destination_options = patient,
        .listen = "tcp://127.0.0.2:0,tcp://127.0.0.3:0",
        /* After some stages it comes to a halt: the rest can't come unless the connection goes. */
        .source_rail = 1,
        .source_at = HALT_AT,
        .kind = "delay&ms=45000",
    };
    if (!can_kill()) {
        printf("not shown: ss -K needs root and CONFIG_INET_DIAG_DESTROY ... ");
        return;
    }
    rig_run(&run, &setup);
    rig_assert_moved(&run, grid_expected(LONG_PAGES, STEPS));
    CU_ASSERT_EQUAL(rig_number(&run.destination, "killed"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "up"), 1);
    CU_ASSERT_TRUE(rig_mentions(&run.destination, "rail 1 (tcp://127.0.0.3:"));
    rig_explain(&run);
}

static void pulling_destination_is_cut(void)
{
    sweep(&(struct plan){1, false, "cut", &waiting, pulling, 1, false});
}

static void pulling_destination_is_late(void)
{
    sweep(&(struct plan){1, false, "delay&ms=2500", &waiting, pulling_impatiently, 7, false});
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"source_is_cut", source_is_cut},
        {"destination_is_cut", destination_is_cut},
        {"source_fails_while_the_job_faults", source_fails_while_the_job_faults},
        {"destination_fails_while_the_job_faults", destination_fails_while_the_job_faults},
        {"source_drops", source_drops},
        {"first_rail_is_cut", first_rail_is_cut},
        {"pulling_destination_is_cut", pulling_destination_is_cut},
        {"pulling_destination_is_late", pulling_destination_is_late},
        {"rail_of_shared_memory_is_cut", rail_of_shared_memory_is_cut},
        {"rail_of_large_pages_is_cut", rail_of_large_pages_is_cut},
        {"connection_is_killed", connection_is_killed},
        {NULL, NULL},
    };
    if (argc < 2 || (argc > 3 && atoi(argv[3]) < 1) || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI,URI [TESTNAME [STRIDE]], for example %s %s\n", argv[0],
                argv[0], "tcp://127.0.0.2:0,tcp://127.0.0.3:0");
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    }
    if (argc > 3)
        stride = (unsigned)strtoul(argv[3], NULL, 10);
    setenv("PAGEFERRY_LOG", "info", 1);
    return pf_suite_run(argv[1], tests, argc > 2 ? argv[2] : NULL);
}
