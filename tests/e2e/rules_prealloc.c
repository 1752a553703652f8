/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that the destination makes before it's written to. Its program has written to it before;
 * some pages are never sent, some are zeros, some change once they have been sent.
 */
#include "tests/e2e/rules.h"
#include "tests/huge.h"

#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)FERRY_PAGE_2M)

enum { TRIES = 100 };

/* Of one page in three each. */
enum fate { KEPT, CHANGED, NEVER_SENT, FATES };

struct memory {
    const char *name;
    size_t page_size;
    unsigned flags, pages;
    const char *place;
};

static const struct memory memories[] = {
    {"4k", 4096, FERRY_ANON, 300, "auto"},
    {"4k shared, copied", 4096, FERRY_SHARED, 300, "copy"},
    {"4k shared, in place", 4096, FERRY_SHARED, 300, "auto"},
    {"2m", HUGE, FERRY_ANON, 9, "auto"},
    {"2m shared, in place", HUGE, FERRY_SHARED, 9, "auto"},
};

struct play {
    struct memory memory;
    const char *mode, *prealloc;
    bool fails_first; /* the first try is cancelled after a round */
};

struct scene {
    struct rig_side *side;
    const struct play *play;
    char *region;
    bool disturbed;
};

static char *page_of(const struct scene *scene, unsigned page)
{
    return scene->region + page * scene->play->memory.page_size;
}

static void fill(const struct scene *scene, enum fate fate, char value)
{
    for (unsigned page = fate; page < scene->play->memory.pages; page += FATES)
        memset(page_of(scene, page), value, scene->play->memory.page_size);
}

/* ---- at the source --------------------------------------------------------------------------- */

static int after_a_round(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct scene *scene = ctx;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || scene->disturbed)
        return 0;
    scene->disturbed = true;
    if (scene->play->fails_first)
        ferry_job_cancel(scene->side->job);
    else
        fill(scene, CHANGED, 'C');
    return 0;
}

static int leave(struct scene *scene)
{
    struct rig_side *side = scene->side;
    fill(scene, KEPT, 'k');
    fill(scene, CHANGED, 'c');
    int how = rig_move(side, side->uri);
    if (scene->play->fails_first) {
        rig_say(side, "failed %d", how == FERRY_CONTINUE);
        fill(scene, KEPT, 0);
        fill(scene, CHANGED, 'C');
    }
    for (int i = 0; how != FERRY_MOVED && i < TRIES; i++) {
        usleep(20000); /* the destination may not have ended the first session yet */
        how = rig_move(side, side->uri);
    }
    if (how != FERRY_MOVED)
        rig_say(side, "why %s", ferry_job_why(side->job));
    return how == FERRY_MOVED ? rig_close(side) : 1;
}

/* ---- at the destination ---------------------------------------------------------------------- */

static size_t wrong_bytes(const struct scene *scene, unsigned page)
{
    const struct play *play = scene->play;
    bool rounds = strcmp(play->mode, "postcopy") != 0;
    const char wanted[FATES] = {
        [KEPT] = play->fails_first ? '\0' : 'k', [CHANGED] = rounds ? 'C' : 'c'};
    size_t wrong = 0;
    for (size_t at = 0; at < play->memory.page_size; at++)
        wrong += page_of(scene, page)[at] != wanted[page % FATES];
    return wrong;
}

static void check(const struct scene *scene)
{
    size_t all = 0;
    for (unsigned page = 0; page < scene->play->memory.pages; page++)
        all += wrong_bytes(scene, page);
    rig_say(scene->side, "answer %zu", all);
}

static int job(struct rig_side *side)
{
    const struct play *play = side->ctx;
    struct scene scene = {.side = side, .play = play};
    rig_open(side);
    if (ferry_job_set(side->job, "mode", play->mode) < 0 ||
        ferry_job_set(side->job, "prealloc", play->prealloc) < 0 ||
        ferry_job_set(side->job, "place", play->memory.place) < 0 ||
        ferry_job_notify(side->job, after_a_round, &scene) < 0)
        return 97;
    scene.region = ferry_job_alloc(side->job, "region", play->memory.pages * play->memory.page_size,
                                   play->memory.page_size, play->memory.flags);
    if (!scene.region)
        return 96;
    if (side->destination)
        memset(scene.region, 'x', play->memory.pages * play->memory.page_size);
    int how = rig_start(side);
    if (how == FERRY_FRESH)
        return leave(&scene);
    if (how == FERRY_ARRIVED)
        check(&scene);
    return rig_close(side);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static bool can_have(const struct memory *memory)
{
    if (memory->page_size != HUGE || huge_2m(2 * (long)memory->pages))
        return true;
    printf("skipped (%s): no huge pages to be had ... ", memory->name);
    return false;
}

/* Where each migration takes a while one kind will do: in the VM, and where waits are naps. */
static bool is_slow(void)
{
    return strstr(rig_target(), "verbs") || strstr(rig_target(), "shm");
}

static void move_each(const char *mode, const char *prealloc, bool fails_first)
{
    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++) {
        static const char *const by_write[] = {"fetch", "write", NULL};
        bool rounds = strcmp(mode, "postcopy") != 0;
        struct play play = {memories[i], mode, prealloc, fails_first};
        struct rig_run run;
        if (!can_have(&memories[i]) || (i > 0 && is_slow()))
            continue;
        rig_run(&run, &(struct rig_setup){.body = job,
                                          .ctx = &play,
                                          .source_options = rounds ? by_write : NULL,
                                          .persistent = fails_first});
        if (fails_first)
            CU_ASSERT_EQUAL(rig_number(&run.source, "failed"), 1);
        rig_assert_moved(&run, 0);
    }
}

static void memory_made_before_is_overwritten_or_zero_by_hybrid(void)
{
    move_each("hybrid", "on", false);
}

static void memory_made_before_is_overwritten_or_zero_by_precopy(void)
{
    move_each("precopy", "on", false);
}

static void memory_made_before_is_missing_again_for_postcopy(void)
{
    move_each("postcopy", "on", false);
}

static void memory_made_before_is_made_again_after_a_failure(void)
{
    move_each("hybrid", "on", true);
}

/* Locked memory can't be emptied; it is locked again in the end. */
static void lock(struct rig_side *side, struct grid *grid)
{
    if (side->destination && mlock(grid->words, grid->pages * RIG_PAGE))
        rig_say(side, "unlockable");
    if (side->destination && ferry_job_set(side->job, "prealloc", "on") < 0)
        rig_say(side, "cannot set");
}

static void say_locked(struct rig_side *side, struct grid *grid)
{
    if (!side->destination)
        return;
    grid_await_complete(side);
    /* What is locked can't be dropped. */
    rig_say(side, "locked %d", madvise(grid->words, RIG_PAGE, MADV_DONTNEED) != 0);
}

static void locked_memory_is_made_before_and_locked_again(void)
{
    static const struct grid_play play = {8, 6, 3, .declared = lock, .finished = say_locked};
    struct rig_run run;
    if (RULES_SANITIZED) {
        printf("skipped: sanitizers turn mlock into nothing ... ");
        return;
    }
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    if (rig_mentions(&run.destination, "unlockable"))
        printf("skipped: not allowed to lock memory ... ");
    else
        CU_ASSERT_EQUAL(rig_number(&run.destination, "locked"), 1);
    CU_ASSERT(!rig_mentions(&run.destination, "cannot"));
    rig_assert_moved(&run, grid_expected(8, 6));
}

const struct pf_test rules_prealloc[] = {
    {"memory_made_before_is_overwritten_or_zero_by_hybrid",
     memory_made_before_is_overwritten_or_zero_by_hybrid},
    {"memory_made_before_is_overwritten_or_zero_by_precopy",
     memory_made_before_is_overwritten_or_zero_by_precopy},
    {"memory_made_before_is_missing_again_for_postcopy",
     memory_made_before_is_missing_again_for_postcopy},
    {"memory_made_before_is_made_again_after_a_failure",
     memory_made_before_is_made_again_after_a_failure},
    {"locked_memory_is_made_before_and_locked_again",
     locked_memory_is_made_before_and_locked_again},
    {NULL, NULL},
};
