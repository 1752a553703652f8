/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of the tracker, for its back ends.
 *
 * What is known of a page is in the page tables, not in a copy of them: a page is *watched* while a
 * write to it would be noticed, and a page with content that is not watched is dirty. So taking is:
 * find the pages with content that are not watched, say so, watch them. A write between these steps
 * only makes a page dirty that is said to be.
 */
#ifndef PF_CORE_TRACKER_OPS_H
#define PF_CORE_TRACKER_OPS_H

#include "core/pagemap.h"
#include "core/tracker.h"
#include "core/uffd.h"

#include <pthread.h>
#include <stdatomic.h>

struct pf_tracked {
    const struct pf_region *region;
    struct pf_pageset due; /* to be said at the next collect, whatever the page tables say */
    /*
     * Reading the event of a madvise() lets it go on, and its pages vanish at any time after that:
     * also after a collect that said them dirty and saw them still there. So where pages were given
     * back once, those that the caller has read, or that had content at the last look, and that
     * have none any more are dirty, too. In a
     * file the kernel remembers the protection of a page that is gone, and a page that is read
     * there next looks as if nothing had happened: what has content and was given back there once
     * is dirty each time. In huge pages, where neither can be told, all that was.
     */
    struct pf_pageset given_back, had;
    struct pf_pageset full;    /* chunks that had no hole when they were collected last */
    struct pf_pageset scratch; /* empty between looks */
    struct pf_pageset found;   /* dirty pages of the piece that is being collected */
    int fd;                    /* of the region's file on tmpfs, for finding data; else -1 */
    bool registered;           /* with the userfaultfd; never if the region is sent late */
    bool thp;                  /* transparent huge pages are to be switched on again */
};

struct pf_tracker {
    const struct pf_tracker_ops *ops;
    struct pf_tracker_attr attr;
    struct pf_uffd uffd;
    int pagemap_fd;
    int clear_fd; /* /proc/self/clear_refs, or -1 */
    struct pf_tracked *list;
    unsigned count;

    pthread_t thread; /* reads the userfaultfd's messages */
    bool started;
    int stop_fd;
    /*
     * Held while messages are read and marked, and while a piece is collected: who has read an
     * event has marked it before a collect that begins later. Nobody touches job memory inside.
     */
    pthread_mutex_t lock;
    atomic_bool thread_waits; /* for the lock */
    int failure;              /* of the thread; with its sentence, under the lock */
    struct pf_why why;
};

struct pf_tracker_ops {
    const char *name;
    const char *takes; /* what the kernel needs for it */
    bool needs_pause;
    uint64_t features; /* of userfaultfd that it can't do without */
    /* The regions are open; the job may run. */
    int (*begin)(struct pf_tracker *tracker, struct pf_why *why);
    /* Add the pages of a run with content that are not watched; watch them. With the lock held. */
    int (*take)(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *dirty);
    /* Add the pages of a run that have no content. For private memory of 4 KiB pages. */
    int (*empty)(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                 struct pf_pageset *found);
    /*
     * For files: add the pages of a run that are not watched. Watched are those only that are
     * mapped here, or also what was swapped out.
     */
    int (*miss)(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool mapped,
                struct pf_pageset *unwatched);
    /* Watch pages that are in the file but not mapped. */
    int (*watch)(struct pf_tracker *tracker, unsigned region, struct pf_run run);
};

extern const struct pf_tracker_ops pf_tracker_pagemap_scan;
extern const struct pf_tracker_ops pf_tracker_soft_dirty;
extern const struct pf_tracker_ops pf_tracker_write_protect;

/* ---- what back ends share -------------------------------------------------------------------- */

/* Move the members of a range from one set to another. */
void pf_tracker_move(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to);

/* Write-protect pages, reading messages for as long as one is in the way. With the lock held. */
int pf_tracker_protect(struct pf_tracker *tracker, unsigned region, struct pf_run run);

/* Take in two steps: what look_for() finds is said, then protected. For `take`. */
int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                       struct pf_pageset *dirty,
                       int (*look_for)(struct pf_tracker *tracker, unsigned region,
                                       struct pf_run run, struct pf_pageset *found));

/* ---- messages (tracker_events.c) ------------------------------------------------------------- */

/* Read and serve all messages that are there. With the lock held; failures go to tracker->failure.
 */
void pf_tracker_serve(struct pf_tracker *tracker);

int pf_tracker_start_thread(struct pf_tracker *tracker, struct pf_why *why);
void pf_tracker_stop_thread(struct pf_tracker *tracker);

#endif
