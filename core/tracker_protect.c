/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Synchronous write-protection by userfaultfd, for kernels before 6.7: who writes to a protected
 * page waits until the tracker's thread has lifted the protection (core/tracker_events.c).
 */
#include "core/tracker_ops.h"

static bool entry_unprotected(uint64_t entry)
{
    return entry & (PF_ENTRY_PRESENT | PF_ENTRY_SWAPPED) && !(entry & PF_ENTRY_PROTECTED);
}

static bool entry_empty(uint64_t entry)
{
    return !(entry & (PF_ENTRY_PRESENT | PF_ENTRY_SWAPPED));
}

static bool entry_unwatched(uint64_t entry)
{
    return entry_empty(entry) || !(entry & PF_ENTRY_PROTECTED);
}

static bool entry_not_mapped_or_unwatched(uint64_t entry)
{
    return !(entry & PF_ENTRY_PRESENT) || !(entry & PF_ENTRY_PROTECTED);
}

static int look_for_unprotected(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                                struct pf_pageset *found)
{
    return pf_pagemap_read(tracker->pagemap_fd, tracker->list[region].region, run,
                           entry_unprotected, found);
}

static int take(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *dirty)
{
    return pf_tracker_take_by(tracker, region, run, dirty, look_for_unprotected);
}

static int empty(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                 struct pf_pageset *found)
{
    return pf_pagemap_read(tracker->pagemap_fd, tracker->list[region].region, run, entry_empty,
                           found);
}

static int miss(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool mapped,
                struct pf_pageset *unwatched)
{
    return pf_pagemap_read(tracker->pagemap_fd, tracker->list[region].region, run,
                           mapped ? entry_not_mapped_or_unwatched : entry_unwatched, unwatched);
}

static int begin(struct pf_tracker *tracker, struct pf_why *why)
{
    (void)tracker;
    (void)why;
    return 0;
}

const struct pf_tracker_ops pf_tracker_write_protect = {
    .name = "write-protect",
    .takes = "Linux 5.19",
    .begin = begin,
    .take = take,
    .empty = empty,
    .miss = miss,
    .watch = pf_tracker_protect,
};
