/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Synchronous write-protection by userfaultfd: who writes to a protected page waits until the
 * tracker's thread has noted it and lifted the protection (core/tracker_events.c). For kernels
 * before 6.7, and for who wants the last look to be short.
 */
#include "core/tracker_ops.h"

static int begin(struct pf_tracker *tracker, struct pf_why *why)
{
    (void)tracker;
    (void)why;
    return 0;
}

const struct pf_tracker_ops pf_tracker_write_protect = {
    .name = "write-protect",
    .takes = "Linux 5.19",
    .events = true,
    .mark = {.bit = PF_ENTRY_PROTECTED, .set = true},
    .begin = begin,
    .look = pf_tracker_look_at_entries,
    .take = pf_tracker_take_by,
    .empty = pf_tracker_empty_entries,
    .unmapped = pf_tracker_unmapped_entries,
    .miss = pf_tracker_miss_entries,
    .watch = pf_tracker_protect,
};
