/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds that would not end by themselves, since the job writes all its memory again and again: the
 * program ends them, from the notifier that is told of each.
 */
#include "tests/e2e/rules.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGES = 2048 };

/* What a job does at the end of its first round. */
struct play {
    void (*steer)(struct rig_side *side);
};

struct steering {
    struct rig_side *side;
    unsigned rounds;
};

static int on_event(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct steering *steering = ctx;
    const struct play *play = steering->side->ctx;
    (void)reason;
    (void)size;
    if (event == FERRY_EVENT_ROUND && steering->rounds++ == 0)
        play->steer(steering->side);
    return 0;
}

/* Steps until it has moved, however many those are; the destination knows from its step number. */
static int endless_job(struct rig_side *side)
{
    struct steering steering = {.side = side};
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, FERRY_ANON);
    if (!grid.words || ferry_job_state(side->job, &grid.step, sizeof grid.step) < 0 ||
        ferry_job_notify(side->job, on_event, &steering) < 0)
        return 96;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d", grid_sum(&grid) == grid_expected(PAGES, grid.step));
        return rig_close(side);
    }
    grid_fill(&grid);
    if (ferry_job_migrate(side->job, side->uri) < 0)
        return 95;
    for (; ferry_job_safepoint(side->job) != FERRY_MOVED; grid.step++)
        grid_step(&grid);
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "rounds %u", steering.rounds);
    rig_say(side, "told %u", (unsigned)status.round);
    return rig_close(side);
}

static const char *const endless[] = {"mode", "precopy", "max-rounds", "0", "downtime", "1", NULL};

static void run_endless(struct rig_run *run, const struct play *play)
{
    rig_run(run, &(struct rig_setup){.body = endless_job, .ctx = play, .source_options = endless});
    rig_assert_moved(run, 1);
    CU_ASSERT_EQUAL(rig_number(&run->source, "told"), rig_number(&run->source, "rounds"));
}

/* Where the destination reads the pages there are no rounds. */
static bool pulls(void)
{
    const char *fetch = getenv("PAGEFERRY_FETCH");
    return fetch && strcmp(fetch, "read") == 0;
}

static void switch_at_once(struct rig_side *side)
{
    rig_say(side, "switched %d", ferry_job_switch(side->job));
}

static void switch_ends_rounds(void)
{
    static const struct play play = {switch_at_once};
    struct rig_run run;
    if (pulls())
        return;
    run_endless(&run, &play);
    CU_ASSERT_EQUAL(rig_number(&run.source, "switched"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "rounds"), 1);
}

static void change_limits(struct rig_side *side)
{
    rig_say(side, "wrong %d", ferry_job_change(side->job, "max-rounds", "many") == -EINVAL);
    rig_say(side, "late %d", ferry_job_change(side->job, "slots", "9") == -EBUSY);
    rig_say(side, "changed %d", ferry_job_change(side->job, "max-rounds", "2"));
}

static void change_ends_rounds(void)
{
    static const struct play play = {change_limits};
    struct rig_run run;
    if (pulls())
        return;
    run_endless(&run, &play);
    CU_ASSERT_EQUAL(rig_number(&run.source, "wrong"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "late"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    /* What it wrote on its way to the pause counts, too, and the one after it. */
    CU_ASSERT(rig_number(&run.source, "rounds") <= 4);
}

const struct pf_test rules_steer[] = {
    {"switch ends rounds", switch_ends_rounds},
    {"change ends rounds", change_ends_rounds},
    {NULL, NULL},
};
