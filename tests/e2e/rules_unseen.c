/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes in mid-pre-copy that no tracker sees: a device into a pinned page, write(2) to a region's
 * file, another mapping of it. They arrive if the program tells of them, or if the region is sent
 * late.
 */
#include "tests/e2e/rules.h"

#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 16 };

/* One way of making it right. */
struct way {
    bool tells, late;
};

struct unseen {
    struct rig_side *side;
    char *ring, *board; /* regions: private, and a file of the program's */
    char *second;       /* mapping of the board */
    int file;
    struct io_uring uring;
    bool pinned;
    unsigned rounds;
};

static void told(struct unseen *unseen, const void *addr)
{
    const struct way *way = unseen->side->ctx;
    if (way->tells && ferry_job_dirty(unseen->side->job, addr, 1) < 0)
        rig_say(unseen->side, "not told");
}

/* The kernel writes into a page that is registered with it. */
static void read_into_ring(struct unseen *unseen)
{
    struct io_uring_cqe *done;
    int ends[2];
    if (pipe(ends) < 0 || write(ends[1], "d", 1) != 1)
        return;
    io_uring_prep_read_fixed(io_uring_get_sqe(&unseen->uring), ends[0], unseen->ring + RIG_PAGE, 1,
                             0, 0);
    if (io_uring_submit_and_wait(&unseen->uring, 1) == 1 &&
        io_uring_peek_cqe(&unseen->uring, &done) == 0)
        io_uring_cqe_seen(&unseen->uring, done);
    close(ends[0]);
    close(ends[1]);
}

/* After the first round, when all has been sent once. */
__attribute__((no_sanitize_thread)) static int on_event(void *ctx, enum ferry_event event,
                                                        char *reason, size_t size)
{
    struct unseen *unseen = ctx;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || unseen->rounds++ > 0)
        return 0;
    if (unseen->pinned)
        read_into_ring(unseen);
    else
        unseen->ring[RIG_PAGE] = 'd';
    if (pwrite(unseen->file, "w", 1, RIG_PAGE) != 1)
        return 0;
    unseen->second[2 * RIG_PAGE] = 'm';
    told(unseen, unseen->ring + RIG_PAGE);
    told(unseen, unseen->board + RIG_PAGE);
    told(unseen, unseen->board + 2 * RIG_PAGE);
    return 0;
}

static char *map_file(int file)
{
    return mmap(NULL, PAGES * RIG_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
}

static int declare(struct unseen *unseen)
{
    struct ferry_job *job = unseen->side->job;
    const struct way *way = unseen->side->ctx;
    size_t bytes = PAGES * RIG_PAGE;
    unseen->file = memfd_create("board", MFD_CLOEXEC);
    if (unseen->file < 0 || ftruncate(unseen->file, (off_t)bytes) < 0)
        return 96;
    unseen->ring = ferry_job_alloc(job, "ring", bytes, 0, way->late ? FERRY_SEND_LATE : FERRY_ANON);
    unseen->board = map_file(unseen->file);
    unseen->second = map_file(unseen->file);
    if (!unseen->ring || unseen->board == MAP_FAILED || unseen->second == MAP_FAILED)
        return 95;
    if (ferry_job_protect_fd(job, "board", unseen->board, bytes, unseen->file, 0) < 0 ||
        (way->late && ferry_job_send_late(job, "board") < 0) ||
        ferry_job_notify(job, on_event, unseen) < 0)
        return 94;
    return 0;
}

/* Only where the job starts: at the destination nothing may be pinned before it arrives. */
static void pin(struct unseen *unseen)
{
    struct iovec buffer = {unseen->ring + RIG_PAGE, RIG_PAGE};
    int error = io_uring_queue_init(4, &unseen->uring, 0);
    unseen->pinned = !error && io_uring_register_buffers(&unseen->uring, &buffer, 1) == 0;
    if (!unseen->pinned)
        rig_say(unseen->side, "no io_uring here");
}

static int unseen_job(struct rig_side *side)
{
    struct unseen unseen = {.side = side};
    rig_open(side);
    int error = declare(&unseen);
    if (error)
        return error;
    if (rig_start(side) == FERRY_ARRIVED) {
        bool right = unseen.ring[0] == 'a' && unseen.ring[RIG_PAGE] == 'd' &&
                     unseen.board[0] == 'a' && unseen.board[RIG_PAGE] == 'w' &&
                     unseen.board[2 * RIG_PAGE] == 'm';
        rig_say(side, "answer %d", right);
        return rig_close(side);
    }
    memset(unseen.ring, 'a', PAGES * RIG_PAGE);
    memset(unseen.board, 'a', PAGES * RIG_PAGE);
    pin(&unseen);
    if (rig_move(side, side->uri) != FERRY_MOVED)
        return 93;
    rig_say(side, "rounds %u", unseen.rounds);
    return rig_close(side);
}

static void run_way(const struct way *way, uint64_t answer)
{
    static const char *const precopy[] = {"mode", "precopy", NULL};
    static const char *const hybrid[] = {"mode", "hybrid", NULL};
    const char *const *const modes[] = {precopy, hybrid};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct rig_run run;
        rig_run(&run,
                &(struct rig_setup){.body = unseen_job, .ctx = way, .source_options = modes[i]});
        rig_assert_moved(&run, answer);
        CU_ASSERT(rig_number(&run.source, "rounds") > 0);
    }
}

static void what_is_told_arrives(void)
{
    run_way(&(struct way){.tells = true}, 1);
}

static void what_is_sent_late_arrives(void)
{
    run_way(&(struct way){.late = true}, 1);
}

/* Else the tests above would prove nothing. */
static void what_nobody_sees_is_missed(void)
{
    run_way(&(struct way){.tells = false}, 0);
}

/* ---- giving back ----------------------------------------------------------------------------- */

enum { GIVING = 256 };

/*
 * One step: a page is given back; every other one is written then. That it is being sent meanwhile
 * is what pre-copy is.
 */
__attribute__((no_sanitize_thread)) static void step_giving(char *region, long step)
{
    char *page = region + (size_t)(step * 7 % GIVING) * RIG_PAGE;
    madvise(page, RIG_PAGE, MADV_DONTNEED);
    if (step % 2)
        page[8] = (char)(step % 100 + 1);
}

static bool as_after(const char *region, long steps)
{
    static char expected[GIVING];
    memset(expected, 'a', sizeof expected);
    for (long step = 0; step < steps; step++)
        expected[step * 7 % GIVING] = (char)(step % 2 ? step % 100 + 1 : 0);
    for (size_t page = 0; page < GIVING; page++)
        if (region[page * RIG_PAGE + 8] != expected[page])
            return false;
    return true;
}

static int giving_job(struct rig_side *side)
{
    long step = 0;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", GIVING * RIG_PAGE, 0, FERRY_ANON);
    if (!region || ferry_job_state(side->job, &step, sizeof step) < 0)
        return 96;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d", as_after(region, step));
        return rig_close(side);
    }
    memset(region, 'a', GIVING * RIG_PAGE);
    if (ferry_job_migrate(side->job, side->uri) < 0)
        return 95;
    for (; ferry_job_safepoint(side->job) != FERRY_MOVED; step++)
        step_giving(region, step);
    return rig_close(side);
}

static void what_is_given_back_is_gone(void)
{
    static const char *const trackers[] = {"auto", "write-protect"};
    for (size_t i = 0; i < sizeof trackers / sizeof trackers[0]; i++) {
        const char *const options[] = {"mode",       "precopy", "tracker", trackers[i],
                                       "max-rounds", "4",       NULL};
        struct rig_run run;
        rig_run(&run, &(struct rig_setup){.body = giving_job, .source_options = options});
        rig_assert_moved(&run, 1);
    }
}

/* ---- growing --------------------------------------------------------------------------------- */

/* The pages lie so far apart that none is in another's window, where windows are parts of regions.
 */
enum { GROWN = 4, STRIDE = 32 << 20 };

struct growing {
    char *region;
    unsigned rounds;
};

/* When the round and the look behind it are over: nobody has heard of this page yet. */
__attribute__((no_sanitize_thread)) static int on_round(void *ctx, enum ferry_event event,
                                                        char *reason, size_t size)
{
    struct growing *growing = ctx;
    (void)reason;
    (void)size;
    if (event == FERRY_EVENT_ROUND && ++growing->rounds < GROWN)
        growing->region[(size_t)growing->rounds * STRIDE] = 'b';
    return 0;
}

static int growing_job(struct rig_side *side)
{
    struct growing growing = {.rounds = 0};
    rig_open(side);
    growing.region = ferry_job_alloc(side->job, "region", (size_t)GROWN * STRIDE, 0, FERRY_ANON);
    if (!growing.region || ferry_job_notify(side->job, on_round, &growing) < 0)
        return 96;
    if (rig_start(side) == FERRY_ARRIVED) {
        rig_say(side, "answer %d", growing.region[0] == 'a' && growing.region[STRIDE] == 'b');
        return rig_close(side);
    }
    growing.region[0] = 'a';
    if (rig_move(side, side->uri) != FERRY_MOVED)
        return 95;
    return rig_close(side);
}

static void what_grows_meanwhile_arrives(void)
{
    static const char *const modes[] = {"hybrid", "precopy"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        const char *const options[] = {"mode", modes[i], NULL};
        struct rig_run run;
        rig_run(&run, &(struct rig_setup){.body = growing_job, .source_options = options});
        rig_assert_moved(&run, 1);
    }
}

const struct pf_test rules_unseen[] = {
    {"what is told arrives", what_is_told_arrives},
    {"what is sent late arrives", what_is_sent_late_arrives},
    {"what nobody sees is missed", what_nobody_sees_is_missed},
    {"what is given back is gone", what_is_given_back_is_gone},
    {"what grows meanwhile arrives", what_grows_meanwhile_arrives},
    {NULL, NULL},
};
