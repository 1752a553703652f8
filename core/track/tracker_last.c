/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last look, part of the downtime: nothing is watched any more, several threads share it, and
 * where writes are told by events, only what was written is looked at.
 */
#include "core/track/tracker_ops.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Half a GiB for each helper: for less it is not worth waking one. */
enum { HELPER_SHIFT = 29 };

/* ---- getting ready --------------------------------------------------------------------------- */

static size_t tracked_bytes(const struct pf_tracker *tracker)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < tracker->count; i++)
        if (tracker->list[i].registered)
            bytes += tracker->list[i].region->bytes;
    return bytes;
}

/* One core is for the caller. */
static size_t other_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 0 : (size_t)CPU_COUNT(&set) - 1;
}

void pf_tracker_ready(struct pf_tracker *tracker)
{
    size_t useful = tracked_bytes(tracker) >> HELPER_SHIFT;
    size_t cores = other_cores();
    size_t wanted = useful < cores ? useful : cores;
    if (wanted > 0 && !tracker->team.made)
        pf_team_open(&tracker->team, (unsigned)wanted);
}

/* ---- pages that are merged ------------------------------------------------------------------- */

bool pf_tracker_merging(void)
{
    char line[64];
    unsigned long items = 1;
    FILE *file = fopen("/proc/self/ksm_stat", "re");
    if (!file)
        return access("/sys/kernel/mm/ksm", F_OK) == 0; /* before Linux 6.1 it doesn't say */
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "ksm_rmap_items %lu", &items) == 1)
            break;
    fclose(file);
    return items > 0;
}

/* ---- looking --------------------------------------------------------------------------------- */

struct last_look {
    struct pf_tracker *tracker;
    struct pf_pageset *const *dirty;
    pthread_mutex_t lock; /* for the following */
    int error;
    unsigned region; /* where it was */
};

/* All was watched when it was collected: what was written since has been told. */
static bool is_told(const struct pf_tracker *tracker, const struct pf_tracked *tracked)
{
    return tracker->ops->events && !tracker->merging && !pf_region_shared(tracked->region);
}

static int look_at_run(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                       struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    int error = 0;
    if (full && is_told(tracker, tracked))
        pf_pageset_move(&tracked->written, run, dirty);
    else
        error = tracker->ops->look(tracker, region, run, full, dirty);
    return error ? error : pf_tracker_settle(tracker, region, run, dirty);
}

static int look_at(struct pf_tracker *tracker, unsigned region, struct pf_run range,
                   struct pf_pageset *dirty)
{
    int error = 0;
    while (range.pages > 0 && !error) {
        bool full;
        struct pf_run run = pf_tracker_alike(&tracker->list[region], range, &full);
        error = look_at_run(tracker, region, run, full, dirty);
        range = (struct pf_run){run.first + run.pages, range.pages - run.pages};
    }
    return error;
}

/* ---- sharing it ------------------------------------------------------------------------------ */

static size_t pages_each(const struct pf_region *region)
{
    return pf_region_chunk_pages(region) * PF_TRACKER_CHUNKS;
}

static size_t items_of(const struct last_look *last, unsigned region)
{
    const struct pf_tracked *tracked = &last->tracker->list[region];
    size_t each = pages_each(tracked->region);
    if (!tracked->registered || !last->dirty[region])
        return 0;
    return (pf_region_pages(tracked->region) + each - 1) / each;
}

static void look_at_item(void *ctx, size_t item)
{
    struct last_look *last = ctx;
    unsigned region = 0;
    for (; item >= items_of(last, region); region++)
        item -= items_of(last, region);
    const struct pf_region *of = last->tracker->list[region].region;
    size_t first = item * pages_each(of);
    size_t left = pf_region_pages(of) - first;
    struct pf_run range = {first, left < pages_each(of) ? left : pages_each(of)};
    int error = look_at(last->tracker, region, range, last->dirty[region]);
    if (!error)
        return;
    pthread_mutex_lock(&last->lock);
    last->error = error;
    last->region = region;
    pthread_mutex_unlock(&last->lock);
}

int pf_tracker_collect_last(struct pf_tracker *tracker, struct pf_pageset *const *dirty,
                            struct pf_why *why)
{
    struct last_look last = {.tracker = tracker, .dirty = dirty, .lock = PTHREAD_MUTEX_INITIALIZER};
    size_t items = 0;
    for (unsigned i = 0; i < tracker->count; i++)
        items += items_of(&last, i);
    pthread_mutex_lock(&tracker->lock);
    pf_tracker_serve(tracker); /* what the job gave back is known */
    for (unsigned i = 0; i < tracker->count; i++)
        pf_tracker_look_at_file(&tracker->list[i]);
    if (tracker->ops->events)
        tracker->merging = tracker->merging || pf_tracker_merging();
    tracker->last = true;
    if (!tracker->failure)
        pf_team_run(&tracker->team, items, look_at_item, &last);
    tracker->last = false;
    int error = pf_tracker_blame(tracker, last.region, last.error, why);
    pthread_mutex_unlock(&tracker->lock);
    return error;
}
