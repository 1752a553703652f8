/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PAGEMAP_SCAN with asynchronous write-protection: the kernel itself lifts the protection at a
 * write, and the ioctl finds the pages without it and protects them in one step. Its ways of
 * looking serve synchronous write-protection, too.
 */
#include "core/track/tracker_ops.h"

#include <sys/ioctl.h>

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

int pf_tracker_look_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            bool full, struct pf_pageset *found)
{
    return (full ? find_in_full : find_written)(tracker, region, run, 0, found);
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
    .inverted = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
    .all = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
};

/* The shared zero page isn't taken, so it's none. */
int pf_tracker_empty_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                             struct pf_pageset *found)
{
    static const struct pf_scan_query zero = {.all = PF_SCAN_PFNZERO};
    const struct pf_region *of = tracker->list[region].region;
    int error = pf_pagemap_scan(tracker->pagemap_fd, of, run, &nothing, found);
    return error ? error : pf_pagemap_scan(tracker->pagemap_fd, of, run, &zero, found);
}

int pf_tracker_unmapped_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                                struct pf_pageset *found)
{
    static const struct pf_scan_query query = {
        .inverted = PF_SCAN_PRESENT,
        .all = PF_SCAN_PRESENT,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &query, found);
}

/* Asked for this way round since the kernel takes its time for each page that is found. */
int pf_tracker_miss_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found)
{
    static const struct pf_scan_query written = {.all = PF_SCAN_WRITTEN};
    const struct pf_region *of = tracker->list[region].region;
    int error = pf_pagemap_scan(tracker->pagemap_fd, of, run, &nothing, found);
    return error ? error : pf_pagemap_scan(tracker->pagemap_fd, of, run, &written, found);
}

/* Over nothing. */
bool pf_tracker_can_scan(const struct pf_tracker *tracker)
{
    struct pf_scan_request request = {
        .size = sizeof request,
        .category_mask = PF_SCAN_WRITTEN,
        .return_mask = PF_SCAN_WRITTEN,
    };
    return ioctl(tracker->pagemap_fd, PF_SCAN_IOCTL, &request) == 0;
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
    .look = pf_tracker_look_by_scan,
    .take = take,
    .empty = pf_tracker_empty_by_scan,
    .unmapped = pf_tracker_unmapped_by_scan,
    .miss = pf_tracker_miss_by_scan,
    .watch = pf_tracker_protect,
};
