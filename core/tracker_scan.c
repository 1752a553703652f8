/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PAGEMAP_SCAN with asynchronous write-protection: the kernel itself lifts the protection at a
 * write, and the ioctl finds the pages without it and protects them in one step.
 */
#include "core/tracker_ops.h"

/* Not the shared zero page: it takes a write to make another page of it. */
static int find_written(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                        uint64_t flags, struct pf_pageset *written)
{
    const struct pf_scan_query query = {
        .flags = flags,
        .inverted = PF_SCAN_PFNZERO,
        .all = PF_SCAN_WRITTEN | PF_SCAN_PFNZERO,
        .any = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &query, written);
}

/*
 * Asked for nothing else, the kernel takes half the time. But to it a hole is not watched either,
 * so this is for memory that has none: there it has lost its mapping, and is as good as dirty.
 */
static int find_in_full(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                        uint64_t flags, struct pf_pageset *written)
{
    const struct pf_scan_query query = {.flags = flags, .all = PF_SCAN_WRITTEN};
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &query, written);
}

static int look(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *found)
{
    return (full ? find_in_full : find_written)(tracker, region, run, PF_SCAN_CHECK, found);
}

static int take(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *dirty)
{
    enum { PMD_SHIFT = 21 };
    const uint64_t flags = PF_SCAN_CHECK | PF_SCAN_PROTECT;
    /* When it is to protect, the ioctl passes over pages of 1 GiB in kernels before mid-2026. */
    if (tracker->list[region].region->page_shift > PMD_SHIFT)
        return pf_tracker_take_by(tracker, region, run, full, dirty);
    return (full ? find_in_full : find_written)(tracker, region, run, flags, dirty);
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

static int unmapped(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                    struct pf_pageset *found)
{
    static const struct pf_scan_query query = {
        .flags = PF_SCAN_CHECK,
        .inverted = PF_SCAN_PRESENT,
        .all = PF_SCAN_PRESENT,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &query, found);
}

/* Asked for this way round since the kernel takes its time for each page that is found. */
static int miss(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *found)
{
    static const struct pf_scan_query written = {.flags = PF_SCAN_CHECK, .all = PF_SCAN_WRITTEN};
    const struct pf_region *of = tracker->list[region].region;
    int error = pf_pagemap_scan(tracker->pagemap_fd, of, run, &nothing, found);
    return error ? error : pf_pagemap_scan(tracker->pagemap_fd, of, run, &written, found);
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
    .finds_gone = true,
    .features = PF_UFFD_WP_ASYNC,
    .begin = begin,
    .look = look,
    .take = take,
    .empty = empty,
    .unmapped = unmapped,
    .miss = miss,
    .watch = pf_tracker_protect,
};
