/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds that would not end by themselves, since the job writes all its memory again and again: the
 * program steers them, and ends them, from the notifier that is told of each.
 */
#include "core/job/job.h"
#include "tests/e2e/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PAGES = 2048,
    PLAN_PAGES = 4096,
    SHORT_PLAN_PAGES = 1024,
    WORDS = RIG_PAGE / sizeof(uint64_t)
};

struct steering {
    struct rig_side *side;
    unsigned rounds;                  /* that have ended */
    atomic_ulong steps;               /* that the job has made */
    uint64_t compressed, differences; /* pages, when the latest round ended */
};

/* What a job does at the end of each round. */
struct play {
    void (*steer)(struct steering *steering);
};

static int on_event(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct steering *steering = ctx;
    const struct play *play = steering->side->ctx;
    (void)reason;
    (void)size;
    if (event == FERRY_EVENT_ROUND) {
        steering->rounds++;
        play->steer(steering);
    }
    return 0;
}

/* What it computes. */
struct kind {
    size_t pages;
    void (*fill)(struct grid *grid);
    void (*step)(struct grid *grid);
    bool (*right)(const struct grid *grid);
};

/* Steps until it has moved, however many those are; the destination knows from its step number. */
static int endless(struct rig_side *side, const struct kind *kind)
{
    struct steering steering = {.side = side};
    struct grid grid = {.pages = kind->pages};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", kind->pages * RIG_PAGE, 0, FERRY_ANON);
    if (!grid.words || ferry_job_state(side->job, &grid.step, sizeof grid.step) < 0 ||
        ferry_job_notify(side->job, on_event, &steering) < 0)
        return 96;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d", kind->right(&grid));
        return rig_close(side);
    }
    kind->fill(&grid);
    if (ferry_job_migrate(side->job, side->uri) < 0)
        return 95;
    for (; ferry_job_safepoint(side->job) != FERRY_MOVED; grid.step++) {
        kind->step(&grid);
        atomic_fetch_add(&steering.steps, 1);
    }
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "rounds %u", steering.rounds);
    rig_say(side, "told %u", (unsigned)status.round);
    return rig_close(side);
}

static bool grid_right(const struct grid *grid)
{
    return grid_sum(grid) == grid_expected(grid->pages, grid->step);
}

static int endless_job(struct rig_side *side)
{
    return endless(side, &(struct kind){PAGES, grid_fill, grid_step, grid_right});
}

static const char *const no_end[] = {"mode", "precopy", "max-rounds", "0", "downtime", "1", NULL};

static void run_endless(struct rig_run *run, const struct rig_setup *setup)
{
    rig_run(run, setup);
    rig_assert_moved(run, 1);
    CU_ASSERT_EQUAL(rig_number(&run->source, "told"), rig_number(&run->source, "rounds"));
}

static void switch_at_once(struct steering *steering)
{
    if (steering->rounds == 1)
        rig_say(steering->side, "switched %d", ferry_job_switch(steering->side->job));
}

static void switch_ends_rounds(void)
{
    static const struct play play = {switch_at_once};
    struct rig_run run;
    run_endless(&run,
                &(struct rig_setup){.body = endless_job, .ctx = &play, .source_options = no_end});
    CU_ASSERT_EQUAL(rig_number(&run.source, "switched"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "rounds"), 1);
}

/* The last round is that of the pause: too late for all but the limit on bytes a second. */
static void change_limits(struct steering *steering)
{
    struct rig_side *side = steering->side;
    if (pf_job_paused(side->job)) {
        rig_say(side, "too late %d", ferry_job_change(side->job, "mode", "hybrid") == -EBUSY);
        rig_say(side, "not too late %d", ferry_job_change(side->job, "bandwidth", "auto") == 0);
    }
    if (steering->rounds > 1)
        return;
    rig_say(side, "wrong %d", ferry_job_change(side->job, "max-rounds", "many") == -EINVAL);
    rig_say(side, "late %d", ferry_job_change(side->job, "slots", "9") == -EBUSY);
    rig_say(side, "changed %d", ferry_job_change(side->job, "max-rounds", "2"));
}

static void change_ends_rounds(void)
{
    static const struct play play = {change_limits};
    struct rig_run run;
    run_endless(&run,
                &(struct rig_setup){.body = endless_job, .ctx = &play, .source_options = no_end});
    CU_ASSERT_EQUAL(rig_number(&run.source, "wrong"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "late"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    /* What it wrote on its way to the pause counts, too, and the one after it. */
    CU_ASSERT(rig_number(&run.source, "rounds") <= 4);
    CU_ASSERT_EQUAL(rig_number(&run.source, "too late"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "not too late"), 1);
}

/* ---- everything in its turn ------------------------------------------------------------------ */

/* Memory that compresses well, and of which little changes: one word of each page a step. */
static void plain_fill(struct grid *grid)
{
    for (size_t i = 0; i < grid->pages * WORDS; i++)
        grid->words[i] = i / WORDS + 1;
}

__attribute__((no_sanitize_thread)) static void plain_step(struct grid *grid)
{
    for (size_t page = 0; page < grid->pages; page++)
        grid->words[page * WORDS + (size_t)grid->step % WORDS] += (uint64_t)grid->step;
}

static bool plain_right(const struct grid *grid)
{
    size_t bytes = grid->pages * RIG_PAGE;
    struct grid other = {.words = calloc(1, bytes), .pages = grid->pages};
    plain_fill(&other);
    for (; other.step < grid->step; other.step++)
        plain_step(&other);
    bool right = memcmp(other.words, grid->words, bytes) == 0;
    free(other.words);
    return right;
}

/* What the round after a change is to have done: pages that were compressed, and differences. */
struct turn {
    const char *option, *value;
    bool compresses, differs;
};

static const struct turn all_turns[] = {
    {"mode", "precopy", false, false}, /* however little the first round left, it goes on */
    {"compress", "zstd", true, false},
    {"compress-threads", "1", true, false},
    {"compress-level", "3", true, false},
    {"compress", "lz4", true, false},
    {"compress-threads", "3", true, false},
    {"xbzrle", "on", false, false}, /* nothing is known of the pages: all go whole */
    {"downtime", "1", false, true},
    {"xbzrle-cache", "8M", false, true},
    {"compress", "off", false, true},
    {"xbzrle", "off", false, false},
    {"pin", "stage", false, false},
    {"pin", "chunk", false, false}, /* what it is asked for by now are windows of chunks */
    {"pin", "all", false, false},
    {"xbzrle", "on", false, false},
    {"fewer-bytes", "auto", false, false},
    {"fewer-bytes", "manual", false, false},
    {"pin", "auto", false, true},
    {"mode", "postcopy", false, true},
};

/* In the VM, where each round takes a while, what only a device that pins has a use for. */
static const struct turn short_turns[] = {
    {"mode", "precopy", false, false}, {"pin", "stage", false, false},
    {"pin", "chunk", false, false},    {"xbzrle", "on", false, false},
    {"pin", "all", false, true},       {"mode", "postcopy", false, true},
};

struct plan {
    const struct turn *turns;
    unsigned count;
    size_t pages;
};

static const struct plan *plan(void)
{
    static const struct plan all = {all_turns, sizeof all_turns / sizeof all_turns[0], PLAN_PAGES};
    static const struct plan few = {short_turns, sizeof short_turns / sizeof short_turns[0],
                                    SHORT_PLAN_PAGES};
    return strstr(rig_target(), "verbs") ? &few : &all;
}

static int plan_job(struct rig_side *side)
{
    size_t pages = plan()->pages;
    return endless(side, &(struct kind){pages, plain_fill, plain_step, plain_right});
}

/* Has a counter grown since this was asked last? */
static bool grown(const _Atomic uint64_t *counter, uint64_t *before)
{
    uint64_t now = pf_count_get(counter);
    bool more = now > *before;
    *before = now;
    return more;
}

/* What the engine chooses then, and finds in its cache afterwards, depends on the link's speed. */
static bool is_known(const struct turn *turn)
{
    return strcmp(turn->option, "fewer-bytes") != 0;
}

/* All pages are dirty when they are collected next: there will be another round. */
static void await_step(struct steering *steering)
{
    unsigned long begun = atomic_load(&steering->steps) + 1;
    while (atomic_load(&steering->steps) <= begun && !pf_job_paused(steering->side->job))
        usleep(100);
}

static void take_turn(struct steering *steering)
{
    struct rig_side *side = steering->side;
    unsigned round = steering->rounds;
    const struct pf_counters *counters = &side->job->counters;
    bool compressed = grown(&counters->compressed_pages, &steering->compressed);
    bool differed = grown(&counters->xbzrle_pages, &steering->differences);
    const struct turn *turn = round <= plan()->count ? &plan()->turns[round - 1] : NULL;
    const struct turn *last =
        round > 1 && round <= plan()->count + 1 ? &plan()->turns[round - 2] : NULL;
    if (last && is_known(last) && (compressed != last->compresses || differed != last->differs))
        rig_say(side, "wrong: after %s=%s: compressed %d, differences %d", last->option,
                last->value, compressed, differed);
    if (turn && ferry_job_change(side->job, turn->option, turn->value))
        rig_say(side, "wrong: %s=%s: %s", turn->option, turn->value, ferry_job_why(side->job));
    if (turn)
        await_step(steering);
}

static void everything_changes_in_its_turn(void)
{
    static const char *const few_rounds[] = {"mode",     "hybrid", "max-rounds", "0",
                                             "downtime", "1",      NULL};
    static const struct play play = {take_turn};
    struct rig_run run;
    run_endless(&run,
                &(struct rig_setup){.body = plan_job, .ctx = &play, .source_options = few_rounds});
    CU_ASSERT(!rig_mentions(&run.source, "wrong: "));
    CU_ASSERT_EQUAL(rig_number(&run.source, "rounds"), plan()->count + 1);
    rig_explain(&run);
}

const struct pf_test rules_steer[] = {
    {"switch ends rounds", switch_ends_rounds},
    {"change ends rounds", change_ends_rounds},
    {"everything changes in its turn", everything_changes_in_its_turn},
    {NULL, NULL},
};
