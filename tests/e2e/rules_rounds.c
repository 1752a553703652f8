/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pre-copy: what the job does to pages that have been sent already. It is done where the first
 * round has ended, by the engine's own thread, so that it's always at the same moment; the job
 * itself only goes from safe point to safe point.
 */
#include "tests/e2e/rules.h"
#include "tests/huge.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)FERRY_PAGE_2M)
/* No page of the second chunk is used before the first round is over. */
#define CHUNK ((size_t)16 << 20)

/* What becomes of a page before the first round, and after it. */
enum fate {
    KEPT,
    CHANGED,      /* in one byte */
    EMPTY,        /* zeros, and stays so */
    EMPTIED,      /* data, then zeros */
    FILLED,       /* zeros, then data */
    UNTOUCHED,    /* never */
    GIVEN_BACK,   /* to the system: zeros */
    GIVEN_REUSED, /* and written again, in one byte */
    LATE,         /* used from then on */
    FATES
};

struct memory {
    const char *name;
    size_t page_size;
    unsigned flags;
    unsigned each; /* pages of one fate, side by side */
    const char *place, *stage_size;
};

static const struct memory memories[] = {
    {"4k", 4096, FERRY_ANON, 8, "auto", "auto"},
    {"4k shared, copied", 4096, FERRY_SHARED, 8, "copy", "auto"},
    {"4k shared, in place", 4096, FERRY_SHARED, 8, "auto", "auto"},
    {"2m", HUGE, FERRY_ANON, 1, "auto", "192K"},
    {"2m shared, copied", HUGE, FERRY_SHARED, 1, "copy", "auto"},
    {"2m shared, in place", HUGE, FERRY_SHARED, 1, "auto", "auto"},
};

/* How it moves. */
struct way {
    const char *mode, *pin;
    bool switched; /* by hand, after the first round: what was changed follows the job */
};

struct play {
    struct memory memory;
    struct way way;
};

struct scene {
    struct rig_side *side;
    const struct play *play;
    char *region;
    bool changed;
};

static char *page_of(const struct scene *scene, enum fate fate, unsigned i)
{
    const struct memory *memory = &scene->play->memory;
    return scene->region + (fate * memory->each + i) * memory->page_size;
}

/* The second chunk's only page in use; huge pages are too dear for that. */
static char *far_page(const struct scene *scene)
{
    return scene->play->memory.page_size == RIG_PAGE ? scene->region + CHUNK + RIG_PAGE : NULL;
}

static size_t region_bytes(const struct memory *memory)
{
    return memory->page_size == RIG_PAGE ? CHUNK + 4 * RIG_PAGE
                                         : FATES * memory->each * memory->page_size;
}

/* ---- at the source --------------------------------------------------------------------------- */

static void fill(const struct scene *scene, enum fate fate, char value)
{
    memset(page_of(scene, fate, 0), value,
           scene->play->memory.each * scene->play->memory.page_size);
}

static void begin(const struct scene *scene)
{
    static const char first[FATES] = {
        [KEPT] = 'k', [CHANGED] = 'c', [EMPTIED] = 'e', [GIVEN_BACK] = 'g', [GIVEN_REUSED] = 'r'};
    for (enum fate fate = 0; fate < FATES; fate++)
        if (first[fate] || fate == EMPTY || fate == FILLED)
            fill(scene, fate, first[fate]);
}

static void give_back(const struct scene *scene, enum fate fate)
{
    const struct memory *memory = &scene->play->memory;
    int advice = memory->flags & FERRY_SHARED ? MADV_REMOVE : MADV_DONTNEED;
    if (madvise(page_of(scene, fate, 0), memory->each * memory->page_size, advice))
        rig_say(scene->side, "cannot give back");
}

static void change(const struct scene *scene)
{
    for (unsigned i = 0; i < scene->play->memory.each; i++)
        page_of(scene, CHANGED, i)[100] = 'C';
    fill(scene, EMPTIED, 0);
    fill(scene, FILLED, 'f');
    give_back(scene, GIVEN_BACK);
    give_back(scene, GIVEN_REUSED);
    page_of(scene, GIVEN_REUSED, 0)[100] = 'R';
    fill(scene, LATE, 'l');
    if (far_page(scene))
        *far_page(scene) = 'F';
}

static int after_a_round(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct scene *scene = ctx;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || scene->changed)
        return 0;
    scene->changed = true;
    change(scene);
    if (scene->play->way.switched && ferry_job_switch(scene->side->job) < 0)
        rig_say(scene->side, "cannot switch");
    return 0;
}

static int leave(struct scene *scene)
{
    struct ferry_status status;
    begin(scene);
    int how = rig_move(scene->side, scene->side->uri);
    if (how != FERRY_MOVED)
        rig_say(scene->side, "why %s", ferry_job_why(scene->side->job));
    ferry_job_status(scene->side->job, &status);
    rig_say(scene->side, "rounds %llu", (unsigned long long)status.round);
    return how == FERRY_MOVED ? rig_close(scene->side) : 1;
}

/* ---- at the destination ---------------------------------------------------------------------- */

static size_t wrong_bytes(const struct scene *scene, enum fate fate)
{
    static const char most[FATES] = {[KEPT] = 'k', [CHANGED] = 'c', [FILLED] = 'f', [LATE] = 'l'};
    static const char changed[] = {'R', 'C'};
    const struct memory *memory = &scene->play->memory;
    size_t wrong = 0;
    for (unsigned i = 0; i < memory->each; i++) {
        const char *page = page_of(scene, fate, i);
        for (size_t at = 0; at < memory->page_size; at++) {
            bool special = at == 100 && (fate == CHANGED || (fate == GIVEN_REUSED && i == 0));
            char wanted = most[fate];
            if (special)
                wanted = changed[fate == CHANGED];
            wrong += page[at] != wanted;
        }
    }
    return wrong;
}

/* Is a page in memory? */
static bool populated(const char *page)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    off_t at = (off_t)((uintptr_t)page / RIG_PAGE * sizeof entry);
    if (fd < 0 || pread(fd, &entry, sizeof entry, at) != sizeof entry)
        entry = 0;
    if (fd >= 0)
        close(fd);
    return entry >> 63;
}

static void check(const struct scene *scene)
{
    size_t all = 0;
    if (scene->play->memory.flags == FERRY_ANON && strncmp(rig_target(), "tcp", 3) == 0) {
        grid_await_complete(scene->side);
        all += populated(page_of(scene, UNTOUCHED, 0)) + !populated(page_of(scene, KEPT, 0));
    }
    for (enum fate fate = 0; fate < FATES; fate++) {
        size_t wrong = wrong_bytes(scene, fate);
        if (wrong)
            rig_say(scene->side, "wrong: fate %d, %zu bytes", (int)fate, wrong);
        all += wrong;
    }
    all += far_page(scene) && *far_page(scene) != 'F';
    rig_say(scene->side, "answer %zu", all);
}

static int round_job(struct rig_side *side)
{
    const struct play *play = side->ctx;
    struct scene scene = {.side = side, .play = play};
    rig_open(side);
    if (ferry_job_set(side->job, "fetch", "write") < 0 ||
        ferry_job_set(side->job, "mode", play->way.mode) < 0 ||
        ferry_job_set(side->job, "pin", play->way.pin) < 0 ||
        ferry_job_set(side->job, "place", play->memory.place) < 0 ||
        ferry_job_set(side->job, "stage-size", play->memory.stage_size) < 0 ||
        ferry_job_notify(side->job, after_a_round, &scene) < 0)
        return 97;
    scene.region = ferry_job_alloc(side->job, "region", region_bytes(&play->memory),
                                   play->memory.page_size, play->memory.flags);
    if (!scene.region)
        return 96;
    int how = rig_start(side);
    if (how == FERRY_FRESH)
        return leave(&scene);
    if (how == FERRY_ARRIVED)
        check(&scene);
    return rig_close(side);
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* The pool has what both sides need; and pages that were given back while they are pinned. */
static bool can_have(const struct memory *memory)
{
    if (memory->page_size != HUGE || huge_2m((2 * FATES + 4) * (long)memory->each))
        return true;
    printf("skipped (%s): no huge pages to be had ... ", memory->name);
    return false;
}

static void move_each(const struct way *way, const char *listen, const char *kind)
{
    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++) {
        struct rig_run run;
        struct play play = {memories[i], *way};
        if (!can_have(&memories[i]))
            continue;
        rig_run(&run, &(struct rig_setup){.body = round_job,
                                          .ctx = &play,
                                          .listen = listen,
                                          .source_at = kind ? 1000000 : 0,
                                          .kind = kind});
        CU_ASSERT(rig_number(&run.source, "rounds") >= 1);
        CU_ASSERT(!rig_mentions(&run.source, "cannot "));
        rig_assert_moved(&run, 0);
    }
}

static void pages_sent_and_changed_arrive_as_they_are_by_hybrid(void)
{
    move_each(&(struct way){"hybrid", "auto", true}, NULL, NULL);
}

static void pages_sent_and_changed_arrive_as_they_are_by_precopy(void)
{
    move_each(&(struct way){"precopy", "auto", false}, NULL, NULL);
}

/* In the VM, where each migration takes a while, the first two tests will do. */
static bool is_slow(void)
{
    return strstr(rig_target(), "verbs") != NULL;
}

static void by_stages_too(void)
{
    if (is_slow())
        return;
    move_each(&(struct way){"hybrid", "stage", true}, NULL, NULL);
    move_each(&(struct way){"precopy", "stage", false}, NULL, NULL);
}

/* Registering pins, or so it is claimed: windows are asked for chunk by chunk. */
static void by_chunks_too(void)
{
    static const char pins[] = "fail&pins=1";
    char listen[RIG_URI];
    if (is_slow())
        return;
    rig_fault_uri(listen, rig_target(), 1000000, pins);
    move_each(&(struct way){"hybrid", "chunk", true}, listen, pins);
    move_each(&(struct way){"precopy", "chunk", false}, listen, pins);
    move_each(&(struct way){"precopy", "all", false}, listen, pins);
}

const struct pf_test rules_rounds[] = {
    {"pages_sent_and_changed_arrive_as_they_are_by_hybrid",
     pages_sent_and_changed_arrive_as_they_are_by_hybrid},
    {"pages_sent_and_changed_arrive_as_they_are_by_precopy",
     pages_sent_and_changed_arrive_as_they_are_by_precopy},
    {"by_stages_too", by_stages_too},
    {"by_chunks_too", by_chunks_too},
    {NULL, NULL},
};
