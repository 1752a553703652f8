/* SPDX-License-Identifier: BSD-2-Clause */
/* Small parts of the engine: state, idling, memory locks. */
#include "base/clock.h"
#include "core/backends.h"
#include "core/job/state.h"
#include "core/memory/memory_locks.h"
#include "core/session/idle.h"
#include "pageferry.h"
#include "tests/suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- state
 * --------------------------------------------------------------------------------------- */

static void state_is_saved_and_restored(void)
{
    struct pf_state *state = calloc(1, sizeof *state);
    char first[3] = "ab";
    double second = 1.5;
    uint8_t blob[3 + sizeof second];
    CU_ASSERT_EQUAL(pf_state_add(state, first, sizeof first, NULL), 0);
    CU_ASSERT_EQUAL(pf_state_add(state, NULL, 0, NULL), 0); /* an edge that is none */
    CU_ASSERT_EQUAL(pf_state_add(state, &second, sizeof second, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(state->bytes, sizeof blob);
    pf_state_save(state, blob);
    strcpy(first, "xy");
    second = 0;
    pf_state_restore(state, blob);
    CU_ASSERT_STRING_EQUAL(first, "ab");
    CU_ASSERT_EQUAL(second, 1.5);
    free(state);
}

static void state_has_limits(void)
{
    struct pf_state *state = calloc(1, sizeof *state);
    struct pf_why why = {""};
    char byte;
    CU_ASSERT_EQUAL(pf_state_add(state, &byte, PF_STATE_BYTES_MAX, NULL), 0);
    CU_ASSERT_EQUAL(pf_state_add(state, &byte, 1, &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "64 MiB"));
    CU_ASSERT_EQUAL(pf_state_add(state, &byte, SIZE_MAX, NULL), -EINVAL);
    for (unsigned i = 1; i < PF_STATE_PIECES_MAX; i++)
        CU_ASSERT_EQUAL(pf_state_add(state, &byte, 0, NULL), 0);
    CU_ASSERT_EQUAL(pf_state_add(state, &byte, 0, NULL), -ENOSPC);
    free(state);
}

/* ---- idle
 * ---------------------------------------------------------------------------------------- */

enum { WAKES = 2000 };

struct ping {
    int there, back;
};

static void *ping_back(void *arg)
{
    struct ping *ping = arg;
    for (int i = 0; i < WAKES; i++) {
        uint64_t value;
        while (read(ping->there, &value, sizeof value) < 0)
            sched_yield();
        if (write(ping->back, &(uint64_t){1}, sizeof value) < 0)
            return (void *)1;
    }
    return NULL;
}

/* It sleeps without end: a wake-up that is lost would hang the test. */
static void no_wake_up_is_lost(void)
{
    for (uint64_t spin_ns = 0; spin_ns <= 20000; spin_ns += 20000) {
        struct ping ping = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
        struct pf_idle idle = {.fds = {ping.back}, .fd_count = 1, .spin_ns = spin_ns};
        pthread_t thread;
        pthread_create(&thread, NULL, ping_back, &ping);
        for (int i = 0; i < WAKES; i++) {
            uint64_t value;
            CU_ASSERT_EQUAL_FATAL(write(ping.there, &(uint64_t){1}, sizeof value), sizeof value);
            while (read(ping.back, &value, sizeof value) < 0)
                pf_idle(&idle, -1);
            pf_busy(&idle);
        }
        pthread_join(thread, NULL);
        close(ping.there);
        close(ping.back);
    }
}

static void sleep_ends_in_time(void)
{
    struct pf_idle idle = {.fd_count = 0};
    for (int i = 0; i < 4; i++)
        pf_idle(&idle, 1); /* returns, with nobody to wake it */
    CU_PASS("it came back");
}

/* ---- memory locks
 * ----------------------------------------------------------------------------------- */

static bool can_lock(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skipped: sanitizers turn mlock into nothing ... ");
    return false;
#endif
    return true;
}

static bool is_locked(const char *at)
{
    /* A locked page can't be discarded. */
    return madvise((void *)at, PF_PAGE_SIZE, MADV_DONTNEED) != 0 && errno == EINVAL;
}

static void locks_come_off_and_back(void)
{
    struct pf_regions *regions = calloc(1, sizeof *regions);
    struct pf_memory_locks locks = {.released = false};
    struct pf_region *locked;
    struct pf_region *half;
    struct pf_region *plain;
    if (!can_lock())
        return;
    pf_regions_map(regions, "locked", 4 * PF_PAGE_SIZE, 0, 0, &locked, NULL);
    pf_regions_map(regions, "half", 4 * PF_PAGE_SIZE, 0, 0, &half, NULL);
    pf_regions_map(regions, "plain", 4 * PF_PAGE_SIZE, 0, 0, &plain, NULL);
    CU_ASSERT_EQUAL_FATAL(mlock(locked->addr, locked->bytes), 0);
    CU_ASSERT_EQUAL_FATAL(mlock(pf_region_page(half, 2), PF_PAGE_SIZE), 0);
    pf_memory_locks_restore(&locks, regions); /* nothing was released: harmless */
    pf_memory_locks_release(&locks, regions);
    CU_ASSERT_FALSE(is_locked(locked->addr));
    CU_ASSERT_FALSE(is_locked(pf_region_page(half, 2)));
    pf_memory_locks_restore(&locks, regions);
    CU_ASSERT_TRUE(is_locked(locked->addr));
    CU_ASSERT_TRUE(is_locked(pf_region_page(half, 2)));
    CU_ASSERT_FALSE(is_locked(plain->addr));
    pf_regions_unmap(regions);
    free(regions);
}

/* ---- options that do not go together
 * -------------------------------------------------------------- */

static int start_with_stages(const char *stages, const char *stage_size, const char *uris)
{
    struct ferry_job *job;
    CU_ASSERT_EQUAL_FATAL(ferry_job_open(&job, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(ferry_job_alloc(job, "r", PF_PAGE_SIZE, 0, FERRY_ANON));
    CU_ASSERT_EQUAL(ferry_job_set(job, "stages", stages), 0);
    CU_ASSERT_EQUAL(ferry_job_set(job, "stage-size", stage_size), 0);
    CU_ASSERT_EQUAL(ferry_job_receive(job, uris, NULL, NULL), 0);
    int how = ferry_job_start(job);
    CU_ASSERT_PTR_NOT_NULL(strstr(ferry_job_why(job), "choose smaller --stages or --stage-size"));
    ferry_job_close(job);
    return how;
}

/* One that fits would wait for its source. */
static void stages_have_a_limit(void)
{
    CU_ASSERT_EQUAL(start_with_stages("64", "64M", "inproc://a"), -EINVAL);
    CU_ASSERT_EQUAL(start_with_stages("2", "64M", "inproc://a,inproc://b,inproc://c"), -EINVAL);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"state_is_saved_and_restored", state_is_saved_and_restored},
        {"state_has_limits", state_has_limits},
        {"no_wake_up_is_lost", no_wake_up_is_lost},
        {"sleep_ends_in_time", sleep_ends_in_time},
        {"locks_come_off_and_back", locks_come_off_and_back},
        {"stages_have_a_limit", stages_have_a_limit},
        {NULL, NULL},
    };
    return pf_suite_run("engine", tests, argc > 1 ? argv[1] : NULL);
}
