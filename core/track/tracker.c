/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/track/tracker.h"

#include "core/memory/populated.h"
#include "core/memory/thp.h"
#include "core/track/tracker_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By enum pf_tracking. */
static const struct pf_tracker_ops *const kinds[] = {
    [PF_TRACK_PAGEMAP_SCAN] = &pf_tracker_pagemap_scan,
    [PF_TRACK_SOFT_DIRTY] = &pf_tracker_soft_dirty,
    [PF_TRACK_WRITE_PROTECT] = &pf_tracker_write_protect,
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
        return pf_why(
            why, -ENOTSUP,
            "this kernel can't track writes by %s: its userfaultfd lacks features %#llx; it "
            "takes %s",
            tracker->ops->name, (unsigned long long)(needed & ~tracker->uffd.features),
            tracker->ops->takes);
    return 0;
}

static int make_sets(struct pf_tracked *tracked)
{
    struct pf_pageset *const sets[] = {&tracked->due,     &tracked->given_back, &tracked->had,
                                       &tracked->written, &tracked->scratch,    &tracked->found};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (pf_pageset_init(sets[i], pf_region_pages(tracked->region)))
            return -ENOMEM;
    return pf_pageset_init(&tracked->full, pf_region_chunks(tracked->region));
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
    bool may[PF_REGIONS_MAX] = {false}, never[PF_REGIONS_MAX] = {false};
    int error = 0;
    tracker->list = calloc(regions->count ? regions->count : 1, sizeof *tracker->list);
    if (!tracker->list)
        return pf_why(why, -ENOMEM, "no memory for the region table");
    /* Advised, but without any: those that come in the meantime are dirty as a whole, once. */
    if (pf_thp_present(regions))
        pf_thp_note(regions, may, never);
    for (unsigned i = 0; i < regions->count && !error; i++) {
        struct pf_tracked *tracked = &tracker->list[i];
        *tracked = (struct pf_tracked){.region = &regions->list[i], .fd = -1};
        /* From its registration on there are events, and the thread has to know the region. */
        pthread_mutex_lock(&tracker->lock);
        tracker->count = i + 1;
        error = open_region(tracker, tracked, why);
        pthread_mutex_unlock(&tracker->lock);
        if (!tracked->registered || !may[i])
            continue;
        tracked->thp = true;
        pf_thp_off(tracked->region);
    }
    return error;
}

/* NULL: *error says why not. */
static struct pf_tracker *open_kind(const struct pf_tracker_ops *ops,
                                    const struct pf_tracker_attr *attr, int *error,
                                    struct pf_why *why)
{
    struct pf_tracker *made = calloc(1, sizeof *made);
    *error = made ? 0 : pf_why(why, -ENOMEM, "no memory for the tracker");
    if (!made)
        return NULL;
    made->ops = ops;
    made->attr = *attr;
    made->uffd.fd = made->clear_fd = made->stop_fd = -1;
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->telling, NULL);
    made->pagemap_fd = pf_pagemap_open(why);
    made->merging = ops->events && pf_tracker_merging();
    *error = made->pagemap_fd < 0 ? made->pagemap_fd : open_uffd(made, why);
    /* Before anything is registered: then events have a reader. */
    *error = *error ? *error : pf_tracker_start_thread(made, why);
    *error = *error ? *error : open_regions(made, why);
    *error = *error ? *error : ops->begin(made, why);
    if (!*error)
        return made;
    pf_tracker_close(made);
    return NULL;
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
    pf_pageset_free(&tracked->full);
    pf_pageset_free(&tracked->written);
    pf_pageset_free(&tracked->scratch);
    pf_pageset_free(&tracked->found);
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
    pf_team_close(&tracker->team);
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
    pthread_mutex_destroy(&tracker->telling);
    free(tracker);
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* A write is found once, and another one again. */
static int try_on(const struct pf_tracker_ops *ops, const struct pf_regions *regions,
                  struct pf_why *why)
{
    struct pf_tracker_attr attr = {.regions = regions};
    struct pf_pageset dirty = {.words = NULL};
    volatile char *page = regions->list[0].addr;
    int error;
    struct pf_tracker *tracker = open_kind(ops, &attr, &error, why);
    if (!tracker)
        return error;
    if (pf_pageset_init(&dirty, 1))
        error = pf_why(why, -ENOMEM, "no memory for a page set");
    static const bool written[] = {true, false, true};
    for (unsigned i = 0; i < sizeof written && !error; i++) {
        if (written[i])
            *page = (char)(i + 1);
        error = pf_tracker_collect(tracker, 0, (struct pf_run){0, 1}, &dirty, why);
        if (!error && pf_pageset_remove(&dirty, 0) != written[i])
            error =
                pf_why(why, -ENOTSUP, "this kernel can't track writes by %s: it %s; it takes %s",
                       ops->name, written[i] ? "missed one" : "saw one where none was", ops->takes);
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
    if (!error)
        *tracker = open_kind(kinds[choice], attr, &error, why);
    return error;
}

/*
 * Soft-dirty comes last: the job has to stand still for it, and it's blind where pages are pinned,
 * as the registrations of RDMA do.
 */
static const unsigned preferred[] = {PF_TRACK_PAGEMAP_SCAN, PF_TRACK_WRITE_PROTECT,
                                     PF_TRACK_SOFT_DIRTY};

int pf_tracker_open(struct pf_tracker **tracker, const struct pf_tracker_attr *attr,
                    struct pf_why *why)
{
    struct pf_why first = {""};
    int error = -ENOTSUP;
    if (attr->choice != PF_TRACK_AUTO)
        return open_probed(tracker, attr->choice, attr, why);
    for (size_t i = 0; i < sizeof preferred / sizeof preferred[0] && error; i++)
        error = open_probed(tracker, preferred[i], attr, i == 0 ? &first : NULL);
    return error ? pf_why(why, error, "writes can't be tracked here; %s", first.text) : 0;
}
