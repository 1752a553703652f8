/* SPDX-License-Identifier: BSD-2-Clause */
/* Collecting: what all trackers do around taking what their page tables say. */
#include "core/populated.h"
#include "core/tracker_ops.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int pf_tracker_protect(struct pf_tracker *tracker, unsigned region, struct pf_run run)
{
    const struct timespec turn = {.tv_nsec = 20000};
    const struct pf_region *to = tracker->list[region].region;
    int error;
    while ((error = pf_uffd_protect(&tracker->uffd, pf_region_page(to, run.first),
                                    run.pages << to->page_shift, true)) == -EAGAIN) {
        /* A thread of the job waits for its event to be read, and then for a core to go on. */
        pf_tracker_serve(tracker);
        nanosleep(&turn, NULL);
    }
    return error;
}

/* What of a range is left from a page on. */
static struct pf_run run_from(size_t page, struct pf_run range)
{
    return (struct pf_run){page, range.first + range.pages - page};
}

/* The kernel remembers the protection of a page that is gone. */
static bool keeps_protection(const struct pf_tracked *tracked)
{
    return pf_region_shared(tracked->region) || pf_region_huge(tracked->region);
}

int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty,
                       int (*look_for)(struct pf_tracker *tracker, unsigned region,
                                       struct pf_run run, struct pf_pageset *found))
{
    struct pf_pageset *found = &tracker->list[region].watched;
    int error = look_for(tracker, region, run, found);
    struct pf_run next;
    for (; (next = pf_pageset_next_within(found, run, SIZE_MAX)).pages;
         run = run_from(next.first + next.pages, run)) {
        pf_pageset_remove_run(found, next);
        pf_pageset_add_run(dirty, next);
        error = error ? error : pf_tracker_protect(tracker, region, next);
    }
    return error;
}

void pf_tracker_move(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to)
{
    struct pf_run next;
    while ((next = pf_pageset_next_within(from, range, SIZE_MAX)).pages) {
        pf_pageset_remove_run(from, next);
        pf_pageset_add_run(to, next);
        range = run_from(next.first + next.pages, range);
    }
}

/* Data that isn't mapped: swapped out as it was watched, or nobody watched it, and it's as good as
 * dirty. */
static int settle_data(struct pf_tracker *tracker, unsigned region, struct pf_run data,
                       struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    int error = tracker->ops->look(tracker, region, data, false, &tracked->watched);
    pf_pageset_add_run(&tracked->had, data);
    while (!error && data.pages) {
        struct pf_run watched = pf_pageset_next_within(&tracked->watched, data, SIZE_MAX);
        struct pf_run unseen = {data.first, watched.first - data.first};
        pf_pageset_add_run(dirty, unseen);
        error = unseen.pages ? tracker->ops->watch(tracker, region, unseen) : 0;
        data = run_from(watched.first + watched.pages, data);
    }
    return error;
}

/* Pages that are not mapped: in the file they may be, else what they had is gone. */
static int settle_gap(struct pf_tracker *tracker, unsigned region, struct pf_run gap,
                      struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    int error = 0;
    while (!error && gap.pages) {
        struct pf_run data = {gap.first + gap.pages, 0};
        if (tracked->fd >= 0)
            error = pf_populated_next_data(tracked->fd, tracked->region, gap, &data);
        pf_tracker_move(&tracked->had, (struct pf_run){gap.first, data.first - gap.first}, dirty);
        if (!error && data.pages)
            error = settle_data(tracker, region, data, dirty);
        gap = run_from(data.first + data.pages, gap);
    }
    return error;
}

/* See to the pages of a run that are not watched even now, after it was taken. */
static int settle(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                  struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run rest = run;
    int error =
        tracker->ops->look(tracker, region, run, keeps_protection(tracked), &tracked->watched);
    while (!error && rest.pages) {
        struct pf_run watched = pf_pageset_next_within(&tracked->watched, rest, SIZE_MAX);
        struct pf_run gap = {rest.first, watched.first - rest.first};
        pf_pageset_add_run(&tracked->had, watched);
        error = settle_gap(tracker, region, gap, dirty);
        rest = run_from(watched.first + watched.pages, rest);
    }
    pf_pageset_remove_run(&tracked->watched, run);
    return error;
}

static int settle_given_back(struct pf_tracker *tracker, unsigned region, struct pf_run piece,
                             struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run given;
    struct pf_run had;
    int error = 0;
    while (!error &&
           (given = pf_pageset_next_within(&tracked->given_back, piece, SIZE_MAX)).pages) {
        piece = run_from(given.first + given.pages, piece);
        if (tracked->fd < 0)
            error = settle(tracker, region, given, dirty);
        while (keeps_protection(tracked) &&
               (had = pf_pageset_next_within(&tracked->had, given, SIZE_MAX)).pages) {
            pf_pageset_add_run(dirty, had);
            given = run_from(had.first + had.pages, given);
        }
    }
    return error;
}

static int collect_piece(struct pf_tracker *tracker, unsigned region, struct pf_run piece,
                         struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    if (atomic_load(&tracker->thread_waits))
        pf_tracker_serve(tracker); /* locks aren't fair, and a thread of the job waits */
    if (tracker->failure)
        return tracker->failure;
    if (tracker->attr.marked)
        pf_tracker_move(&tracker->attr.marked[region], piece, dirty);
    pf_tracker_move(&tracked->due, piece, dirty);
    int error = tracker->ops->take(tracker, region, piece, dirty);
    if (!error && tracked->fd >= 0)
        error = settle(tracker, region, piece, dirty);
    return error ? error : settle_given_back(tracker, region, piece, dirty);
}

/* Piece by piece: a thread of the job may wait for its event to be read. */
int pf_tracker_collect(struct pf_tracker *tracker, unsigned region, struct pf_run range,
                       struct pf_pageset *dirty, struct pf_why *why)
{
    struct pf_tracked *tracked = &tracker->list[region];
    size_t most = pf_region_chunk_pages(tracked->region);
    size_t end = range.first + range.pages;
    int error = 0;
    for (size_t at = range.first; at < end && tracked->registered && !error; at += most) {
        struct pf_run piece = {at, end - at < most ? end - at : most};
        pthread_mutex_lock(&tracker->lock);
        error = collect_piece(tracker, region, piece, dirty);
        if (tracker->failure)
            error = pf_why(why, tracker->failure, "%s", tracker->why.text);
        else if (error)
            pf_why(why, error, "region \"%s\": its writes can't be tracked any more by %s: %s",
                   tracked->region->name, tracker->ops->name, strerror(-error));
        pthread_mutex_unlock(&tracker->lock);
    }
    return error;
}
