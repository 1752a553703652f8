/* SPDX-License-Identifier: BSD-2-Clause */
/* What back ends share that know of pages by the entries of /proc/self/pagemap. */
#include "core/track/tracker_ops.h"

static bool has_content(uint64_t entry)
{
    return entry & (PF_ENTRY_PRESENT | PF_ENTRY_SWAPPED);
}

static bool is_watched(uint64_t entry, const struct pf_entry_mark *mark)
{
    return ((entry & mark->bit) != 0) == mark->set;
}

static bool entry_written(uint64_t entry, const struct pf_entry_mark *mark)
{
    return has_content(entry) && !is_watched(entry, mark);
}

static bool entry_empty(uint64_t entry, const struct pf_entry_mark *mark)
{
    (void)mark;
    return !has_content(entry);
}

static bool entry_unwatched(uint64_t entry, const struct pf_entry_mark *mark)
{
    return !has_content(entry) || !is_watched(entry, mark);
}

static bool entry_unmapped(uint64_t entry, const struct pf_entry_mark *mark)
{
    (void)mark;
    return !(entry & PF_ENTRY_PRESENT);
}

static int read_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                        bool (*wanted)(uint64_t entry, const struct pf_entry_mark *mark),
                        struct pf_pageset *found)
{
    return pf_pagemap_read(tracker->pagemap_fd, tracker->list[region].region, run, wanted,
                           &tracker->ops->mark, found);
}

int pf_tracker_look_at_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                               bool full, struct pf_pageset *found)
{
    (void)full;
    return read_entries(tracker, region, run, entry_written, found);
}

int pf_tracker_empty_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                             struct pf_pageset *found)
{
    return read_entries(tracker, region, run, entry_empty, found);
}

int pf_tracker_unmapped_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                                struct pf_pageset *found)
{
    return read_entries(tracker, region, run, entry_unmapped, found);
}

int pf_tracker_miss_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found)
{
    return read_entries(tracker, region, run, entry_unwatched, found);
}
