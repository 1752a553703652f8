/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A target: a userfaultfd whose faults are served here, and how addresses in the memory behind it
 * lead to pages of regions. Our own process is one; other processes hand theirs over.
 *
 * A region has one *home*: the target into which its pages are placed. A *watcher* shows the same
 * memory without owning it (another process that maps the region's memfd): nothing is placed
 * there, its waiting threads are woken once the page is in the file.
 *
 * Who may touch one: before it is handed to the fault thread and after it came back, its owner.
 * In between the fault thread changes it with the gate closed (core/session/gate.h), and placers
 * read it inside the gate.
 */
#ifndef PF_CORE_ARRIVAL_TARGET_H
#define PF_CORE_ARRIVAL_TARGET_H

#include "core/memory/pageset.h"
#include "core/memory/uffd.h"

#include <stdatomic.h>

/* A piece of a target's address space that shows a piece of a region. */
struct pf_view {
    uint64_t addr, bytes;
    unsigned region; /* or PF_VIEW_VACATED */
    uint64_t offset; /* of addr, in the region */
};

/* Its memory was moved elsewhere: what is touched here now reads zeros. */
#define PF_VIEW_VACATED UINT32_MAX

enum pf_target_state {
    PF_TARGET_IDLE,   /* its owner's */
    PF_TARGET_SERVED, /* the fault thread's */
    PF_TARGET_FAILED, /* given back by the fault thread: see status */
};

struct pf_target {
    struct pf_uffd *uffd;
    struct pf_view *views; /* in order of address, none overlap */
    struct pf_pageset
        *gone; /* of each region, what was given back here alone: core/arrival/homes.h */
    unsigned gone_count;
    unsigned count, room;
    unsigned last;     /* the view of the last fault: the next is likely there too */
    atomic_int state;  /* enum pf_target_state */
    int status;        /* why it failed; valid once state says so, as is */
    struct pf_why why; /* the sentence, if there is more to say */
    int pid;           /* of the process behind it, for sentences */
    bool home;         /* pages are placed here; else it watches */
    bool minor;        /* registered for minor faults: CONTINUE maps what the file has */
    bool child;        /* of that process: it came by fork */
    bool turned_away;  /* threads wait here whose faults nobody remembers */
};

/* Room for so many views; there is never more. uffd stays the caller's. -ENOMEM. */
int pf_target_init(struct pf_target *target, struct pf_uffd *uffd, bool home, unsigned room);
void pf_target_free(struct pf_target *target);

/* -EEXIST it overlaps another view, -ENOSPC. */
int pf_target_show(struct pf_target *target, const struct pf_view *view);

/* The view that holds an address, or NULL. */
const struct pf_view *pf_target_find(struct pf_target *target, uint64_t addr);

/* [from, to) shows nothing any more. -ENOSPC: that makes more views than there is room for. */
int pf_target_cut(struct pf_target *target, uint64_t from, uint64_t to);

/*
 * What was shown from `from` on is shown from `to` on, as mremap() moved it. Where it was, zeros
 * are read: with MREMAP_DONTUNMAP the old place is mapped still. -ENOSPC as above.
 */
int pf_target_move(struct pf_target *target, uint64_t from, uint64_t to, uint64_t bytes);

/* Free what a home keeps track of. */
void pf_target_forget(struct pf_target *target);

/* The views of another, and what was given back there; `target` is empty. -ENOSPC. */
int pf_target_copy(struct pf_target *target, const struct pf_target *other);

/*
 * Let go of what is behind it: no range is registered any more, no thread there waits for an event
 * to be read. Called when no page is missing (else waiting threads would read zeros) by whoever
 * has the target, never by the fault thread.
 */
void pf_target_release(struct pf_target *target);

/* The view that shows a place of a region, or NULL. If several do, the lowest address. */
const struct pf_view *pf_target_shows(const struct pf_target *target, unsigned region,
                                      uint64_t offset);

#endif
