/* SPDX-License-Identifier: BSD-2-Clause */
/* What a region's memory is at the destination: empty first, never stale, no larger than needed. */
#include "tests/e2e/rules.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 64, STEPS = 6, MOVE_AT = 3 };

static const char *const on_demand[] = {"background", "off", NULL};

static size_t bytes_not(const char *at, size_t bytes, char value)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += at[i] != value;
    return n;
}

/* ---- truly empty ----------------------------------------------------------------------------- */

/* Even pages hold data, odd ones were never touched at the source. */
static int stale_job(struct rig_side *side)
{
    size_t wrong = 0;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (side->destination)
        memset(region, 's', PAGES * RIG_PAGE);
    int how = rig_start(side);
    for (size_t page = 0; page < PAGES && how == FERRY_FRESH; page += 2)
        memset(region + page * RIG_PAGE, 'd', RIG_PAGE);
    if (how == FERRY_FRESH)
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    for (size_t page = 0; page < PAGES; page++)
        wrong += bytes_not(region + page * RIG_PAGE, RIG_PAGE, page % 2 ? 0 : 'd');
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void what_was_written_before_start_is_gone(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = stale_job});
    rig_assert_moved(&run, 0);
}

/* ---- zero pages ------------------------------------------------------------------------------ */

enum { ZEROS = 512, DATA = 16 };

static int zeros_job(struct rig_side *side)
{
    struct ferry_status status;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", (ZEROS + DATA) * RIG_PAGE, 0, 0);
    int how = rig_start(side);
    if (how == FERRY_FRESH) {
        memset(region, 1, (ZEROS + DATA) * RIG_PAGE);
        memset(region, 0, ZEROS * RIG_PAGE);
        if (rig_move(side, side->uri) != FERRY_MOVED)
            return 1;
        ferry_job_status(side->job, &status);
        rig_say(side, "sent %llu", (unsigned long long)status.sent_bytes);
        rig_say(side, "zero %llu", (unsigned long long)status.zero_pages);
        return rig_close(side);
    }
    rig_say(side, "answer %zu",
            bytes_not(region, ZEROS * RIG_PAGE, 0) +
                bytes_not(region + ZEROS * RIG_PAGE, DATA * RIG_PAGE, 1));
    return rig_close(side);
}

static void zero_pages_cost_no_data(void)
{
    struct rig_run run;
    /* Who pulls a page sees only then what is in it. */
    const char *fetch = getenv("PAGEFERRY_FETCH");
    size_t seen_late = fetch && strcmp(fetch, "read") == 0 ? ZEROS : 0;
    for (int demand = 0; demand < 2; demand++) {
        rig_run(&run, &(struct rig_setup){.body = zeros_job,
                                          .source_options = demand ? on_demand : NULL});
        CU_ASSERT_EQUAL(rig_number(&run.source, "sent"), (DATA + seen_late) * RIG_PAGE);
        CU_ASSERT_EQUAL(rig_number(&run.source, "zero"), ZEROS);
        rig_assert_moved(&run, 0);
    }
}

/* ---- sparse ---------------------------------------------------------------------------------- */

#define SPARSE_BYTES ((size_t)64 << 30)
#define SPARSE_STEP  ((size_t)1 << 30)
#define PIECE_BYTES  ((size_t)2 << 20)
enum { PIECES = SPARSE_BYTES / SPARSE_STEP };

/* How much of the mapping at addr is in memory, in pages. */
static size_t region_pages(const void *addr)
{
    char line[256];
    unsigned long start;
    unsigned long end;
    size_t kib = 0;
    bool inside = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    while (smaps && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
        else if (inside && sscanf(line, "Rss: %zu kB", &kib) == 1)
            break;
    }
    if (smaps)
        fclose(smaps);
    return kib * 1024 / RIG_PAGE;
}

static void say_sizes(struct rig_side *side, const char *region)
{
    rig_say(side, "region %zu", region_pages(region));
    rig_say(side, "resident %zu", rig_resident_pages());
}

static int sparse_job(struct rig_side *side)
{
    size_t wrong = 0;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", SPARSE_BYTES, 0, 0);
    if (!region)
        return 96;
    int how = rig_start(side);
    /* Where huge pages are always on, touching a piece would populate more than the piece. */
    madvise(region, (size_t)SPARSE_BYTES, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < PIECES && how == FERRY_FRESH; i++)
        memset(region + i * SPARSE_STEP + i * RIG_PAGE, (int)i + 1, PIECE_BYTES);
    if (how == FERRY_FRESH) {
        int moved = rig_move(side, side->uri);
        say_sizes(side, region);
        return moved == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (size_t i = 0; i < PIECES; i++)
        for (size_t at = 0; at < PIECE_BYTES; at += 64)
            wrong += region[i * SPARSE_STEP + i * RIG_PAGE + at] != (char)(i + 1);
    grid_await_complete(side);
    say_sizes(side, region);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void assert_small(const struct rig_process *process)
{
    const size_t used = PIECES * PIECE_BYTES / RIG_PAGE;
    /* Slots, stages and page sets: far below an eighth. A sanitizer's shadow is none of ours. */
    CU_ASSERT(rig_number(process, "region") <= used + used / 64);
    if (!RULES_SANITIZED)
        CU_ASSERT(rig_number(process, "resident") <= used + used / 8);
}

static void sparse_region_moves_in_what_it_uses(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = sparse_job});
    assert_small(&run.source);
    assert_small(&run.destination);
    rig_assert_moved(&run, 0);
}

/* ---- given back ------------------------------------------------------------------------------ */

enum { GIVEN = 8, GIVEN_FROM = 3 };

/* The pages from GIVEN_FROM on have not arrived: only what is touched does. */
static int give_back_job(struct rig_side *side)
{
    size_t wrong = 0;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    char *given = region + GIVEN_FROM * RIG_PAGE;
    if (rig_start(side) == FERRY_FRESH) {
        memset(region, 'd', PAGES * RIG_PAGE);
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    madvise(given, GIVEN * RIG_PAGE, MADV_DONTNEED);
    wrong += bytes_not(given, GIVEN * RIG_PAGE / 2, 0);
    wrong += bytes_not(region, GIVEN_FROM * RIG_PAGE, 'd');
    wrong += bytes_not(given + GIVEN * RIG_PAGE, (PAGES - GIVEN - GIVEN_FROM) * RIG_PAGE, 'd');
    grid_await_complete(side);
    wrong += bytes_not(given, GIVEN * RIG_PAGE, 0);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void page_given_back_reads_zeros_and_stays_so(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = give_back_job, .source_options = on_demand});
    rig_assert_moved(&run, 0);
    rig_run(&run, &(struct rig_setup){.body = give_back_job});
    rig_assert_moved(&run, 0);
}

/* ---- forks ----------------------------------------------------------------------------------- */

/* How a child ends that looks at the region: 200 + the byte's value, or 128 + the signal. */
static int child_sees(const char *at)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(200 + *(const volatile char *)at);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int spawned(void)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 7", NULL};
    char *const environment[] = {NULL};
    pid_t child;
    int status;
    if (posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environment) != 0)
        return -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int fork_job(struct rig_side *side)
{
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH) {
        memset(region, 5, PAGES * RIG_PAGE);
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    rig_say(side, "early %d", child_sees(region + RIG_PAGE));
    rig_say(side, "system %d", WEXITSTATUS(system("exit 6")));
    rig_say(side, "spawned %d", spawned());
    rig_say(side, "answer %zu", bytes_not(region, PAGES * RIG_PAGE, 5));
    grid_await_complete(side);
    rig_say(side, "late %d", child_sees(region + RIG_PAGE));
    return rig_close(side);
}

static void child_never_reads_zeros_for_data(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = fork_job, .source_options = on_demand});
    CU_ASSERT_EQUAL(rig_number(&run.destination, "early"), 128 + SIGSEGV);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "late"), 205);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "system"), 6);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "spawned"), 7);
    rig_assert_moved(&run, 0);
}

/* ---- locked ---------------------------------------------------------------------------------- */

static size_t locked_kib(const void *addr)
{
    char line[256];
    unsigned long start;
    unsigned long end;
    size_t kib = 0;
    bool inside = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    while (smaps && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
        else if (inside && sscanf(line, "Locked: %zu kB", &kib) == 1)
            break;
    }
    if (smaps)
        fclose(smaps);
    return kib;
}

static void lock_all(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        rig_say(side, "unlockable %d", errno);
}

static void say_locked(struct rig_side *side, struct grid *grid)
{
    if (!side->destination)
        return;
    grid_await_complete(side);
    rig_say(side, "locked %zu", locked_kib(grid->words));
}

static void locked_job_moves_and_is_locked_again(void)
{
    static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = lock_all,
                                          .finished = say_locked};
    struct rig_run run;
    if (RULES_SANITIZED) {
        printf("skipped: sanitizers turn mlock into nothing ... ");
        return;
    }
    rig_run(&run, &(struct rig_setup){.body = grid_job, .ctx = &play});
    if (rig_said(&run.destination, "unlockable")) {
        printf("skipped: not allowed to lock memory ... ");
        return;
    }
    CU_ASSERT_EQUAL(rig_number(&run.destination, "locked"), PAGES * RIG_PAGE / 1024);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
}

const struct pf_test rules_regions[] = {
    {"what_was_written_before_start_is_gone", what_was_written_before_start_is_gone},
    {"zero_pages_cost_no_data", zero_pages_cost_no_data},
    {"sparse_region_moves_in_what_it_uses", sparse_region_moves_in_what_it_uses},
    {"page_given_back_reads_zeros_and_stays_so", page_given_back_reads_zeros_and_stays_so},
    {"child_never_reads_zeros_for_data", child_never_reads_zeros_for_data},
    {"locked_job_moves_and_is_locked_again", locked_job_moves_and_is_locked_again},
    {NULL, NULL},
};
