/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared regions placed in place, as the destination does it: what the source would write goes
 * through the region's second mapping. A session over inproc gives the fault thread a lane to poll;
 * nobody answers there.
 */
#include "core/arrival/faults.h"
#include "core/arrival/landing.h"
#include "tests/huge.h"
#include "tests/suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 8 };

struct stand {
    struct pf_regions regions;
    struct pf_region *region;
    struct pf_counters counters;
    struct pf_options options;
    struct pf_session session;
    struct pf_arrival arrival;
    struct pf_fault_thread faults;
    int done_fd;
    size_t page;
};

/* A region whose pages are all to come. NULL where there are no such pages. */
static struct stand *set_up(size_t page_size, unsigned place)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_why why = {""};
    pf_options_init(&stand->options);
    stand->options.place = place;
    stand->session = (struct pf_session){
        .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
    stand->done_fd = eventfd(0, EFD_NONBLOCK);
    stand->page = page_size ? page_size : PF_PAGE_SIZE;
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "region", PAGES * stand->page, page_size,
                                         FERRY_SHARED, &stand->region, &why),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->session, "inproc://in_place", true), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, stand->done_fd, &why),
        0);
    CU_ASSERT_EQUAL_FATAL(pf_landings_open(&stand->arrival, &stand->session, false), 0);
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_open(&stand->faults, &stand->session, &stand->arrival),
                          0);
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    /* As if all were asked for: there is nobody to ask. */
    pf_pageset_add_run(&stand->arrival.list[0].requested, (struct pf_run){0, PAGES});
    return stand;
}

static void arm(struct stand *stand)
{
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_start(&stand->faults), 0);
    CU_ASSERT_EQUAL_FATAL(pf_arrival_arm(&stand->arrival, &why), 0);
}

static void take_down(struct stand *stand)
{
    pf_arrival_disarm(&stand->arrival);
    pf_worker_stop(&stand->faults.worker);
    pf_session_hang_up(&stand->session);
    pf_fault_thread_close(&stand->faults);
    pf_landings_close(&stand->arrival);
    pf_session_close(&stand->session);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    close(stand->done_fd);
    free(stand);
}

/* What the source's write does. */
static void land(struct stand *stand, size_t page, char value)
{
    memset(stand->arrival.list[0].alias + page * stand->page, value, stand->page);
}

static int place(struct stand *stand, size_t first, size_t pages, bool data)
{
    struct pf_placing placing = {
        .run = {first, pages},
        .from = data ? stand->arrival.list[0].alias + first * stand->page : NULL,
    };
    return pf_arrival_place_gated(&stand->arrival, &placing);
}

static char seen(struct stand *stand, size_t page)
{
    return *(volatile char *)pf_region_page(stand->region, page);
}

static void data_is_mapped_not_copied(struct stand *stand)
{
    CU_ASSERT_TRUE_FATAL(stand->arrival.list[0].in_place);
    arm(stand);
    for (size_t i = 0; i < PAGES; i += 2)
        land(stand, i, 'd');
    /* The odd pages are all zero: nothing was written, the file has holes there. */
    for (size_t i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(place(stand, i, 1, i % 2 == 0), 0);
    for (size_t i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(seen(stand, i), i % 2 ? 0 : 'd');
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.received_bytes), PAGES * stand->page);
    /* One memory: what the job writes is in the file. */
    *pf_region_page(stand->region, 1) = 'j';
    CU_ASSERT_EQUAL(stand->arrival.list[0].alias[stand->page], 'j');
    take_down(stand);
}

static void small_pages(void)
{
    data_is_mapped_not_copied(set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE));
}

static void huge_pages(void)
{
    if (huge_2m(PAGES))
        data_is_mapped_not_copied(set_up(FERRY_PAGE_2M, PF_PLACE_CONTINUE));
    else
        printf("skipped: no huge pages to be had ... ");
}

/* A run of zeros over holes and over pages that the file has: where registering has filled it. */
static void runs_over_holes_and_pages(void)
{
    for (int filled = 0; filled < 2; filled++)
        for (int data = 0; data < 2; data++) {
            struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE);
            stand->arrival.list[0].filled = filled;
            arm(stand);
            for (size_t i = 0; i < PAGES; i++)
                if (i % 3 == 0)
                    land(stand, i, data ? 'd' : 0);
            CU_ASSERT_EQUAL(place(stand, 0, PAGES, data), 0);
            for (size_t i = 0; i < PAGES; i++)
                CU_ASSERT_EQUAL(seen(stand, i), data && i % 3 == 0 ? 'd' : 0);
            CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
            take_down(stand);
        }
}

/* ---- the rules ------------------------------------------------------------------------------- */

struct reader {
    pthread_t thread;
    struct stand *stand;
    size_t page;
    char seen;
};

static void *read_page(void *arg)
{
    struct reader *reader = arg;
    reader->seen = seen(reader->stand, reader->page);
    return NULL;
}

static void await_faults(struct stand *stand, uint64_t faults)
{
    for (int tries = 0; pf_count_get(&stand->counters.faults) < faults && tries < 20000; tries++)
        usleep(1000);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.faults), faults);
}

/*
 * A hole in the file raises MISSING, a page of the file that is not mapped MINOR. With one of the
 * two alone one of these readers would go on and read zeros.
 */
static void hole_and_page_both_wait(void)
{
    struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE);
    struct reader readers[2];
    land(stand, 1, 0); /* there, with nothing in it yet */
    arm(stand);
    for (size_t i = 0; i < 2; i++) {
        readers[i] = (struct reader){.stand = stand, .page = i};
        pthread_create(&readers[i].thread, NULL, read_page, &readers[i]);
    }
    await_faults(stand, 2);
    for (size_t i = 0; i < 2; i++)
        land(stand, i, 'd');
    CU_ASSERT_EQUAL(place(stand, 0, 2, true), 0);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        CU_ASSERT_EQUAL(readers[i].seen, 'd');
    }
    take_down(stand);
}

/* What has landed before the regions are emptied for the last time stays: the file isn't punched.
 */
static void emptying_keeps_what_the_alias_holds(void)
{
    struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE);
    land(stand, 3, 'd');
    *pf_region_page(stand->region, 3) = 'e'; /* mapped here as well */
    arm(stand);
    CU_ASSERT_EQUAL(stand->arrival.list[0].alias[3 * stand->page], 'e');
    CU_ASSERT_EQUAL(place(stand, 3, 1, true), 0);
    CU_ASSERT_EQUAL(seen(stand, 3), 'e');
    /* And it is one page still, not two. */
    land(stand, 3, 'f');
    CU_ASSERT_EQUAL(seen(stand, 3), 'f');
    take_down(stand);
}

static void stale_content_is_gone_before_anything_lands(void)
{
    for (unsigned how = PF_PLACE_COPY; how <= PF_PLACE_CONTINUE; how++) {
        struct stand *stand = calloc(1, sizeof *stand);
        struct pf_why why = {""};
        pf_options_init(&stand->options);
        stand->options.place = how;
        stand->page = PF_PAGE_SIZE;
        stand->session = (struct pf_session){
            .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
        stand->done_fd = eventfd(0, EFD_NONBLOCK);
        CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "region", PAGES * stand->page, 0,
                                             FERRY_SHARED, &stand->region, &why),
                              0);
        memset(stand->region->addr, 's', stand->region->bytes);
        CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->session, "inproc://in_place", true), 0);
        CU_ASSERT_EQUAL_FATAL(pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters,
                                              stand->done_fd, &why),
                              0);
        CU_ASSERT_EQUAL_FATAL(pf_landings_open(&stand->arrival, &stand->session, false), 0);
        CU_ASSERT_EQUAL_FATAL(
            pf_fault_thread_open(&stand->faults, &stand->session, &stand->arrival), 0);
        CU_ASSERT_EQUAL(stand->arrival.list[0].in_place, how == PF_PLACE_CONTINUE);
        arm(stand);
        /* Nothing was unsent: each page reads zeros. */
        for (size_t i = 0; i < PAGES; i++)
            CU_ASSERT_EQUAL(seen(stand, i), 0);
        take_down(stand);
    }
}

/* The kernel's MADV_DONTNEED on shared memory takes the mapping, not the content. */
static void zapped_pages_come_back(void)
{
    struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE);
    arm(stand);
    land(stand, 0, 'd');
    CU_ASSERT_EQUAL(place(stand, 0, 1, true), 0);
    CU_ASSERT_EQUAL(madvise(stand->region->addr, stand->region->bytes, MADV_DONTNEED), 0);
    CU_ASSERT_EQUAL(seen(stand, 0), 'd');
    /* What was missing still is, and comes. */
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), (PAGES - 1) * stand->page);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.given_back_pages), 0);
    land(stand, 1, 'd');
    CU_ASSERT_EQUAL(place(stand, 1, 1, true), 0);
    CU_ASSERT_EQUAL(seen(stand, 1), 'd');
    take_down(stand);
}

enum { ROUNDS = 1000 };

struct zapper {
    struct stand *stand;
    atomic_bool stop;
};

static void *zap(void *arg)
{
    struct zapper *zapper = arg;
    while (!atomic_load(&zapper->stop)) {
        madvise(zapper->stand->region->addr, zapper->stand->region->bytes, MADV_DONTNEED);
        sched_yield(); /* no page can be placed in the middle of it */
    }
    return NULL;
}

/* A reader sleeps, its page comes, the mapping is zapped at once: it must not sleep for ever. */
static void no_reader_is_left_behind_by_zapping(void)
{
    struct zapper zapper = {.stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_CONTINUE)};
    struct stand *stand = zapper.stand;
    pthread_t thread;
    arm(stand);
    pthread_create(&thread, NULL, zap, &zapper);
    for (int round = 0; round < ROUNDS; round++) {
        size_t page = (size_t)round % PAGES;
        struct reader reader = {.stand = stand, .page = page};
        land(stand, page, (char)(round + 1));
        pthread_create(&reader.thread, NULL, read_page, &reader);
        CU_ASSERT_EQUAL(place(stand, page, 1, true), 0);
        pthread_join(reader.thread, NULL);
        CU_ASSERT_EQUAL(reader.seen, (char)(round + 1));
        pf_arrival_expect(&stand->arrival, 0, (struct pf_run){page, 1});
    }
    atomic_store(&zapper.stop, true);
    pthread_join(thread, NULL);
    take_down(stand);
}

/* ---- when it can't be ------------------------------------------------------------------------ */

static void copy_where_it_cannot_be(void)
{
    struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_COPY);
    struct pf_device *device = stand->session.rails[0].device;
    CU_ASSERT_FALSE(stand->arrival.list[0].in_place);
    device->caps.ordered_writes = false;
    stand->options.place = PF_PLACE_AUTO;
    CU_ASSERT_EQUAL(pf_landings_open(&stand->arrival, &stand->session, false), 0);
    CU_ASSERT_FALSE(stand->arrival.list[0].in_place);
    stand->options.place = PF_PLACE_CONTINUE;
    CU_ASSERT_EQUAL(pf_landings_open(&stand->arrival, &stand->session, false), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(stand->session.why.text, "order of writes"));
    device->caps.ordered_writes = true;
    CU_ASSERT_EQUAL(pf_landings_open(&stand->arrival, &stand->session, true), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(stand->session.why.text, "watch the job's memory"));
    take_down(stand);
}

/* Registering would put a page under all of a sparse file. */
static void sparse_file_is_not_pinned(void)
{
    static const struct {
        unsigned pages;
        bool in_place;
    } cases[] = {{0, false}, {PAGES / 2, false}, {PAGES / 2 + 1, true}, {PAGES, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stand *stand = set_up(FERRY_PAGE_DEFAULT, PF_PLACE_COPY);
        stand->session.rails[0].device->caps.needs_pinning = true;
        stand->options.place = PF_PLACE_AUTO;
        stand->arrival.list[0].populated = cases[i].pages * stand->page;
        CU_ASSERT_EQUAL(pf_landings_open(&stand->arrival, &stand->session, false), 0);
        CU_ASSERT_EQUAL(stand->arrival.list[0].in_place, cases[i].in_place);
        CU_ASSERT_EQUAL(stand->arrival.list[0].filled, cases[i].in_place);
        take_down(stand);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"small_pages", small_pages},
        {"huge_pages", huge_pages},
        {"runs_over_holes_and_pages", runs_over_holes_and_pages},
        {"hole_and_page_both_wait", hole_and_page_both_wait},
        {"emptying_keeps_what_the_alias_holds", emptying_keeps_what_the_alias_holds},
        {"stale_content_is_gone_before_anything_lands",
         stale_content_is_gone_before_anything_lands},
        {"zapped_pages_come_back", zapped_pages_come_back},
        {"no_reader_is_left_behind_by_zapping", no_reader_is_left_behind_by_zapping},
        {"copy_where_it_cannot_be", copy_where_it_cannot_be},
        {"sparse_file_is_not_pinned", sparse_file_is_not_pinned},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    bool there = pf_uffd_open(&uffd, UFFD_FEATURE_MINOR_SHMEM, &why) == 0 &&
                 uffd.features & UFFD_FEATURE_MINOR_SHMEM;
    pf_uffd_close(&uffd);
    if (!there) {
        printf("skipped: no userfaultfd with minor faults for shared memory: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("in_place", tests, argc > 1 ? argv[1] : NULL);
}
