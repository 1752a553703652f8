/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/tracker.h"

#include "core/populated.h"
#include "core/thp.h"
#include "core/tracker_ops.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By enum pf_tracking. */
static const struct pf_tracker_ops *const kinds[] = {
    [PF_TRACK_PAGEMAP_SCAN] = &pf_tracker_pagemap_scan,
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *pf_tracker_name(const struct pf_tracker *tracker)
{
    return tracker->ops->name;
}

bool pf_tracker_needs_pause(const struct pf_tracker *tracker)
{
    return tracker->ops->needs_pause;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_uffd(struct pf_tracker *tracker, struct pf_why *why)
{
    const uint64_t needed = tracker->ops->features | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                            UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
    int error = pf_uffd_open(
        &tracker->uffd, needed | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMAP, why);
    if (error)
        return error;
    if ((tracker->uffd.features & needed) != needed)
        return pf_why(why, -ENOTSUP, "this kernel's userfaultfd has no %swrite-protection",
                      tracker->uffd.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP ? "asynchronous "
                                                                              : "");
    return 0;
}

static int make_sets(struct pf_tracked *tracked)
{
    struct pf_pageset *const sets[] = {&tracked->due, &tracked->given_back, &tracked->had,
                                       &tracked->watched, &tracked->split};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (pf_pageset_init(sets[i], pf_region_pages(tracked->region)))
            return -ENOMEM;
    return 0;
}

/*
 * What is in a file without being mapped here: on tmpfs it's asked for at each collect, since pages
 * lose their mapping when they are swapped out. Huge pages aren't, so asking once will do.
 */
static int open_file(struct pf_tracked *tracked, struct pf_why *why)
{
    const struct pf_region *region = tracked->region;
    if (pf_region_huge(region))
        return pf_populated_scan(region, &tracked->due, why);
    tracked->fd = pf_populated_open_file(region);
    return tracked->fd < 0 ? pf_why(why, tracked->fd, "cannot open the file of region \"%s\": %s",
                                    region->name, strerror(-tracked->fd))
                           : 0;
}

static int open_region(struct pf_tracker *tracker, struct pf_tracked *tracked, struct pf_why *why)
{
    const struct pf_region *region = tracked->region;
    if (make_sets(tracked))
        return pf_why(why, -ENOMEM, "region \"%s\": no memory for its page sets", region->name);
    if (region->foreign || pf_region_late(region))
        return 0;
    int error = pf_uffd_register_writes(&tracker->uffd, region->addr, region->bytes);
    if (error)
        return pf_why(
            why, error,
            "region \"%s\" can't be tracked by %s: the kernel does not write-protect such "
            "memory (%s)",
            region->name, tracker->ops->name, strerror(-error));
    tracked->registered = true;
    return pf_region_shared(region) ? open_file(tracked, why) : 0;
}

static int open_regions(struct pf_tracker *tracker, struct pf_why *why)
{
    const struct pf_regions *regions = tracker->attr.regions;
    bool may[PF_REGIONS_MAX] = {false};
    int error = 0;
    tracker->list = calloc(regions->count ? regions->count : 1, sizeof *tracker->list);
    if (!tracker->list)
        return pf_why(why, -ENOMEM, "no memory for the region table");
    pf_thp_note(regions, may);
    for (unsigned i = 0; i < regions->count && !error; i++) {
        struct pf_tracked *tracked = &tracker->list[i];
        *tracked = (struct pf_tracked){.region = &regions->list[i], .fd = -1};
        tracker->count = i + 1;
        error = open_region(tracker, tracked, why);
        if (!tracked->registered || !may[i])
            continue;
        tracked->thp = true;
        pf_thp_off(tracked->region);
    }
    return error;
}

static int open_kind(struct pf_tracker **tracker, const struct pf_tracker_ops *ops,
                     const struct pf_tracker_attr *attr, struct pf_why *why)
{
    struct pf_tracker *made = calloc(1, sizeof *made);
    if (!made)
        return pf_why(why, -ENOMEM, "no memory for the tracker");
    made->ops = ops;
    made->attr = *attr;
    made->uffd.fd = made->clear_fd = made->stop_fd = -1;
    pthread_mutex_init(&made->lock, NULL);
    int error = made->pagemap_fd = pf_pagemap_open(why);
    error = error < 0 ? error : open_uffd(made, why);
    error = error ? error : ops->open(made, why);
    /* Before anything is registered: then events have a reader. */
    error = error ? error : pf_tracker_start_thread(made, why);
    error = error ? error : open_regions(made, why);
    if (error)
        pf_tracker_close(made);
    else
        *tracker = made;
    return error;
}

static void close_region(struct pf_tracker *tracker, struct pf_tracked *tracked)
{
    if (tracked->registered)
        pf_uffd_unregister(&tracker->uffd, tracked->region->addr, tracked->region->bytes);
    if (tracked->thp)
        pf_thp_on(tracked->region);
    if (tracked->fd >= 0)
        close(tracked->fd);
    pf_pageset_free(&tracked->due);
    pf_pageset_free(&tracked->given_back);
    pf_pageset_free(&tracked->had);
    pf_pageset_free(&tracked->watched);
    pf_pageset_free(&tracked->split);
}

void pf_tracker_close(struct pf_tracker *tracker)
{
    if (!tracker)
        return;
    /* The thread reads events until the last region is free of them. */
    for (unsigned i = 0; i < tracker->count; i++)
        if (tracker->list[i].registered)
            pf_uffd_unregister(&tracker->uffd, tracker->list[i].region->addr,
                               tracker->list[i].region->bytes);
    pf_tracker_stop_thread(tracker);
    for (unsigned i = 0; i < tracker->count; i++)
        close_region(tracker, &tracker->list[i]);
    free(tracker->list);
    /* Who waits for an event to be read goes on. */
    pf_uffd_close(&tracker->uffd);
    if (tracker->pagemap_fd >= 0)
        close(tracker->pagemap_fd);
    if (tracker->clear_fd >= 0)
        close(tracker->clear_fd);
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* A write is found once, and another one again. */
static int try_on(const struct pf_tracker_ops *ops, const struct pf_regions *regions,
                  struct pf_why *why)
{
    struct pf_tracker_attr attr = {.regions = regions};
    struct pf_tracker *tracker;
    struct pf_pageset dirty = {.words = NULL};
    volatile char *page = regions->list[0].addr;
    int error = open_kind(&tracker, ops, &attr, why);
    if (error)
        return error;
    if (pf_pageset_init(&dirty, 1))
        error = pf_why(why, -ENOMEM, "no memory for a page set");
    static const bool written[] = {true, false, true};
    for (unsigned i = 0; i < sizeof written && !error; i++) {
        if (written[i])
            *page = (char)(i + 1);
        error = pf_tracker_collect(tracker, 0, (struct pf_run){0, 1}, &dirty, why);
        if (!error && pf_pageset_remove(&dirty, 0) != written[i])
            error = pf_why(why, -ENOTSUP, "%s does not work on this kernel: it %s", ops->name,
                           written[i] ? "missed a write" : "saw a write where none was");
    }
    pf_pageset_free(&dirty);
    pf_tracker_close(tracker);
    return error;
}

int pf_tracker_probe(unsigned choice, struct pf_why *why)
{
    struct pf_region *region;
    if (choice == PF_TRACK_AUTO || choice >= KINDS)
        return pf_why(why, -EINVAL, "no such tracker");
    struct pf_regions *regions = calloc(1, sizeof *regions);
    if (!regions)
        return pf_why(why, -ENOMEM, "no memory");
    int error = pf_regions_map(regions, "probe", PF_PAGE_SIZE, 0, 0, &region, why);
    if (!error)
        error = try_on(kinds[choice], regions, why);
    pf_regions_unmap(regions);
    free(regions);
    return error;
}

static int open_probed(struct pf_tracker **tracker, unsigned choice,
                       const struct pf_tracker_attr *attr, struct pf_why *why)
{
    int error = pf_tracker_probe(choice, why);
    return error ? error : open_kind(tracker, kinds[choice], attr, why);
}

int pf_tracker_open(struct pf_tracker **tracker, const struct pf_tracker_attr *attr,
                    struct pf_why *why)
{
    struct pf_why first = {""};
    int error = -ENOTSUP;
    if (attr->choice != PF_TRACK_AUTO)
        return open_probed(tracker, attr->choice, attr, why);
    for (unsigned choice = PF_TRACK_AUTO + 1; choice < KINDS && error; choice++) {
        struct pf_why *reason = choice == PF_TRACK_AUTO + 1 ? &first : NULL;
        error = open_probed(tracker, choice, attr, reason);
    }
    return error ? pf_why(why, error, "writes can't be tracked here; %s", first.text) : 0;
}

/* ---- collecting ------------------------------------------------------------------------------ */

int pf_tracker_protect(struct pf_tracker *tracker, unsigned region, struct pf_run run)
{
    const struct pf_region *to = tracker->list[region].region;
    int error;
    while ((error = pf_uffd_protect(&tracker->uffd, pf_region_page(to, run.first),
                                    run.pages << to->page_shift, true)) == -EAGAIN) {
        /* A thread of the job waits for its event to be read, and then for its turn to go on. */
        pf_tracker_serve(tracker);
        sched_yield();
    }
    return error;
}

int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty,
                       int (*look_for)(struct pf_tracker *tracker, unsigned region,
                                       struct pf_run run, struct pf_pageset *found))
{
    struct pf_pageset *found = &tracker->list[region].watched;
    int error = look_for(tracker, region, run, found);
    struct pf_run next;
    for (size_t at = run.first, end = at + run.pages;
         (next = pf_pageset_next_within(found, (struct pf_run){at, end - at}, SIZE_MAX)).pages;
         at = next.first + next.pages) {
        pf_pageset_remove_run(found, next);
        pf_pageset_add_run(dirty, next);
        error = error ? error : pf_tracker_protect(tracker, region, next);
    }
    return error;
}

/* Move the members of a range from one set to another. */
static void move_members(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to)
{
    struct pf_run next;
    size_t end = range.first + range.pages;
    while ((next = pf_pageset_next_within(from, range, SIZE_MAX)).pages) {
        pf_pageset_remove_run(from, next);
        pf_pageset_add_run(to, next);
        range = (struct pf_run){next.first + next.pages, end - next.first - next.pages};
    }
}

/* A page that is not mapped, but has data in its file, is as good as dirty: it was not watched. */
static int settle_gap(struct pf_tracker *tracker, unsigned region, struct pf_run gap,
                      struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    size_t end = gap.first + gap.pages;
    int error = 0;
    while (!error && gap.pages) {
        struct pf_run data = {end, 0};
        if (tracked->fd >= 0)
            error = pf_populated_next_data(tracked->fd, tracked->region, gap, &data);
        move_members(&tracked->had, (struct pf_run){gap.first, data.first - gap.first}, dirty);
        if (!error && data.pages) {
            pf_pageset_add_run(dirty, data);
            pf_pageset_add_run(&tracked->had, data);
            error = tracker->ops->watch(tracker, region, data);
        }
        gap = (struct pf_run){data.first + data.pages, end - data.first - data.pages};
    }
    return error;
}

/* See to the pages of a run that are not watched even now, after it was taken. */
static int settle(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                  struct pf_pageset *dirty)
{
    struct pf_tracked *tracked = &tracker->list[region];
    struct pf_run rest = run;
    int error = tracker->ops->look(tracker, region, run, &tracked->watched);
    while (!error && rest.pages) {
        struct pf_run watched = pf_pageset_next_within(&tracked->watched, rest, SIZE_MAX);
        struct pf_run gap = {rest.first, watched.first - rest.first};
        pf_pageset_add_run(&tracked->had, watched);
        error = settle_gap(tracker, region, gap, dirty);
        rest.first = watched.first + watched.pages;
        rest.pages = run.first + run.pages - rest.first;
    }
    pf_pageset_remove_run(&tracked->watched, run);
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
        move_members(&tracker->attr.marked[region], piece, dirty);
    move_members(&tracked->due, piece, dirty);
    int error = tracker->ops->take(tracker, region, piece, dirty);
    if (error || tracked->fd >= 0)
        return error ? error : settle(tracker, region, piece, dirty);
    struct pf_run next;
    size_t end = piece.first + piece.pages;
    while (!error && (next = pf_pageset_next_within(&tracked->given_back, piece, SIZE_MAX)).pages) {
        error = settle(tracker, region, next, dirty);
        piece = (struct pf_run){next.first + next.pages, end - next.first - next.pages};
    }
    return error;
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
