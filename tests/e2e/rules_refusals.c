/* SPDX-License-Identifier: BSD-2-Clause */
/* Moves that don't happen: the source goes on as if nothing had been, the destination waits. */
#include "tests/e2e/rules.h"
#include "tests/huge.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 16, STEPS = 6, MOVE_AT = 3 };

/* ---- jobs that differ ------------------------------------------------------------------------ */

struct extra {
    const char *name;
    size_t pages;
    unsigned flags;
    size_t page_size;
};

/* What a side declares beside the grid, and what the source is told when the two differ. */
struct deviation {
    struct grid_play play; /* first: the body's ctx */
    struct extra source[3], destination[3];
    size_t source_state, destination_state;
    const char *words;
};

static void declare(struct rig_side *side, struct grid *grid)
{
    static char state[64];
    const struct deviation *deviation = side->ctx;
    const struct extra *extras = side->destination ? deviation->destination : deviation->source;
    size_t bytes = side->destination ? deviation->destination_state : deviation->source_state;
    (void)grid;
    for (unsigned i = 0; i < 3 && extras[i].name; i++)
        if (!ferry_job_alloc(side->job, extras[i].name, extras[i].pages * RIG_PAGE,
                             extras[i].page_size, extras[i].flags))
            exit(94);
    if (bytes && ferry_job_state(side->job, state, bytes) < 0)
        exit(93);
}

#define PLAY                                                                                       \
    {                                                                                              \
        PAGES, STEPS, MOVE_AT, .declared = declare                                                 \
    }

static const struct deviation deviations[] = {
    {PLAY,
     {{"mesh", 2, 0, 0}},
     {{NULL, 0, 0, 0}},
     0,
     0,
     "region \"mesh\" does not exist at the dest"},
    {PLAY,
     {{NULL, 0, 0, 0}},
     {{"mesh", 2, 0, 0}},
     0,
     0,
     "region \"mesh\" does not exist at the source"},
    {PLAY, {{"mesh", 2, 0, 0}}, {{"mesh", 3, 0, 0}}, 0, 0, "region \"mesh\" has 8192 bytes"},
    {PLAY,
     {{"mesh", 2, 0, 0}},
     {{"mesh", 2, FERRY_FIXED_ADDR, 0}},
     0,
     0,
     "region \"mesh\" has other"},
    {PLAY,
     {{"mesh", 2, 0, 0}},
     {{"mesh", 2, FERRY_SHARED, 0}},
     0,
     0,
     "region \"mesh\" is private at the"},
    {PLAY,
     {{"mesh", 512, 0, 0}},
     {{"mesh", 512, 0, FERRY_PAGE_2M}},
     0,
     0,
     "region \"mesh\" has pages of 4 KiB at the source and of 2 MiB here"},
    {PLAY,
     {{"low", 1, FERRY_FIXED_ADDR, 0}, {"high", 1, FERRY_FIXED_ADDR, 0}},
     {{"high", 1, FERRY_FIXED_ADDR, 0}, {"low", 1, FERRY_FIXED_ADDR, 0}},
     0,
     0,
     "region \"low\" is number 1 at the source and 2"},
    {PLAY, {{NULL, 0, 0, 0}}, {{NULL, 0, 0, 0}}, 8, 16, "piece 1 of the state has 8 bytes"},
    {PLAY, {{NULL, 0, 0, 0}}, {{NULL, 0, 0, 0}}, 8, 0, "2 pieces of state"},
};

static const struct deviation fitting = {PLAY, {{"mesh", 2, 0, 0}}, {{"mesh", 2, 0, 0}}, 8, 8,
                                         NULL};

static void differing_jobs_are_refused(void)
{
    for (size_t i = 0; i < sizeof deviations / sizeof deviations[0]; i++) {
        struct rig_run run;
#ifdef __SANITIZE_THREAD__
        /* ThreadSanitizer keeps the area of fixed addresses for itself. */
        if ((deviations[i].source[0].flags | deviations[i].destination[0].flags) & FERRY_FIXED_ADDR)
            continue;
#endif
        if (deviations[i].destination[0].page_size && !huge_2m(1)) {
            printf("skipped in part: no huge pages to be had ... ");
            continue;
        }
        rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &deviations[i]});
        CU_ASSERT_EQUAL(run.destination.status, 3);
        CU_ASSERT(rig_mentions(&run.source, deviations[i].words));
        CU_ASSERT(rig_mentions(&run.destination, deviations[i].words));
        rig_assert_stayed(&run, grid_expected(PAGES, STEPS));
    }
}

/* Start one more source for a destination that waits. */
static void launch_source(struct rig_process *source, const struct rig_process *destination,
                          rig_body body, const void *ctx)
{
    struct rig_side side = {.body = body, .ctx = ctx};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(destination, "uri"));
    rig_launch(source, &side);
}

static void destination_waits_for_another(void)
{
    struct deviation wrong = fitting;
    struct rig_run run;
    struct rig_process right;
    wrong.source[0].pages = 5;
    rig_begin(&run, &(struct rig_setup){.body = grid_job, .ctx = &wrong, .persistent = true});
    rig_finish(&run.source);
    CU_ASSERT_EQUAL(run.source.status, 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), grid_expected(PAGES, STEPS));
    CU_ASSERT(rig_mentions(&run.source, "region \"mesh\" has 20480 bytes"));
    CU_ASSERT_TRUE(rig_await_failures(&run.destination, 1));
    launch_source(&right, &run.destination, grid_job, &fitting);
    rig_finish(&right);
    run.source = right;
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
    CU_ASSERT_EQUAL(rig_number(&run.destination, "started"), FERRY_ARRIVED);
}

/* ---- objections ------------------------------------------------------------------------------ */

static int object(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    (void)ctx;
    snprintf(reason, size, "a device is open");
    return event == FERRY_EVENT_PROBE ? -EPERM : 0;
}

static void object_at_destination(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    if (side->destination)
        ferry_job_notify(side->job, object, NULL);
}

static void object_at_source(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    if (!side->destination)
        ferry_job_notify(side->job, object, NULL);
}

static void destination_may_object(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = object_at_destination};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    CU_ASSERT_EQUAL(run.destination.status, 3);
    CU_ASSERT(rig_mentions(&run.source, "a part of the job objects: a device is open"));
    rig_assert_stayed(&run, grid_expected(PAGES, STEPS));
}

static void source_may_object(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = object_at_source};
    struct rig_run run;
    rig_begin(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    rig_finish(&run.source);
    rig_kill(&run.destination);
    CU_ASSERT(rig_mentions(&run.source, "a part of the job objects: a device is open"));
    rig_assert_stayed(&run, grid_expected(PAGES, STEPS));
}

static int hear_events(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    (void)reason;
    (void)size;
    static const char *const names[] = {"probe", "listen", "end"};
    rig_say(ctx, "event-%s", names[event]);
    return 0;
}

static void listen_in(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    ferry_job_notify(side->job, hear_events, side);
}

static void notifiers_hear_of_every_event(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = listen_in};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    CU_ASSERT_EQUAL(rig_times_said(&run.source, "event-probe"), 1);
    CU_ASSERT_EQUAL(rig_times_said(&run.source, "event-end"), 1);
    CU_ASSERT_EQUAL(rig_times_said(&run.destination, "event-probe"), 1);
    CU_ASSERT_EQUAL(rig_times_said(&run.destination, "event-listen"), 1);
    CU_ASSERT_EQUAL(rig_times_said(&run.destination, "event-end"), 1);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

/* ---- second thoughts ------------------------------------------------------------------------- */

/* Cancels before its first safe point, then moves in earnest. */
static int cancelling_job(struct rig_side *side)
{
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, 0);
    ferry_job_state(side->job, &grid.step, sizeof grid.step);
    if (rig_start(side) == FERRY_FRESH) {
        grid_fill(&grid);
        rig_say(side, "none %d", ferry_job_cancel(side->job));
        rig_say(side, "asked %d", ferry_job_migrate(side->job, side->uri));
        rig_say(side, "again %d", ferry_job_migrate(side->job, side->uri));
        rig_say(side, "cancelled %d", ferry_job_cancel(side->job));
        while (!strstr(ferry_job_why(side->job), "cancelled"))
            usleep(1000);
        rig_say(side, "why %s", ferry_job_why(side->job));
        /* The destination may be about to listen again. */
        while (rig_move(side, side->uri) != FERRY_MOVED)
            usleep(1000);
        return rig_close(side);
    }
    for (; grid.step < STEPS; grid.step++)
        grid_step(&grid);
    rig_say(side, "answer %llu", (unsigned long long)grid_sum(&grid));
    return rig_close(side);
}

static void cancelled_move_leaves_the_job(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = cancelling_job, .persistent = true});
    CU_ASSERT_EQUAL((int)rig_number(&run.source, "none"), -ESRCH);
    CU_ASSERT_EQUAL(rig_number(&run.source, "asked"), 0);
    CU_ASSERT_EQUAL((int)rig_number(&run.source, "again"), -EBUSY);
    CU_ASSERT_EQUAL(rig_number(&run.source, "cancelled"), 0);
    CU_ASSERT(rig_mentions(&run.source, "why the migration was cancelled"));
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

/* Whether the one before it reached the destination or not, this one finds it in the end. */
static int persevering_job(struct rig_side *side)
{
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, 0);
    ferry_job_state(side->job, &grid.step, sizeof grid.step);
    rig_start(side);
    grid_fill(&grid);
    while (rig_move(side, side->uri) != FERRY_MOVED)
        usleep(1000);
    return rig_close(side);
}

/* Asked to move, it never comes to a safe point any more. */
static int ending_job(struct rig_side *side)
{
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, 0);
    ferry_job_state(side->job, &grid.step, sizeof grid.step);
    rig_start(side);
    grid_fill(&grid);
    ferry_job_migrate(side->job, side->uri);
    for (; grid.step < STEPS; grid.step++)
        grid_step(&grid);
    rig_say(side, "answer %llu", (unsigned long long)grid_sum(&grid));
    return rig_close(side);
}

static void job_may_end_before_its_safe_point(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    struct rig_side side = {
        .body = grid_job, .ctx = &play, .destination = true, .persistent = true};
    memset(&run, 0, sizeof run);
    run.failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", rig_target());
    rig_launch(&run.destination, &side);
    CU_ASSERT_TRUE_FATAL(rig_await(&run.destination, "uri"));
    launch_source(&run.source, &run.destination, ending_job, NULL);
    rig_finish(&run.source);
    CU_ASSERT_EQUAL(run.source.status, 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), grid_expected(PAGES, STEPS));
    launch_source(&run.source, &run.destination, persevering_job, NULL);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

static void nobody_listens(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    rig_begin(&run, &(struct rig_setup){.body = grid_job, .ctx = &play, .persistent = true});
    rig_finish(&run.source);
    rig_finish(&run.destination);
    CU_ASSERT_EQUAL(run.destination.status, 0);
    /* The same address, of a process that has ended. */
    launch_source(&run.source, &run.destination, grid_job, &play);
    rig_finish(&run.source);
    CU_ASSERT_EQUAL(run.source.status, 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), grid_expected(PAGES, STEPS));
    CU_ASSERT(strlen(rig_said(&run.source, "why")) > 10);
    rig_explain(&run);
}

static void unknown_scheme(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
    struct rig_run run;
    struct rig_side side = {.body = grid_job, .ctx = &play, .uri = "carrier-pigeon://roof:1"};
    memset(&run, 0, sizeof run);
    run.failures_before = CU_get_number_of_failures();
    rig_launch(&run.source, &side);
    rig_finish(&run.source);
    CU_ASSERT(rig_mentions(&run.source, "no transport answers \"carrier-pigeon"));
    rig_assert_stayed(&run, grid_expected(PAGES, STEPS));
}

const struct pf_test rules_refusals[] = {
    {"differing_jobs_are_refused", differing_jobs_are_refused},
    {"destination_waits_for_another", destination_waits_for_another},
    {"destination_may_object", destination_may_object},
    {"source_may_object", source_may_object},
    {"notifiers_hear_of_every_event", notifiers_hear_of_every_event},
    {"cancelled_move_leaves_the_job", cancelled_move_leaves_the_job},
    {"job_may_end_before_its_safe_point", job_may_end_before_its_safe_point},
    {"nobody_listens", nobody_listens},
    {"unknown_scheme", unknown_scheme},
    {NULL, NULL},
};
