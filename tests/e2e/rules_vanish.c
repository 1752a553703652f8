/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of the job that changes while a mover reads it, in mid-round: a thread of the job unmaps
 * it, moves it, takes its rights away, cuts off its file. The migration ends with a sentence that
 * names the region, and the job goes on with all it has left itself.
 */
#include "core/memory/uffd.h"
#include "tests/e2e/rules.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT = 64, STEPS = 3, PAGES = 2048, LASTING = 2 << 20 };

/* What happens to the field. */
struct change {
    int (*make)(char *field, size_t bytes, int file);
    bool file;
    char filling;           /* zeros are only looked at, the rest is sent, too */
    size_t pages;           /* of the field */
    size_t after;           /* so many of its pages have been claimed */
    const char *options[9]; /* name, value, ..., NULL */
    const char *said;
};

struct scene {
    struct rig_side *side;
    const struct change *change;
    struct grid grid;
    char *field;
    size_t bytes;
    int file;
};

/* ---- the changes ----------------------------------------------------------------------------- */

static int unmap(char *field, size_t bytes, int file)
{
    (void)file;
    return munmap(field, bytes);
}

static int move(char *field, size_t bytes, int file)
{
    (void)file;
    return mremap(field, bytes, 2 * bytes, MREMAP_MAYMOVE) == field ? -1 : 0;
}

static int protect(char *field, size_t bytes, int file)
{
    (void)file;
    return mprotect(field + bytes / 2, bytes / 2, PROT_NONE);
}

static int shrink(char *field, size_t bytes, int file)
{
    (void)field;
    return ftruncate(file, (off_t)(bytes / 2));
}

static int grow(char *field, size_t bytes, int file)
{
    (void)field;
    return ftruncate(file, (off_t)(2 * bytes));
}

/* ---- the job --------------------------------------------------------------------------------- */

static bool has_failed(const struct scene *scene)
{
    return ferry_job_why(scene->side->job)[0] != '\0';
}

/* What is sent again is read again, however late this thread may be. */
__attribute__((no_sanitize_thread)) static void write_again(struct scene *scene)
{
    for (size_t at = 0; at < scene->bytes; at += RIG_PAGE)
        *(volatile char *)(scene->field + at) = 'w';
}

/* Waits until the movers are at work. */
static void *meddle(void *arg)
{
    struct scene *scene = arg;
    const struct change *change = scene->change;
    struct ferry_status status = {.round = 0};
    while (!has_failed(scene) &&
           (status.round == 0 || status.normal_pages + status.zero_pages < change->after)) {
        usleep(100);
        ferry_job_status(scene->side->job, &status);
    }
    if (change->filling)
        write_again(scene);
    rig_say(scene->side, "changed %d", change->make(scene->field, scene->bytes, scene->file));
    return NULL;
}

/* As rig_move(), but the job does not come to a safe point before its memory has changed. */
static bool move_after_the_change(struct scene *scene)
{
    pthread_t meddler;
    int how = FERRY_CONTINUE;
    if (ferry_job_migrate(scene->side->job, scene->side->uri) < 0 ||
        pthread_create(&meddler, NULL, meddle, scene))
        return false;
    pthread_join(meddler, NULL);
    while (how != FERRY_MOVED && !has_failed(scene)) {
        how = ferry_job_safepoint(scene->side->job);
        usleep(500);
    }
    return how == FERRY_MOVED;
}

static bool map_field(struct scene *scene)
{
    const struct change *change = scene->change;
    scene->bytes = change->pages * RIG_PAGE;
    scene->file = -1;
    if (change->file && ((scene->file = memfd_create("field", MFD_CLOEXEC)) < 0 ||
                         ftruncate(scene->file, (off_t)scene->bytes) < 0))
        return false;
    scene->field = mmap(NULL, scene->bytes, PROT_READ | PROT_WRITE,
                        change->file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, scene->file, 0);
    return scene->field != MAP_FAILED;
}

static int declare(struct scene *scene)
{
    struct ferry_job *job = scene->side->job;
    int error = scene->change->file
                    ? ferry_job_protect_fd(job, "field", scene->field, scene->bytes, scene->file, 0)
                    : ferry_job_protect(job, "field", scene->field, scene->bytes);
    scene->grid.words = ferry_job_alloc(job, "grid", KEPT * RIG_PAGE, 0, FERRY_ANON);
    if (error || !scene->grid.words)
        return -1;
    return ferry_job_state(job, &scene->grid.step, sizeof(long));
}

static void compute(struct scene *scene)
{
    for (; scene->grid.step < STEPS; scene->grid.step++)
        grid_step(&scene->grid);
    rig_say(scene->side, "answer %llu", (unsigned long long)grid_sum(&scene->grid));
}

static int changing_job(struct rig_side *side)
{
    struct scene scene = {.side = side, .change = side->ctx, .grid = {.pages = KEPT}};
    rig_open(side);
    if (!map_field(&scene) || declare(&scene) < 0)
        return 96;
    if (rig_start(side) == FERRY_FRESH) {
        grid_fill(&scene.grid);
        /* Data at the end makes the round last long enough, whatever the rest is. */
        memset(scene.field, scene.change->filling, scene.bytes);
        memset(scene.field + scene.bytes - LASTING, 'e', LASTING);
        bool moved = move_after_the_change(&scene);
        rig_say(side, "why %s", ferry_job_why(side->job));
        if (moved)
            return rig_close(side);
    }
    if (!side->destination || scene.grid.step == 0)
        compute(&scene);
    return rig_close(side);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static void run_change(const struct change *change)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){
                      .body = changing_job, .ctx = change, .source_options = change->options});
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    if (change->said) {
        CU_ASSERT_EQUAL(run.source.status, 0);
        CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), grid_expected(KEPT, STEPS));
        CU_ASSERT_TRUE(rig_mentions(&run.source, "why region \"field\""));
        CU_ASSERT_TRUE(rig_mentions(&run.source, change->said));
    } else {
        rig_assert_moved(&run, grid_expected(KEPT, STEPS));
    }
    rig_explain(&run);
}

#define SLOWLY "mode", "precopy", "bandwidth", "32M"

/* Looking for zeros takes a few milliseconds only: the range goes while that is being done. */
static void what_is_unmapped_ends_the_migration(void)
{
    for (size_t after = 512; after <= PAGES; after += 512) {
        const struct change changes[] = {
            {unmap, false, 0, 4 * PAGES, after, {SLOWLY, NULL}, "while its memory was being sent"},
            {move, false, 0, 4 * PAGES, after, {SLOWLY, NULL}, "while its memory was being sent"},
        };
        run_change(&changes[after / 512 % 2]);
    }
}

static void what_cannot_be_read_ends_the_migration(void)
{
    const struct change change = {protect, false, 'p', PAGES, PAGES / 8, {SLOWLY, NULL}, "read"};
    run_change(&change);
}

static void what_shrinks_ends_the_migration(void)
{
    static const struct change changes[] = {
        {shrink, true, 's', PAGES, PAGES / 8, {SLOWLY, NULL}, "must not shrink"},
        {shrink, true, 's', PAGES, PAGES / 8, {SLOWLY, "pin", "stage", NULL}, "must not shrink"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        run_change(&changes[i]);
}

static void what_grows_moves(void)
{
    const struct change change = {grow, true, 'g', PAGES, PAGES / 8, {SLOWLY, NULL}, NULL};
    run_change(&change);
}

/* ---- other pages ----------------------------------------------------------------------------- */

/* Enough to be worth a registration of their own, where registering pins. */
enum { BOARD = 64 };

struct board {
    struct rig_side *side;
    char *pages;
    int file;
    unsigned rounds;
};

/*
 * After the first round, in which all were sent: some pages are others now. One is written through
 * the region's own mapping, one by its file, and one is left empty.
 */
__attribute__((no_sanitize_thread)) static int punch(void *ctx, enum ferry_event event,
                                                     char *reason, size_t size)
{
    struct board *board = ctx;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || board->rounds++ > 0)
        return 0;
    if (fallocate(board->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RIG_PAGE,
                  (off_t)(3 * RIG_PAGE)) < 0)
        rig_say(board->side, "no hole");
    *(volatile char *)(board->pages + RIG_PAGE) = 'm';
    if (pwrite(board->file, "f", 1, (off_t)(2 * RIG_PAGE)) != 1)
        rig_say(board->side, "no write");
    return ferry_job_dirty(board->side->job, board->pages + RIG_PAGE, 3 * RIG_PAGE);
}

/* Over shared memory ThreadSanitizer does not see that the placer was done before. */
__attribute__((no_sanitize_thread)) static bool page_begins(const char *page, char with)
{
    return page[0] == with;
}

static bool came_right(const char *board)
{
    return page_begins(board, 'a') && page_begins(board + RIG_PAGE, 'm') &&
           page_begins(board + RIG_PAGE + 1, 0) && page_begins(board + 2 * RIG_PAGE, 'f') &&
           page_begins(board + 3 * RIG_PAGE, 0);
}

static int punching_job(struct rig_side *side)
{
    struct board board = {.side = side, .file = memfd_create("board", MFD_CLOEXEC)};
    size_t bytes = BOARD * RIG_PAGE;
    rig_open(side);
    if (board.file < 0 || ftruncate(board.file, (off_t)bytes) < 0)
        return 96;
    board.pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, board.file, 0);
    if (ferry_job_protect_fd(side->job, "board", board.pages, bytes, board.file, 0) < 0 ||
        ferry_job_notify(side->job, punch, &board) < 0)
        return 95;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d", came_right(board.pages));
        return rig_close(side);
    }
    memset(board.pages, 'a', bytes);
    return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 94;
}

static void what_is_punched_and_told_arrives(void)
{
    static const char *const pins[] = {"auto", "stage"};
    for (size_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
        const char *const options[] = {"mode", "precopy", "pin", pins[i], NULL};
        struct rig_run run;
        rig_run(&run, &(struct rig_setup){.body = punching_job, .source_options = options});
        rig_assert_moved(&run, 1);
    }
}

/* ---- pins ------------------------------------------------------------------------------------ */

struct pinned {
    struct rig_side *side;
    char *pages;
    unsigned long kib; /* when the page was given back */
    atomic_bool given_back;
};

static unsigned long pinned_kib(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmPin: %lu kB", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* A page is given back after the first round. */
static int give_back(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct pinned *pinned = ctx;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || atomic_load(&pinned->given_back))
        return 0;
    pinned->kib = pinned_kib();
    int error = madvise(pinned->pages, RIG_PAGE, MADV_DONTNEED);
    atomic_store(&pinned->given_back, true);
    return error;
}

/* Not before the registration of that page and its neighbours is gone, if there was one. */
static void await_unpinned(struct pinned *pinned)
{
    while (!atomic_load(&pinned->given_back))
        usleep(1000);
    while (pinned->kib > 0 && pinned_kib() + BOARD * RIG_PAGE / 1024 > pinned->kib)
        usleep(1000);
    rig_say(pinned->side, "pinned %lu", pinned->kib);
}

static int giving_job(struct rig_side *side)
{
    struct pinned pinned = {.side = side};
    rig_open(side);
    pinned.pages = ferry_job_alloc(side->job, "pages", BOARD * RIG_PAGE, 0, FERRY_ANON);
    if (!pinned.pages || ferry_job_notify(side->job, give_back, &pinned) < 0)
        return 96;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d",
                page_begins(pinned.pages, 0) && page_begins(pinned.pages + RIG_PAGE, 'a'));
        return rig_close(side);
    }
    memset(pinned.pages, 'a', BOARD * RIG_PAGE);
    if (ferry_job_migrate(side->job, side->uri) < 0)
        return 95;
    await_unpinned(&pinned);
    while (ferry_job_safepoint(side->job) != FERRY_MOVED)
        usleep(500);
    return rig_close(side);
}

/* Where registering pins: else the page would not come back to the system, or the pool, in time. */
static void what_is_given_back_is_unpinned(void)
{
    static const char *const options[] = {"mode", "precopy", NULL};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = giving_job, .source_options = options});
    rig_assert_moved(&run, 1);
    if (rig_number(&run.source, "pinned") == 0)
        printf("not shown: nothing is pinned here ... ");
}

const struct pf_test rules_vanish[] = {
    {"what is unmapped ends the migration", what_is_unmapped_ends_the_migration},
    {"what cannot be read ends the migration", what_cannot_be_read_ends_the_migration},
    {"what shrinks ends the migration", what_shrinks_ends_the_migration},
    {"what grows moves", what_grows_moves},
    {"what is punched and told arrives", what_is_punched_and_told_arrives},
    {"what is given back is unpinned", what_is_given_back_is_unpinned},
    {NULL, NULL},
};
