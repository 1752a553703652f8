/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench place`: the placement of one page by itself, by copy and by mapping what lies in
 * the file already (UFFDIO_CONTINUE), through the engine's own pf_arrival_place(). No network and
 * nobody who waits for the page.
 */
#include "bench/bench.h"
#include "bench/samples.h"
#include "bench/touch.h"
#include "core/arrival/arrival.h"
#include "core/memory/backing.h"
#include "core/memory/locked.h"
#include "numa/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 7, SLOTS = 16 };

/* A way to place, and how many pages a round places. */
static const struct way {
    const char *key, *label;
    size_t page_size, pages;
    unsigned flags;
    bool in_place;
} ways[] = {
    {"copy_4k_us", "4 KiB, memfd: copy", FERRY_PAGE_DEFAULT, 4096, FERRY_SHARED, false},
    {"continue_4k_us", "4 KiB, memfd: continue", FERRY_PAGE_DEFAULT, 4096, FERRY_SHARED, true},
    {"copy_anonymous_4k_us", "4 KiB, anonymous: copy", FERRY_PAGE_DEFAULT, 4096, FERRY_ANON, false},
    {"copy_2m_us", "2 MiB, hugetlb memfd: copy", FERRY_PAGE_2M, 16, FERRY_SHARED, false},
    {"continue_2m_us", "2 MiB, hugetlb memfd: continue", FERRY_PAGE_2M, 16, FERRY_SHARED, true},
};

enum { COPY_4K, CONTINUE_4K, COPY_ANONYMOUS, COPY_2M, CONTINUE_2M, WAYS };

struct place_bench {
    struct pf_samples samples[WAYS];
    char *slots; /* what is copied: warm, as a page that has just arrived */
    struct pf_regions regions;
    struct pf_arrival arrival;
    struct pf_counters counters;
    int done_fd;
    struct pf_why *why;
};

/* What a transport would have done: the pages are in the file, written through another mapping. */
static int write_file(struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    char *alias = pf_backing_map_again(region);
    if (!alias)
        return pf_why(why, -errno, "cannot map a memfd a second time: %s", strerror(errno));
    memset(alias, 1, region->bytes);
    munmap(alias, region->bytes);
    arriving->in_place = true;
    return 0;
}

static int open_way(struct place_bench *run, const struct way *way)
{
    struct pf_region *region;
    size_t page_size = way->page_size == FERRY_PAGE_DEFAULT ? PF_PAGE_SIZE : way->page_size;
    int error = pf_regions_map(&run->regions, "bench", way->pages * page_size, way->page_size,
                               way->flags, &region, run->why);
    if (!error)
        error =
            pf_arrival_open(&run->arrival, &run->regions, &run->counters, run->done_fd, run->why);
    if (!error)
        pf_arrival_expect(&run->arrival, 0, (struct pf_run){0, way->pages});
    if (!error && way->in_place)
        error = write_file(&run->arrival.list[0], run->why);
    return error ? error : pf_arrival_arm(&run->arrival, run->why);
}

static void close_way(struct place_bench *run)
{
    pf_arrival_close(&run->arrival);
    pf_regions_unmap(&run->regions);
}

static int place_all(struct place_bench *run, const struct way *way, struct pf_samples *samples)
{
    size_t page_size = pf_region_page_size(run->arrival.list[0].region);
    size_t *order = pf_touch_order(way->pages, pf_now_ns());
    int error = 0;
    if (!order)
        return pf_why(run->why, -ENOMEM, "no memory for the order of pages");
    for (size_t i = 0; i < way->pages && !error; i++) {
        size_t slot = page_size > PF_PAGE_SIZE ? 0 : i % SLOTS;
        struct pf_placing placing = {.run = {order[i], 1}, .from = run->slots + slot * page_size};
        uint64_t start = pf_now_ns();
        error = pf_arrival_place(&run->arrival, &placing);
        pf_samples_add(samples, pf_now_ns() - start);
    }
    free(order);
    return error ? pf_why(run->why, error, "a page could not be placed: %s", strerror(-error)) : 0;
}

static int measure_way(struct place_bench *run, unsigned index)
{
    const struct way *way = &ways[index];
    int error = open_way(run, way);
    if (!error)
        error = place_all(run, way, &run->samples[index]);
    close_way(run);
    return error;
}

/* Without huge pages the machine is measured without them. */
static int measure(struct place_bench *run, bool *huge)
{
    *huge = true;
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < WAYS; i++) {
            bool is_huge = ways[i].page_size == FERRY_PAGE_2M;
            if (is_huge && !*huge)
                continue;
            int error = measure_way(run, i);
            if (is_huge && (error == -ENOMEM || error == -ENOTSUP))
                *huge = false;
            else if (error)
                return error;
        }
    return 0;
}

static void add_pair(struct place_bench *run, unsigned copy, unsigned in_place, const char *key,
                     const char *label, struct pf_report *report)
{
    double us[WAYS];
    for (unsigned i = copy; i <= in_place; i++) {
        us[i] = pf_samples_us(&run->samples[i], 0.5);
        pf_report_add(report, ways[i].key, ways[i].label, "us", us[i]);
    }
    pf_report_add(report, key, label, "", us[copy] / us[in_place]);
}

static void fill(struct place_bench *run, bool huge, struct pf_report *report)
{
    add_pair(run, COPY_4K, CONTINUE_4K, "ratio_4k", "4 KiB: copy / continue", report);
    pf_report_add(report, ways[COPY_ANONYMOUS].key, ways[COPY_ANONYMOUS].label, "us",
                  pf_samples_us(&run->samples[COPY_ANONYMOUS], 0.5));
    if (huge)
        add_pair(run, COPY_2M, CONTINUE_2M, "ratio_2m", "2 MiB: copy / continue", report);
    snprintf(report->note, sizeof report->note,
             "medians of %zu pages of 4 KiB and %zu of 2 MiB%s; copied from a warm slot",
             run->samples[COPY_4K].count, run->samples[COPY_2M].count,
             huge ? "" : " (too few are free: vm.nr_hugepages)");
}

static int make_room(struct place_bench *run)
{
    run->arrival.uffd.fd = -1;
    run->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    run->slots = pf_map_locked(FERRY_PAGE_2M, PF_NODE_UNKNOWN);
    if (!run->slots || run->done_fd < 0)
        return pf_why(run->why, -ENOMEM, "no memory for a page of 2 MiB to copy from");
    memset(run->slots, 1, FERRY_PAGE_2M);
    for (unsigned i = 0; i < WAYS; i++)
        if (pf_samples_init(&run->samples[i], ROUNDS * ways[i].pages))
            return pf_why(run->why, -ENOMEM, "no memory for samples");
    return 0;
}

int pf_bench_place(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    bool huge;
    struct place_bench *run = calloc(1, sizeof *run);
    (void)bench;
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->why = why;
    run->done_fd = -1;
    int error = make_room(run);
    if (!error)
        error = measure(run, &huge);
    if (!error)
        fill(run, huge, report);
    for (unsigned i = 0; i < WAYS; i++)
        pf_samples_free(&run->samples[i]);
    if (run->slots)
        munmap(run->slots, FERRY_PAGE_2M);
    if (run->done_fd >= 0)
        close(run->done_fd);
    free(run);
    return error;
}
