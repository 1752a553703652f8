/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench dirty`: what it costs to find the pages that were written and to watch them
 * again, for each tracker that works here, against the kernel's bare call; and what being watched
 * costs who writes. All in turns; medians.
 */
#include "bench/dirty.h"

#include "base/clock.h"
#include "bench/bench.h"
#include "bench/samples.h"
#include "core/memory/thp.h"
#include "core/track/tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS_MIN = 3,
    ROUNDS_MAX = 15,
    SHARES = 4,
    DEFAULT_MIB = 512,
};

/* Every so-many-th page is written; 0: none. */
static const size_t strides[SHARES] = {0, 100, 10, 1};

enum way { PLAIN, BARE, SCAN, SOFT_DIRTY, PROTECT, WAYS };

static const unsigned trackers[WAYS] = {
    [SCAN] = PF_TRACK_PAGEMAP_SCAN,
    [SOFT_DIRTY] = PF_TRACK_SOFT_DIRTY,
    [PROTECT] = PF_TRACK_WRITE_PROTECT,
};

struct dirty_bench {
    const struct pf_bench *bench;
    struct pf_regions regions; /* one region: each way has it in its turn */
    const struct pf_region *region;
    struct pf_pageset dirty;
    struct pf_tracker *tracker;
    struct pf_bare_scan bare;
    bool works[WAYS];
    double collect_ms[WAYS][SHARES][ROUNDS_MAX]; /* for each GiB */
    double last_ms[WAYS][ROUNDS_MAX];            /* the last look, for each GiB */
    double write_ns[WAYS][ROUNDS_MAX];           /* for each page */
    unsigned rounds;
    struct pf_why *why;
};

struct row {
    const char *key, *label;
};

#define WAY_ROWS(key, label)                                                                       \
    {                                                                                              \
        {key "_0_ms", label ", nothing written"}, {key "_1_ms", label ", 1 % written"},            \
            {key "_10_ms", label ", 10 %"}, {key "_100_ms", label ", 100 %"},                      \
    }

static const struct row collect_rows[WAYS][SHARES] = {
    [BARE] = WAY_ROWS("bare", "bare ioctl"),
    [SCAN] = WAY_ROWS("pagemap_scan", "pagemap-scan"),
    [SOFT_DIRTY] = WAY_ROWS("soft_dirty", "soft-dirty"),
    [PROTECT] = WAY_ROWS("write_protect", "write-protect"),
};

static const struct row ratio_rows[SHARES] = {
    {"ratio_0", "pagemap-scan / bare ioctl, nothing"},
    {"ratio_1", "pagemap-scan / bare ioctl, 1 %"},
    {"ratio_10", "pagemap-scan / bare ioctl, 10 %"},
    {"ratio_100", "pagemap-scan / bare ioctl, 100 %"},
};

static const struct row last_rows[WAYS] = {
    [SCAN] = {"pagemap_scan_last_ms", "the last look, 1 % written, by pagemap-scan"},
    [SOFT_DIRTY] = {"soft_dirty_last_ms", "the same, by soft-dirty"},
    [PROTECT] = {"write_protect_last_ms", "the same, by write-protect"},
};

static const struct row write_rows[WAYS] = {
    [PLAIN] = {"plain_write_ns", "first write to a page, not watched"},
    [BARE] = {"bare_write_ns", "the same, watched by the bare ioctl"},
    [SCAN] = {"pagemap_scan_write_ns", "the same, by pagemap-scan"},
    [SOFT_DIRTY] = {"soft_dirty_write_ns", "the same, by soft-dirty"},
    [PROTECT] = {"write_protect_write_ns", "the same, by write-protect"},
};

/* ---- one way --------------------------------------------------------------------------------- */

static int open_way(struct dirty_bench *run, enum way way, struct pf_why *why)
{
    struct pf_tracker_attr attr = {.regions = &run->regions, .choice = trackers[way]};
    if (way == PLAIN)
        return 0;
    return way == BARE ? pf_bare_scan_open(&run->bare, run->region, why)
                       : pf_tracker_open(&run->tracker, &attr, why);
}

static void close_way(struct dirty_bench *run, enum way way)
{
    if (way == BARE)
        pf_bare_scan_close(&run->bare, run->region);
    pf_tracker_close(run->tracker);
    run->tracker = NULL;
}

/* All of the region, as a round of pre-copy does. */
static int collect(struct dirty_bench *run, enum way way, uint64_t *ns)
{
    struct pf_run all = {0, pf_region_pages(run->region)};
    uint64_t start = pf_now_ns();
    int found = way == BARE ? pf_bare_scan(&run->bare, run->region)
                            : pf_tracker_collect(run->tracker, 0, all, &run->dirty, run->why);
    *ns = pf_now_ns() - start;
    return found < 0 ? pf_why(run->why, found, "cannot find the pages that were written: %s",
                              strerror(-found))
                     : 0;
}

static uint64_t write_pages(struct dirty_bench *run, size_t stride)
{
    uint64_t start = pf_now_ns();
    for (size_t page = 0; stride && page < pf_region_pages(run->region); page += stride)
        ++*(volatile uint64_t *)pf_region_page(run->region, page);
    return pf_now_ns() - start;
}

static int check_found(struct dirty_bench *run, size_t stride)
{
    size_t pages = pf_region_pages(run->region);
    size_t written = stride ? (pages + stride - 1) / stride : 0;
    size_t found = pf_pageset_count(&run->dirty);
    pf_pageset_remove_run(&run->dirty, (struct pf_run){0, pages});
    return found >= written
               ? 0
               : pf_why(run->why, -EIO, "%zu pages were written and %zu found", written, found);
}

static double ms_each_gib(const struct dirty_bench *run, uint64_t ns)
{
    return (double)ns / 1e6 / ((double)run->region->bytes / (1 << 30));
}

static int measure_share(struct dirty_bench *run, enum way way, unsigned share)
{
    uint64_t ns = 0;
    uint64_t write_ns = write_pages(run, strides[share]);
    int error = way == PLAIN ? 0 : collect(run, way, &ns);
    if (!error && way > BARE)
        error = check_found(run, strides[share]);
    run->collect_ms[way][share][run->rounds] = ms_each_gib(run, ns);
    if (strides[share] == 1)
        run->write_ns[way][run->rounds] = (double)write_ns / (double)pf_region_pages(run->region);
    return error;
}

/* As at the switch: nothing is watched afterwards. */
static int measure_last(struct dirty_bench *run, enum way way)
{
    enum { STRIDE = 100 };
    struct pf_pageset *dirty[] = {&run->dirty};
    pf_tracker_ready(run->tracker);
    write_pages(run, STRIDE);
    uint64_t start = pf_now_ns();
    int error = pf_tracker_collect_last(run->tracker, dirty, run->why);
    run->last_ms[way][run->rounds] = ms_each_gib(run, pf_now_ns() - start);
    return error ? error : check_found(run, STRIDE);
}

/* The first collect finds all that there is, and puts it under watch. */
static int measure_way(struct dirty_bench *run, enum way way)
{
    uint64_t ns;
    int error = open_way(run, way, run->why);
    if (!error && way != PLAIN)
        error = collect(run, way, &ns);
    if (!error)
        pf_pageset_remove_run(&run->dirty, (struct pf_run){0, pf_region_pages(run->region)});
    for (unsigned share = 0; share < SHARES && !error; share++)
        error = measure_share(run, way, share);
    if (!error && way > BARE)
        error = measure_last(run, way);
    close_way(run, way);
    return error;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void find_what_works(struct dirty_bench *run)
{
    struct pf_why why;
    for (unsigned way = 0; way < WAYS; way++) {
        run->works[way] = open_way(run, (enum way)way, &why) == 0;
        close_way(run, (enum way)way);
    }
}

static int measure(struct dirty_bench *run)
{
    uint64_t began = pf_now_ns();
    int error = 0;
    find_what_works(run);
    while (
        !error && run->rounds < ROUNDS_MAX &&
        (run->rounds < ROUNDS_MIN || (double)(pf_now_ns() - began) < run->bench->seconds * 1e9)) {
        for (unsigned way = 0; way < WAYS && !error; way++)
            if (run->works[way])
                error = measure_way(run, (enum way)way);
        run->rounds++;
    }
    return error;
}

static void add_ratios(struct dirty_bench *run, struct pf_report *report)
{
    double ratios[SHARES][ROUNDS_MAX];
    for (unsigned share = 0; share < SHARES; share++)
        for (unsigned round = 0; round < run->rounds; round++)
            ratios[share][round] =
                run->collect_ms[SCAN][share][round] / run->collect_ms[BARE][share][round];
    for (unsigned share = 0; share < SHARES; share++)
        pf_report_add(report, ratio_rows[share].key, ratio_rows[share].label, "",
                      pf_median(ratios[share], run->rounds));
}

static void fill(struct dirty_bench *run, struct pf_report *report)
{
    if (run->works[BARE] && run->works[SCAN])
        add_ratios(run, report); /* before medians put the rounds out of order */
    for (unsigned way = BARE; way < WAYS; way++)
        for (unsigned share = 0; share < SHARES && run->works[way]; share++)
            pf_report_add(report, collect_rows[way][share].key, collect_rows[way][share].label,
                          "ms/GiB", pf_median(run->collect_ms[way][share], run->rounds));
    for (unsigned way = SCAN; way < WAYS; way++)
        if (run->works[way])
            pf_report_add(report, last_rows[way].key, last_rows[way].label, "ms/GiB",
                          pf_median(run->last_ms[way], run->rounds));
    for (unsigned way = PLAIN; way < WAYS; way++)
        if (run->works[way])
            pf_report_add(report, write_rows[way].key, write_rows[way].label, "ns",
                          pf_median(run->write_ns[way], run->rounds));
    snprintf(report->note, sizeof report->note,
             "medians of %u; %zu MiB of pages of 4 KiB, all of them in use", run->rounds,
             run->region->bytes >> 20);
}

static int make_region(struct dirty_bench *run)
{
    struct pf_region *region;
    size_t bytes = run->bench->bytes ? run->bench->bytes : (size_t)DEFAULT_MIB << 20;
    int error =
        pf_regions_map(&run->regions, "bench", bytes, 0, run->bench->flags, &region, run->why);
    if (error)
        return error;
    run->region = region;
    pf_thp_off(region); /* as trackers leave it: pages of 4 KiB in every way */
    memset(region->addr, 1, region->bytes);
    return pf_pageset_init(&run->dirty, pf_region_pages(region))
               ? pf_why(run->why, -ENOMEM, "no memory for a page set")
               : 0;
}

int pf_bench_dirty(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct dirty_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->why = why;
    run->bare = (struct pf_bare_scan){.uffd = {.fd = -1}, .pagemap_fd = -1};
    int error = make_region(run);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_pageset_free(&run->dirty);
    pf_regions_unmap(&run->regions);
    free(run);
    return error;
}
