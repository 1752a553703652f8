/* SPDX-License-Identifier: BSD-2-Clause */
/* Collecting: what all trackers do around taking what their page tables say. */
#include "core/memory/populated.h"
#include "core/track/tracker_ops.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { PATIENCE = 64 };

int pf_tracker_protect(struct pf_tracker *tracker, unsigned region, struct pf_run run)
{
    const struct timespec turn = {.tv_nsec = 20000};
    const struct pf_region *to = tracker->list[region].region;
    int error;
    while ((error = pf_uffd_protect(&tracker->uffd, pf_region_page(to, run.first),
                                    run.pages << to->page_shift, true)) == -EAGAIN &&
           tracker->patience > 0) {
        /* A thread of the job waits for its event to be read, and then for a core to go on. */
        tracker->patience--;
        pf_tracker_serve(tracker);
        nanosleep(&turn, NULL);
    }
    if (error != -EAGAIN)
        return error;
    /* It gives back so much that there is always an event: these pages are dirty the next time. */
    pf_pageset_add_run(&tracker->list[region].written, run);
    return 0;
}

/* What of a range is left from a page on. */
static struct pf_run run_from(size_t page, struct pf_run range)
{
    return (struct pf_run){page, range.first + range.pages - page};
}

int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                       struct pf_pageset *dirty)
{
    struct pf_pageset *found = &tracker->list[region].scratch;
    int error = tracker->ops->look(tracker, region, run, full, found);
    struct pf_run next;
    for (; (next = pf_pageset_next_within(found, run, SIZE_MAX)).pages;
         run = run_from(next.first + next.pages, run)) {
        pf_pageset_remove_run(found, next);
        pf_pageset_add_run(dirty, next);
        error = error ? error : pf_tracker_protect(tracker, region, next);
    }
    return error;
}

/* ---- chunks without a hole ------------------------------------------------------------------- */

void pf_tracker_look_at_file(struct pf_tracked *tracked)
{
    enum { BLOCK = 512 };
    struct stat status;
    tracked->whole = tracked->fd >= 0 && fstat(tracked->fd, &status) == 0 &&
                     (uint64_t)status.st_blocks * BLOCK >= (uint64_t)status.st_size;
}

bool pf_tracker_is_full(struct pf_tracked *tracked, struct pf_run run)
{
    size_t each = pf_region_chunk_pages(tracked->region);
    if (tracked->fd >= 0 && !tracked->whole)
        return false;
    for (size_t at = run.first; at < run.first + run.pages; at += each)
        if (!pf_pageset_has(&tracked->full, at / each))
            return false;
    return pf_pageset_count(&tracked->given_back) == 0 ||
           pf_pageset_next_within(&tracked->given_back, run, 1).pages == 0;
}

struct pf_run pf_tracker_alike(struct pf_tracked *tracked, struct pf_run range, bool *full)
{
    size_t each = pf_region_chunk_pages(tracked->region);
    struct pf_run run = {range.first, range.pages < each ? range.pages : each};
    *full = pf_tracker_is_full(tracked, run);
    while (run.pages < range.pages) {
        size_t left = range.pages - run.pages;
        struct pf_run next = {run.first + run.pages, left < each ? left : each};
        if (pf_tracker_is_full(tracked, next) != *full)
            break;
        run.pages += next.pages;
    }
    return run;
}

static void note_full(struct pf_tracked *tracked, struct pf_run run, bool full)
{
    size_t chunk = run.first / pf_region_chunk_pages(tracked->region);
    struct pf_run whole = pf_region_chunk(tracked->region, chunk);
    if (full && !pf_region_huge(tracked->region) && whole.first == run.first &&
        whole.pages == run.pages)
        pf_pageset_add(&tracked->full, chunk);
}

/* ---- what look and take don't find ----------------------------------------------------------- */

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
    if (!tracker->attr.renewed || !pf_region_shared(tracker->list[region].region))
        return;
    pthread_mutex_lock(&tracker->telling);
    tracker->attr.renewed(tracker->attr.ctx, region, run);
    pthread_mutex_unlock(&tracker->telling);
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
    int error = tracker->ops->miss(tracker, region, data, &tracked->scratch);
    while (!error &&
           (unwatched = pf_pageset_next_within(&tracked->scratch, data, SIZE_MAX)).pages) {
        pf_pageset_add_run(dirty, unwatched);
        error = tracker->last ? 0 : tracker->ops->watch(tracker, region, unwatched);
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

/* See to the pages of a file that could not be found since they are not mapped. */
static int settle_file(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run rest = run;
    int error = tracker->ops->unmapped(tracker, region, run, &tracked->scratch);
    if (!error && tracker->ops->finds_gone)
        note_full(tracked, run, pf_pageset_next_within(&tracked->scratch, run, 1).pages == 0);
    while (!error && rest.pages) {
        struct pf_run gap = pf_pageset_next_within(&tracked->scratch, rest, SIZE_MAX);
        struct pf_run mapped = {rest.first, gap.first - rest.first};
        pf_pageset_add_run(&tracked->had, mapped);
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

static void take_due(struct pf_tracked *tracked, struct pf_run piece, struct pf_pageset *dirty)
{
    if (pf_pageset_count(&tracked->due) > 0)
        pf_pageset_move(&tracked->due, piece, dirty);
}

int pf_tracker_settle(struct pf_tracker *tracker, unsigned region, struct pf_run piece,
                      struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    int error = 0;
    if (tracked->fd >= 0 && !pf_tracker_is_full(tracked, piece))
        error = settle_file(tracker, region, piece, dirty);
    if (tracker->attr.marked)
        take_marked(tracker, region, piece, dirty);
    take_due(tracked, piece, dirty);
    struct pf_run given;
    while (!error && pf_pageset_count(&tracked->given_back) > 0 &&
           (given = pf_pageset_next_within(&tracked->given_back, piece, SIZE_MAX)).pages) {
        error = settle_given_back(tracker, region, given, dirty);
        piece = run_from(given.first + given.pages, piece);
    }
    return error;
}

/* ---- collecting ------------------------------------------------------------------------------ */

static int collect_piece(struct pf_tracker *tracker, unsigned region, struct pf_run piece)
{
    struct pf_tracked *tracked = &tracker->list[region];
    if (atomic_load(&tracker->thread_waits))
        pf_tracker_serve(tracker); /* locks aren't fair, and a thread of the job waits */
    if (tracker->failure)
        return tracker->failure;
    tracker->patience = PATIENCE;
    if (pf_pageset_count(&tracked->written) > 0)
        pf_pageset_remove_run(&tracked->written, piece); /* they are not watched now */
    /* First of all: soft-dirty keeps here what it finds out of turn. */
    take_due(tracked, piece, &tracked->found);
    bool full = pf_tracker_is_full(tracked, piece);
    size_t before = pf_pageset_count(&tracked->found);
    int error = tracker->ops->take(tracker, region, piece, full, &tracked->found);
    if (!error && !pf_region_shared(tracked->region))
        note_full(tracked, piece, pf_pageset_count(&tracked->found) - before == piece.pages);
    return error ? error : pf_tracker_settle(tracker, region, piece, &tracked->found);
}

int pf_tracker_blame(struct pf_tracker *tracker, unsigned region, int error, struct pf_why *why)
{
    if (tracker->failure)
        return pf_why(why, tracker->failure, "%s", tracker->why.text);
    if (error)
        return pf_why(why, error, "region \"%s\": its writes can't be tracked any more by %s: %s",
                      tracker->list[region].region->name, tracker->ops->name, strerror(-error));
    return 0;
}

/* A chunk, or some that are full. */
static struct pf_run next_piece(struct pf_tracked *tracked, struct pf_run range)
{
    size_t each = pf_region_chunk_pages(tracked->region);
    bool full;
    range.pages = range.pages < each * PF_TRACKER_CHUNKS ? range.pages : each * PF_TRACKER_CHUNKS;
    struct pf_run piece = pf_tracker_alike(tracked, range, &full);
    if (!full && piece.pages > each)
        piece.pages = each;
    return piece;
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
    int error = 0;
    while (range.pages > 0 && tracked->registered && !error) {
        pthread_mutex_lock(&tracker->lock);
        pf_tracker_look_at_file(tracked);
        struct pf_run piece = next_piece(tracked, range);
        error = pf_tracker_blame(tracker, region, collect_piece(tracker, region, piece), why);
        pthread_mutex_unlock(&tracker->lock);
        pf_pageset_move(&tracked->found, piece, dirty);
        range = run_from(piece.first + piece.pages, range);
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
