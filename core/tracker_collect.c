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

int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty,
                       int (*look_for)(struct pf_tracker *tracker, unsigned region,
                                       struct pf_run run, struct pf_pageset *found))
{
    struct pf_pageset *found = &tracker->list[region].scratch;
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

/* Whether there were any. */
static bool add_members(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to)
{
    struct pf_run next;
    bool any = false;
    while ((next = pf_pageset_next_within(from, range, SIZE_MAX)).pages) {
        any = true;
        pf_pageset_add_run(to, next);
        range = run_from(next.first + next.pages, range);
    }
    return any;
}

static void say_renewed(struct pf_tracker *tracker, unsigned region, struct pf_run run)
{
    if (tracker->attr.renewed && pf_region_shared(tracker->list[region].region))
        tracker->attr.renewed(tracker->attr.ctx, region, run);
}

static void take_marked(struct pf_tracker *tracker, unsigned region, struct pf_run range,
                        struct pf_pageset *dirty)
{
    struct pf_pageset *marked = &tracker->attr.marked[region];
    struct pf_run next;
    while ((next = pf_pageset_next_within(marked, range, SIZE_MAX)).pages) {
        pf_pageset_remove_run(marked, next);
        say_renewed(tracker, region, next);
        pf_pageset_add_run(dirty, next);
        range = run_from(next.first + next.pages, range);
    }
}

/*
 * Pages without content. A page may have come and gone since the last look, and have been read in
 * between: who read it knows better than we do.
 */
static void say_gone(struct pf_tracker *tracker, unsigned region, struct pf_run gone,
                     struct pf_pageset *dirty)
{
    struct pf_pageset *had = &tracker->list[region].had;
    bool sent = tracker->attr.sent && tracker->attr.sent[region];
    if (add_members(sent ? tracker->attr.sent[region] : had, gone, dirty))
        say_renewed(tracker, region, gone);
    pf_pageset_remove_run(had, gone);
}

/*
 * Data that isn't mapped: swapped out as it was watched, or nobody watched it, and it's as good as
 * dirty. The scratch set has the run; what of it is watched is taken out.
 */
static int settle_data(struct pf_tracker *tracker, unsigned region, struct pf_run data,
                       struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run unwatched;
    pf_pageset_add_run(&tracked->had, data);
    pf_pageset_remove_run(&tracked->scratch, data);
    int error = tracker->ops->miss(tracker, region, data, false, &tracked->scratch);
    while (!error &&
           (unwatched = pf_pageset_next_within(&tracked->scratch, data, SIZE_MAX)).pages) {
        pf_pageset_add_run(dirty, unwatched);
        error = tracker->ops->watch(tracker, region, unwatched);
        data = run_from(unwatched.first + unwatched.pages, data);
    }
    return error;
}

/* Pages of a file that are not mapped: there they may be, else what they had is gone. */
static int settle_gap(struct pf_tracker *tracker, unsigned region, struct pf_run gap,
                      struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    int error = 0;
    while (!error && gap.pages) {
        struct pf_run data;
        error = pf_populated_next_data(tracked->fd, tracked->region, gap, &data);
        say_gone(tracker, region, (struct pf_run){gap.first, data.first - gap.first}, dirty);
        if (!error && data.pages)
            error = settle_data(tracker, region, data, dirty);
        gap = run_from(data.first + data.pages, gap);
    }
    return error;
}

/* See to the pages of a file that are not watched even now, after they were taken. */
static int settle_file(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run rest = run;
    int error = tracker->ops->miss(tracker, region, run, true, &tracked->scratch);
    while (!error && rest.pages) {
        struct pf_run gap = pf_pageset_next_within(&tracked->scratch, rest, SIZE_MAX);
        struct pf_run watched = {rest.first, gap.first - rest.first};
        pf_pageset_add_run(&tracked->had, watched);
        error = settle_gap(tracker, region, gap, dirty);
        rest = run_from(gap.first + gap.pages, rest);
    }
    pf_pageset_remove_run(&tracked->scratch, run);
    return error;
}

/* What had content and has none is dirty. Content is watched, or was written after it was taken. */
static int settle_private(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                          struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run rest = run;
    int error = tracker->ops->empty(tracker, region, run, &tracked->scratch);
    while (!error && rest.pages) {
        struct pf_run gone = pf_pageset_next_within(&tracked->scratch, rest, SIZE_MAX);
        pf_pageset_add_run(&tracked->had, (struct pf_run){rest.first, gone.first - rest.first});
        say_gone(tracker, region, gone, dirty);
        rest = run_from(gone.first + gone.pages, rest);
    }
    pf_pageset_remove_run(&tracked->scratch, run);
    return error;
}

/* What was given back once. */
static int settle_given_back(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                             struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    if (pf_region_huge(tracked->region))
        pf_pageset_add_run(dirty, run);
    else if (tracked->fd >= 0)
        add_members(&tracked->had, run, dirty);
    else
        return settle_private(tracker, region, run, dirty);
    return 0;
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
        take_marked(tracker, region, piece, dirty);
    pf_tracker_move(&tracked->due, piece, dirty);
    int error = tracker->ops->take(tracker, region, piece, dirty);
    if (!error && tracked->fd >= 0)
        error = settle_file(tracker, region, piece, dirty);
    struct pf_run given;
    while (!error &&
           (given = pf_pageset_next_within(&tracked->given_back, piece, SIZE_MAX)).pages) {
        error = settle_given_back(tracker, region, given, dirty);
        piece = run_from(given.first + given.pages, piece);
    }
    return error;
}

/*
 * Piece by piece: a thread of the job may wait for its event to be read. Pages of a piece are said
 * to be dirty when all of it is watched: others may take them from the set at once and read them,
 * and what is written after that has to be seen.
 */
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
        error = collect_piece(tracker, region, piece, &tracked->found);
        if (tracker->failure)
            error = pf_why(why, tracker->failure, "%s", tracker->why.text);
        else if (error)
            pf_why(why, error, "region \"%s\": its writes can't be tracked any more by %s: %s",
                   tracked->region->name, tracker->ops->name, strerror(-error));
        pthread_mutex_unlock(&tracker->lock);
        pf_tracker_move(&tracked->found, piece, dirty);
    }
    return error;
}

int pf_tracker_failure(struct pf_tracker *tracker, struct pf_why *why)
{
    pthread_mutex_lock(&tracker->lock);
    int error = tracker->failure ? pf_why(why, tracker->failure, "%s", tracker->why.text) : 0;
    pthread_mutex_unlock(&tracker->lock);
    return error;
}
