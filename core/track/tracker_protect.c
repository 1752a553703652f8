/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Synchronous write-protection by userfaultfd: who writes to a protected page waits until the
 * tracker's thread has noted it and lifted the protection (core/track/tracker_events.c). For
 * kernels before 6.7, and for who wants the last look to be short.
 */
#include "core/track/tracker_ops.h"

/* A GiB takes a millisecond by PAGEMAP_SCAN, many by entries; meanwhile writers wait. */
static int look(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *found)
{
    return (tracker->scans ? pf_tracker_look_by_scan
                           : pf_tracker_look_at_entries)(tracker, region, run, full, found);
}

static int empty(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                 struct pf_pageset *found)
{
    return (tracker->scans ? pf_tracker_empty_by_scan : pf_tracker_empty_entries)(tracker, region,
                                                                                  run, found);
}

static int unmapped(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                    struct pf_pageset *found)
{
    return (tracker->scans ? pf_tracker_unmapped_by_scan
                           : pf_tracker_unmapped_entries)(tracker, region, run, found);
}

static int miss(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *found)
{
    return (tracker->scans ? pf_tracker_miss_by_scan : pf_tracker_miss_entries)(tracker, region,
                                                                                run, found);
}

static int begin(struct pf_tracker *tracker, struct pf_why *why)
{
    (void)why;
    tracker->scans = pf_tracker_can_scan(tracker);
    return 0;
}

const struct pf_tracker_ops pf_tracker_write_protect = {
    .name = "write-protect",
    .takes = "Linux 5.19",
    .events = true,
    .mark = {.bit = PF_ENTRY_PROTECTED, .set = true},
    .begin = begin,
    .look = look,
    .take = pf_tracker_take_by,
    .empty = empty,
    .unmapped = unmapped,
    .miss = miss,
    .watch = pf_tracker_protect,
};
