/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of the tracker, for its back ends.
 *
 * What is known of a page is in the page tables, not in a copy of them: a page is *watched* while a
 * write to it would be noticed, and a page with content that is not watched is dirty. So taking is:
 * find the pages with content that are not watched, say so, watch them. A write between these steps
 * only makes a page dirty that is said to be.
 */
#ifndef PF_CORE_TRACK_TRACKER_OPS_H
#define PF_CORE_TRACK_TRACKER_OPS_H

#include "core/memory/pagemap.h"
#include "core/memory/uffd.h"
#include "core/team.h"
#include "core/track/tracker.h"

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
    /* Chunks all pages of which had content and were watched at a look: none without content
     * appears there unless it was given back. Never of huge pages. */
    struct pf_pageset full;
    struct pf_pageset written; /* by events, since the page was collected last; or not watched */
    struct pf_pageset scratch; /* empty between looks */
    struct pf_pageset found;   /* dirty pages of the piece that is being collected */
    int fd;                    /* of the region's file on tmpfs, for finding data; else -1 */
    bool whole;                /* that file has no hole */
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
    struct pf_team team;      /* for the last look */
    pthread_mutex_t telling;  /* held while attr.renewed is called */
    unsigned patience;        /* tries to protect that the piece being collected has left */
    bool scans;               /* PAGEMAP_SCAN is there: for write-protect, which does without */
    bool last;                /* it has begun: nothing is watched any more */
    bool merging;             /* the kernel may have replaced pages by shared ones (KSM) */
    int failure;              /* of the thread; with its sentence, under the lock */
    struct pf_why why;
};

struct pf_tracker_ops {
    const char *name;
    const char *takes; /* what the kernel needs for it */
    bool needs_pause;
    bool events;       /* each first write is told by an event, before it happens */
    bool finds_gone;   /* look and take find what is not mapped any more in full chunks of a file */
    uint64_t features; /* of userfaultfd that it can't do without */
    struct pf_entry_mark mark; /* of watched pages; for the functions by entries below */
    /* The regions are open; the job may run. */
    int (*begin)(struct pf_tracker *tracker, struct pf_why *why);
    /*
     * Add the pages of a run with content that are not watched. `full`: the run is of one region's
     * full chunks. Several threads may look at different runs at once.
     */
    int (*look)(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *found);
    /* The same, and watch them. With the lock held. */
    int (*take)(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                struct pf_pageset *dirty);
    /* Add the pages of a run that have no content. For private memory of 4 KiB pages. */
    int (*empty)(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                 struct pf_pageset *found);
    /* For files: add the pages of a run that are not mapped here. */
    int (*unmapped)(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                    struct pf_pageset *found);
    /* For files: add the pages of a run that are not watched; what was swapped out may be. */
    int (*miss)(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                struct pf_pageset *found);
    /* Watch pages that are in the file but not mapped. */
    int (*watch)(struct pf_tracker *tracker, unsigned region, struct pf_run run);
};

extern const struct pf_tracker_ops pf_tracker_pagemap_scan;
extern const struct pf_tracker_ops pf_tracker_soft_dirty;
extern const struct pf_tracker_ops pf_tracker_write_protect;

/* ---- what back ends share -------------------------------------------------------------------- */

/*
 * Write-protect pages, reading messages while one is in the way. If that takes too many tries they
 * stay as they are, so that the next look finds them. With the lock held.
 */
int pf_tracker_protect(struct pf_tracker *tracker, unsigned region, struct pf_run run);

/* Take in two steps: what look() finds is said, then protected. For `take`. */
int pf_tracker_take_by(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                       struct pf_pageset *dirty);

/* By /proc/self/pagemap and the back end's mark: look, empty, unmapped, miss as above. */
int pf_tracker_look_at_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                               bool full, struct pf_pageset *found);
int pf_tracker_empty_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                             struct pf_pageset *found);
int pf_tracker_unmapped_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                                struct pf_pageset *found);
int pf_tracker_miss_entries(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found);

/* The same by PAGEMAP_SCAN; does the kernel have it? */
int pf_tracker_look_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            bool full, struct pf_pageset *found);
int pf_tracker_empty_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                             struct pf_pageset *found);
int pf_tracker_unmapped_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                                struct pf_pageset *found);
int pf_tracker_miss_by_scan(struct pf_tracker *tracker, unsigned region, struct pf_run run,
                            struct pf_pageset *found);
bool pf_tracker_can_scan(const struct pf_tracker *tracker);

/* ---- what collects share (tracker_collect.c) ------------------------------------------------- */

/* Chunks that are looked at in one go: each call of the kernel's has its price. */
enum { PF_TRACKER_CHUNKS = 4 };

/*
 * Has the file of a region a hole anywhere? A page of a full chunk that was punched out of it
 * leaves its mark of being watched behind. To be asked before pf_tracker_is_full().
 */
void pf_tracker_look_at_file(struct pf_tracked *tracked);

/* All pages of a run are of full chunks, and none was given back. */
bool pf_tracker_is_full(struct pf_tracked *tracked, struct pf_run run);

/* The chunks at the beginning of a range that are full, or those that are not: see *full. */
struct pf_run pf_tracker_alike(struct pf_tracked *tracked, struct pf_run range, bool *full);

/* What is dirty in a piece besides what look() or take() finds; after these. */
int pf_tracker_settle(struct pf_tracker *tracker, unsigned region, struct pf_run piece,
                      struct pf_pageset *dirty);

/*
 * Has the kernel a reason to merge pages of this process with others (KSM)? Then a page may have
 * lost its protection without an event.
 */
bool pf_tracker_merging(void);

/* The failure of the tracker, or `error`, with its sentence. With the lock held. */
int pf_tracker_blame(struct pf_tracker *tracker, unsigned region, int error, struct pf_why *why);

/* ---- messages (tracker_events.c) ------------------------------------------------------------- */

/* Read and serve all messages that are there. With the lock held; failures go to tracker->failure.
 */
void pf_tracker_serve(struct pf_tracker *tracker);

int pf_tracker_start_thread(struct pf_tracker *tracker, struct pf_why *why);
void pf_tracker_stop_thread(struct pf_tracker *tracker);

#endif
