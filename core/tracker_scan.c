/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PAGEMAP_SCAN with asynchronous write-protection: the kernel itself lifts the protection at a
 * write, and the ioctl finds the pages without it and protects them in one step.
 */
#include "core/tracker_ops.h"

#include <errno.h>

/* Not the shared zero page: it takes a write to make another page of it. */
static int find_written(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                        uint64_t flags, struct pf_pageset *found)
{
    const struct pf_scan_query written = {
        .flags = flags,
        .inverted = PF_SCAN_PFNZERO,
        .all = PF_SCAN_WRITTEN | PF_SCAN_PFNZERO,
        .any = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &written, found);
}

static int look_for_written(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found)
{
    return find_written(tracker, region, run, PF_SCAN_CHECK, found);
}

static int take(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *dirty)
{
    enum { PMD_SHIFT = 21 };
    /* The ioctl passes over huge pages that are larger than 2 MiB when it is to protect them. */
    if (tracker->list[region].region->page_shift > PMD_SHIFT)
        return pf_tracker_take_by(tracker, region, run, dirty, look_for_written);
    return find_written(tracker, region, run, PF_SCAN_CHECK | PF_SCAN_PROTECT, dirty);
}

static int look(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool mapped,
                struct pf_pageset *watched)
{
    const struct pf_scan_query protected = {
        .flags = PF_SCAN_CHECK,
        .inverted = PF_SCAN_WRITTEN,
        .all = PF_SCAN_WRITTEN,
        .any = PF_SCAN_PRESENT | (mapped ? 0 : PF_SCAN_SWAPPED),
    };
    return pf_pagemap_scan(tracker->pagemap_fd, tracker->list[region].region, run, &protected,
                           watched);
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
    .look = look,
    .watch = pf_tracker_protect,
};
