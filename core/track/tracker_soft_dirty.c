/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst). They are cleared for the whole
 * process at once, and not in one step with reading them: so the job stands still, and before
 * clearing what the other regions have is kept for their turn. The kernel leaves the bits of pinned
 * private pages as they are: these are dirty each time.
 */
#include "core/memory/backing.h"
#include "core/memory/populated.h"
#include "core/track/tracker_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/*
 * A transparent huge page has one bit. The kernel splits it when told to lift a protection from a
 * part of it, whether or not there is any.
 */
static int split_huge_pages(struct pf_tracker *tracker, struct pf_tracked *tracked)
{
    const size_t huge = (size_t)1 << 21;
    uintptr_t start = (uintptr_t)tracked->region->addr;
    uintptr_t end = start + tracked->region->bytes;
    int error = 0;
    for (uintptr_t at = (start + huge - 1) & ~(huge - 1); at + huge <= end && !error; at += huge)
        do
            error = pf_uffd_protect(&tracker->uffd, (void *)at, PF_PAGE_SIZE, false);
        while (error == -EAGAIN);
    return error;
}

static int begin_region(struct pf_tracker *tracker, struct pf_tracked *tracked, struct pf_why *why)
{
    const struct pf_region *region = tracked->region;
    if (pf_region_huge(region))
        return pf_why(why, -ENOTSUP,
                      "region \"%s\" has pages of %s, and the kernel has no soft-dirty bits for "
                      "these: choose another tracker",
                      region->name, pf_page_size_name(region->page_shift));
    int error = tracked->thp ? split_huge_pages(tracker, tracked) : 0;
    if (error)
        return pf_why(why, error, "the huge pages of region \"%s\" can't be split: %s",
                      region->name, strerror(-error));
    /* The bits may have been cleared before this began. */
    return pf_populated_scan(region, &tracked->due, why);
}

static int begin(struct pf_tracker *tracker, struct pf_why *why)
{
    int error = 0;
    tracker->clear_fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (tracker->clear_fd < 0)
        return pf_why(why, -errno, "cannot open /proc/self/clear_refs: %s", strerror(errno));
    for (unsigned i = 0; i < tracker->count && !error; i++)
        if (tracker->list[i].registered)
            error = begin_region(tracker, &tracker->list[i], why);
    return error;
}

static int take(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *dirty)
{
    size_t before = pf_pageset_count(&tracker->list[region].due);
    int error = pf_tracker_look_at_entries(tracker, region, run, full, &tracker->list[region].due);
    if (error || pf_pageset_count(&tracker->list[region].due) == before)
        return error;
    for (unsigned i = 0; i < tracker->count && !error; i++) {
        struct pf_tracked *tracked = &tracker->list[i];
        struct pf_run all = {0, pf_region_pages(tracked->region)};
        if (tracked->registered)
            error = pf_tracker_look_at_entries(tracker, i, all, false, &tracked->due);
    }
    if (!error && write(tracker->clear_fd, "4", 1) != 1)
        error = -errno;
    pf_pageset_move(&tracker->list[region].due, run, dirty);
    return error;
}

/* Once it is mapped it's watched, and who sends it maps it. */
static int watch(struct pf_tracker *tracker, unsigned region, struct pf_run run)
{
    (void)tracker;
    (void)region;
    (void)run;
    return 0;
}

const struct pf_tracker_ops pf_tracker_soft_dirty = {
    .name = "soft-dirty",
    .takes = "CONFIG_MEM_SOFT_DIRTY",
    .needs_pause = true,
    .mark = {.bit = PF_ENTRY_SOFT_DIRTY, .set = false},
    .begin = begin,
    .look = pf_tracker_look_at_entries,
    .take = take,
    .empty = pf_tracker_empty_entries,
    .unmapped = pf_tracker_unmapped_entries,
    .miss = pf_tracker_miss_entries,
    .watch = watch,
};
