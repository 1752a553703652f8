/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No write is ever lost: two threads write random words and give pages back, while rounds collect
 * the dirty pages and copy them to a shadow. Every few rounds the writers stand still, what is
 * dirty is collected a last time, and shadow and memory have to be the same, byte for byte.
 * Arguments: how many times (200); a tracker that has to work here.
 */
#include "core/track/tracker_ops.h"

#include "tests/huge.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    WRITERS = 2,
    HELPERS = 2,
    HOT = 64,
    ROUNDS = 4,
    GIVE_BACK = 200,
    SPELL = 1000,
    MUCH = 20480
};

/* CUnit's tests have no arguments. */
static unsigned kind;
#ifdef __SANITIZE_THREAD__
static unsigned epochs = 20; /* each word that is copied costs more than a hundred do otherwise */
#else
static unsigned epochs = 200;
#endif

struct torture {
    struct pf_regions regions;
    const struct pf_region *region;
    struct pf_tracker *tracker;
    struct pf_pageset dirty;
    struct pf_pageset sent; /* pages of which the shadow may have more than zeros */
    uint64_t *shadow;
    size_t step;   /* between hot pages */
    int give_back; /* an advice, or -1 */
    atomic_bool pause, ended;
    pthread_barrier_t barrier;
    pthread_t writers[WRITERS];
    atomic_uint seeds;
};

/* xorshift64 (Marsaglia, 2003). */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void write_somewhere(struct torture *torture, uint64_t *state)
{
    size_t page_size = pf_region_page_size(torture->region);
    uint64_t dice = next_random(state);
    size_t hot = pf_region_pages(torture->region) / torture->step;
    char *page = pf_region_page(torture->region, dice % hot * torture->step);
    uint64_t *words = (uint64_t *)(void *)page;
    if (dice >> 32 & 1)
        __atomic_store_n(&words[(dice >> 34) % (page_size / sizeof *words)], dice,
                         __ATOMIC_RELAXED);
    else
        __atomic_fetch_add(&words[0], 1, __ATOMIC_RELAXED);
    if (torture->give_back >= 0 && (dice >> 40) % GIVE_BACK == 0)
        madvise(page, page_size, torture->give_back);
}

static void *run_writer(void *arg)
{
    struct torture *torture = arg;
    uint64_t state = 88172645463325252ull + atomic_fetch_add(&torture->seeds, 1);
    while (!atomic_load(&torture->ended)) {
        for (unsigned i = 0; i < SPELL && !atomic_load(&torture->pause); i++)
            write_somewhere(torture, &state);
        pthread_barrier_wait(&torture->barrier); /* they stand still */
        pthread_barrier_wait(&torture->barrier); /* and go on */
    }
    return NULL;
}

static void stop_writers(struct torture *torture)
{
    atomic_store(&torture->pause, true);
    pthread_barrier_wait(&torture->barrier);
}

static void let_writers_go(struct torture *torture)
{
    atomic_store(&torture->pause, false);
    pthread_barrier_wait(&torture->barrier);
}

static bool collect(struct torture *torture)
{
    struct pf_why why = {""};
    struct pf_run all = {0, pf_region_pages(torture->region)};
    int error = pf_tracker_collect(torture->tracker, 0, all, &torture->dirty, &why);
    if (error)
        printf("%s\n", why.text);
    return !error;
}

/* As at the switch. What comes after it finds more than was written, never less. */
static bool collect_last(struct torture *torture)
{
    struct pf_why why = {""};
    struct pf_pageset *dirty[] = {&torture->dirty};
    int error = pf_tracker_collect_last(torture->tracker, dirty, &why);
    if (error)
        printf("%s\n", why.text);
    return !error;
}

/* Word by word, since the writers go on. */
static void copy_dirty(struct torture *torture)
{
    size_t words = pf_region_page_size(torture->region) / sizeof(uint64_t);
    struct pf_run run;
    while ((run = pf_pageset_next_upto(&torture->dirty, 0, 1)).pages) {
        const uint64_t *from = (uint64_t *)(void *)pf_region_page(torture->region, run.first);
        uint64_t *to = torture->shadow + run.first * words;
        uint64_t any = 0;
        pf_pageset_remove_run(&torture->dirty, run);
        pf_pageset_add_run(&torture->sent, run);
        for (size_t i = 0; i < words; i++)
            any |= to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
        if (any == 0)
            pf_pageset_remove_run(&torture->sent, run);
    }
}

static bool go_round(struct torture *torture)
{
    bool still = pf_tracker_needs_pause(torture->tracker);
    if (still)
        stop_writers(torture);
    bool collected = collect(torture);
    if (still)
        let_writers_go(torture);
    copy_dirty(torture);
    return collected;
}

static void run_epochs(struct torture *torture)
{
    bool same = true;
    for (unsigned epoch = 0; epoch < epochs && same; epoch++) {
        for (unsigned round = 0; round < ROUNDS && same; round++)
            same = go_round(torture);
        stop_writers(torture);
        same = same && (epoch % 4 == 1 ? collect(torture) : collect_last(torture));
        copy_dirty(torture);
        same = same && memcmp(torture->shadow, torture->region->addr, torture->region->bytes) == 0;
        if (!same)
            printf("after %u times ", epoch);
        atomic_store(&torture->ended, epoch == epochs - 1 || !same);
        let_writers_go(torture);
    }
    CU_ASSERT_TRUE(same);
}

static void set_up(struct torture *torture, unsigned flags, size_t page_size, size_t pages)
{
    struct pf_region *region;
    struct pf_why why = {""};
    size_t bytes = pages * (page_size ? page_size : PF_PAGE_SIZE);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&torture->regions, "region", bytes, page_size, flags, &region, &why), 0);
    torture->region = region;
    torture->step = pages > HOT ? pages / HOT : 1;
    torture->give_back = flags & FERRY_SHARED ? MADV_REMOVE : MADV_DONTNEED;
    torture->shadow = calloc(1, bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(torture->shadow);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&torture->dirty, pages), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&torture->sent, pages), 0);
    pthread_barrier_init(&torture->barrier, NULL, WRITERS + 1);
}

/* How the memory is when tracking begins, and what becomes of it. */
enum { THP = 1, FILLED = 2, KEPT = 4 };

static void prepare(struct torture *torture, unsigned how)
{
    if (how & THP)
        madvise(torture->region->addr, torture->region->bytes, MADV_HUGEPAGE);
    if (how & (THP | FILLED))
        memset(torture->region->addr, 1, torture->region->bytes);
    if (how & KEPT)
        torture->give_back = -1;
}

static void run_in(unsigned flags, size_t page_size, size_t pages, unsigned how)
{
    struct torture *torture = calloc(1, sizeof *torture);
    struct pf_why why = {""};
    set_up(torture, flags, page_size, pages);
    prepare(torture, how);
    struct pf_pageset *sent[] = {&torture->sent};
    struct pf_tracker_attr attr = {.regions = &torture->regions, .choice = kind, .sent = sent};
    CU_ASSERT_EQUAL_FATAL(pf_tracker_open(&torture->tracker, &attr, &why), 0);
    pf_team_open(&torture->tracker->team, HELPERS);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_create(&torture->writers[i], NULL, run_writer, torture);
    run_epochs(torture);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(torture->writers[i], NULL);
    pf_tracker_close(torture->tracker);
    pthread_barrier_destroy(&torture->barrier);
    pf_pageset_free(&torture->dirty);
    pf_pageset_free(&torture->sent);
    pf_regions_unmap(&torture->regions);
    free(torture->shadow);
    free(torture);
}

static void private_memory(void)
{
    run_in(FERRY_ANON, 0, HOT, 0);
}

static void a_file(void)
{
    run_in(FERRY_SHARED, 0, HOT, 0);
}

/* Chunks without holes, which are looked at by shorter ways. */
static void full_private_memory(void)
{
    run_in(FERRY_ANON, 0, HOT, FILLED | KEPT);
}

static void a_full_file(void)
{
    run_in(FERRY_SHARED, 0, HOT, FILLED | KEPT);
}

/* Full and in use until something is given back in mid-run. */
static void filled_memory(void)
{
    run_in(FERRY_ANON, 0, HOT, FILLED);
    run_in(FERRY_SHARED, 0, HOT, FILLED);
}

/* So much that several threads look at it at the end. */
static void much_memory(void)
{
    unsigned all = epochs;
    epochs = epochs / 20 + 1;
    run_in(FERRY_ANON, 0, MUCH, FILLED | KEPT);
    epochs = all;
}

static void transparent_huge_pages(void)
{
    run_in(FERRY_ANON, 0, 1024, THP);
}

static void huge_pages(void)
{
    if (kind == PF_TRACK_SOFT_DIRTY)
        return; /* it has none */
    if (!huge_2m(4)) {
        printf("skipped: too few huge pages ");
        return;
    }
    run_in(FERRY_ANON, FERRY_PAGE_2M, 2, 0);
    run_in(FERRY_SHARED, FERRY_PAGE_2M, 2, 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"private_memory", private_memory},
        {"a_file", a_file},
        {"full_private_memory", full_private_memory},
        {"a_full_file", a_full_file},
        {"filled_memory", filled_memory},
        {"much_memory", much_memory},
        {"transparent_huge_pages", transparent_huge_pages},
        {"huge_pages", huge_pages},
        {NULL, NULL},
    };
    static const char *const names[] = {"auto", "pagemap-scan", "soft-dirty", "write-protect"};
    int failed = 0;
    unsigned worked = 0;
    if (argc > 1)
        epochs = (unsigned)strtoul(argv[1], NULL, 10);
    for (kind = PF_TRACK_AUTO + 1; kind <= PF_TRACK_WRITE_PROTECT; kind++) {
        struct pf_why why = {""};
        if (pf_tracker_probe(kind, &why)) {
            printf("skipped: %s\n", why.text);
            failed |= argc > 2 && strcmp(argv[2], names[kind]) == 0;
            continue;
        }
        worked++;
        failed |= pf_suite_run(names[kind], tests, NULL);
    }
    return worked ? failed : PF_TEST_SKIPPED;
}
