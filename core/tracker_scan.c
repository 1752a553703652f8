/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PAGEMAP_SCAN with asynchronous write-protection: the kernel itself lifts the protection at a
 * write, and the ioctl finds the pages without it and protects them in one step.
 */
#include "core/tracker_ops.h"

#include <errno.h>

/* Not the shared zero page: it takes a write to make another page of it. */
static int find_written(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                        uint64_t flags, struct pf_pageset *written, size_t *found)
{
    const struct pf_scan_query query = {
        .flags = flags,
        .inverted = PF_SCAN_PFNZERO,
        .all = PF_SCAN_WRITTEN | PF_SCAN_PFNZERO,
        .any = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
        .found = found,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &query, written);
}

/* The chunk that a run is all of; false if it is of none. */
static bool is_chunk(const struct pf_tracked *tracked, struct pf_run run, size_t *chunk)
{
    *chunk = run.first / pf_region_chunk_pages(tracked->region);
    struct pf_run whole = pf_region_chunk(tracked->region, *chunk);
    return whole.first == run.first && whole.pages == run.pages;
}

/* Private memory gets no hole unless the job gives some back. */
static bool may_be_full(struct pf_tracked *tracked, struct pf_run run)
{
    return !pf_region_shared(tracked->region) && !pf_region_huge(tracked->region) &&
           pf_pageset_next_within(&tracked->given_back, run, 1).pages == 0;
}

/*
 * Asked for nothing else, the kernel takes half the time. But to it a hole is not watched either,
 * so this is for memory that has none.
 */
static int take_full(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                     struct pf_pageset *dirty)
{
    static const struct pf_scan_query written = {
        .flags = PF_SCAN_CHECK | PF_SCAN_PROTECT,
        .all = PF_SCAN_WRITTEN,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &written, dirty);
}

static int look_for_written(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found)
{
    return find_written(tracker, region, run, PF_SCAN_CHECK, found, NULL);
}

static int take(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *dirty)
{
    enum { PMD_SHIFT = 21 };
    struct pf_tracked *tracked = &tracker->list[region];
    size_t chunk;
    size_t found = 0;
    /* When it is to protect, the ioctl passes over pages of 1 GiB in kernels before mid-2026. */
    if (tracked->region->page_shift > PMD_SHIFT)
        return pf_tracker_take_by(tracker, region, run, dirty, look_for_written);
    bool whole = is_chunk(tracked, run, &chunk) && may_be_full(tracked, run);
    if (whole && pf_pageset_has(&tracked->full, chunk))
        return take_full(tracker, region, run, dirty);
    int error = find_written(tracker, region, run, PF_SCAN_CHECK | PF_SCAN_PROTECT, dirty, &found);
    if (!error && whole && found == run.pages)
        pf_pageset_add(&tracked->full, chunk);
    return error;
}

static const struct pf_scan_query nothing = {
    .flags = PF_SCAN_CHECK,
    .inverted = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
    .all = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
};

/* The shared zero page isn't taken, so it's none. */
static int empty(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                 struct pf_pageset *found)
{
    static const struct pf_scan_query zero = {.flags = PF_SCAN_CHECK, .all = PF_SCAN_PFNZERO};
    const struct pf_region *of = tracker->list[region].region;
    int error = pf_pagemap_scan(tracker->pagemap_fd, of, run, &nothing, found);
    return error ? error : pf_pagemap_scan(tracker->pagemap_fd, of, run, &zero, found);
}

/* Asked for this way round since the kernel takes its time for each page that is found. */
static int miss(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool mapped,
                struct pf_pageset *unwatched)
{
    static const struct pf_scan_query not_mapped_or_written = {
        .flags = PF_SCAN_CHECK,
        .inverted = PF_SCAN_PRESENT,
        .any = PF_SCAN_PRESENT | PF_SCAN_WRITTEN,
    };
    static const struct pf_scan_query written = {.flags = PF_SCAN_CHECK, .all = PF_SCAN_WRITTEN};
    const struct pf_region *of = tracker->list[region].region;
    int fd = tracker->pagemap_fd;
    if (mapped)
        return pf_pagemap_scan(fd, of, run, &not_mapped_or_written, unwatched);
    int error = pf_pagemap_scan(fd, of, run, &nothing, unwatched);
    return error ? error : pf_pagemap_scan(fd, of, run, &written, unwatched);
}

static int begin(struct pf_tracker *tracker, struct pf_why *why)
{
    (void)tracker;
    (void)why;
    return 0;
}

const struct pf_tracker_ops pf_tracker_pagemap_scan = {
    .name = "pagemap-scan",
    .takes = "Linux 6.7",
    .features = PF_UFFD_WP_ASYNC,
    .begin = begin,
    .take = take,
    .empty = empty,
    .miss = miss,
    .watch = pf_tracker_protect,
};
