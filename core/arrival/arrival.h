/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The job's memory as the destination sees it during post-copy: which pages have been received, and
 * how a page is placed. Shared by the fault thread and the placers.
 *
 * The received set is kept as its complement, `missing`: what post-copy starts with is the runs
 * that the source calls unsent, so a sparse region costs only what is in use, and arrival is
 * complete when nothing is missing.
 */
#ifndef PF_CORE_ARRIVAL_ARRIVAL_H
#define PF_CORE_ARRIVAL_ARRIVAL_H

#include "core/arrival/blocked.h"
#include "core/arrival/targets.h"
#include "core/counters.h"
#include "core/memory/pageset.h"
#include "core/memory/region.h"
#include "core/session/protocol.h"

enum pf_incoming_state {
    PF_INCOMING_NONE,
    PF_INCOMING_ADVISE,    /* a source has introduced itself */
    PF_INCOMING_DISCARD,   /* the unsent runs are coming */
    PF_INCOMING_LISTENING, /* regions are empty and armed */
    PF_INCOMING_RUNNING,   /* the job runs here */
    PF_INCOMING_END
};

struct pf_arriving {
    const struct pf_region *region;
    struct pf_target *home;      /* where its pages are placed */
    struct pf_pageset missing;   /* not received */
    struct pf_pageset requested; /* asked for on the urgent lane; the fault thread's own */
    atomic_bool zeropage;        /* UFFDIO_ZEROPAGE works here */
    bool armed;                  /* registered with the userfaultfd */
    bool apart;                  /* nobody else's: no children, no transparent huge pages */
    bool thp;                    /* transparent huge pages are to be switched on again */
    bool thp_never;              /* the program has advised against them */
    bool dense;                  /* has them, on the contrary, for what comes by pre-copy */
    uint64_t populated;          /* the source's word how much of it has content, about */
    bool late;                   /* comes after the pause only */
    struct pf_pageset full;      /* its stretches that the source has all of, about */
    bool fresh;                  /* emptied while nobody had come; what is there is zeros */
    bool make;                   /* these are to be made before they are written to */
    size_t made;                 /* and were, or left to others, before this one */
    /*
     * In place: the source writes into the region's file through a second mapping, `alias`, and
     * placing a page is mapping it by CONTINUE.
     */
    bool in_place;
    bool filled; /* there is a page under all of the file */
    bool stale;  /* what came before the switch is in the file where a page is missing */
    char *alias;
    struct pf_mr *alias_mrs[PF_RAILS_MAX]; /* with each rail's device */
};

struct pf_arrival {
    struct pf_regions *regions;
    struct pf_arriving *list;
    unsigned count;
    struct pf_uffd uffd;
    struct pf_target own;      /* our own process; its userfaultfd is `uffd` */
    struct pf_targets targets; /* and others */
    struct pf_gate gate;
    atomic_bool given_up; /* nobody reads events any more: placers don't wait for that */
    struct pf_counters *counters;
    struct pf_blocked *blocked;   /* who waited for how long; NULL: nobody wants to know */
    _Atomic size_t missing_bytes; /* over all regions */
    atomic_int state;             /* enum pf_incoming_state */
    char *zeros;                  /* a host page of zeros, where ZEROPAGE doesn't work */
    size_t zeros_bytes;
    bool prepared; /* for pre-copy: the regions were emptied before anything came */
    int done_fd;   /* eventfd, written when nothing is missing any more */
};

/* done_fd stays the caller's. -ENOMEM, or why no userfaultfd can be had here. */
int pf_arrival_open(struct pf_arrival *arrival, struct pf_regions *regions,
                    struct pf_counters *counters, int done_fd, struct pf_why *why);
void pf_arrival_close(struct pf_arrival *arrival);

/* Can each region be post-copied? -EINVAL and the reason. */
int pf_arrival_probe(struct pf_arrival *arrival, struct pf_why *why);

/* The source's word that a run of pages is yet to come. False if it isn't in the region. */
bool pf_arrival_expect(struct pf_arrival *arrival, unsigned region, struct pf_run run);

/*
 * While nobody has come yet: make every region truly empty and mark it, so that a populator makes
 * its memory anew. From here on nobody but the source may write to it.
 */
int pf_arrival_freshen(struct pf_arrival *arrival, struct pf_why *why);

/*
 * The source's word that a run of stretches is nearly full. False if it isn't in the region. No
 * populator may run.
 */
bool pf_arrival_note_full(struct pf_arrival *arrival, unsigned region, struct pf_run stretches);

/* Is what was made of a region while nobody had come of use for what comes? */
static inline bool pf_arriving_keeps(const struct pf_arriving *arriving)
{
    return arriving->fresh && !arriving->late && arriving->populated > arriving->region->bytes / 2;
}

/*
 * Before pre-copy: make every region truly empty, so that what is never sent is zero, but keep the
 * memory of those that have been emptied and are in use for the most part. The second mappings of
 * regions in place are there already. With `ahead` their full stretches are a populator's to make,
 * which must not run now.
 */
int pf_arrival_prepare(struct pf_arrival *arrival, bool ahead, struct pf_why *why);

/*
 * There is no pre-copy: drop the memory that was made while nobody had come, since pages have to be
 * missing. That takes time, which later the job would stand still for.
 */
int pf_arrival_unmake(struct pf_arrival *arrival, struct pf_why *why);

/* It has failed, nobody writes any more: leave no page behind. */
void pf_arrival_abandon(struct pf_arrival *arrival);

/*
 * After pre-copy drop what is yet to come, else make every region truly empty (nothing the program
 * wrote before may survive); and register what is not complete: from here on touching a page that
 * isn't there waits for the fault thread, which must be running.
 */
int pf_arrival_arm(struct pf_arrival *arrival, struct pf_why *why);

/* The largest host page that is placed by copy. */
size_t pf_arrival_largest_copied(const struct pf_arrival *arrival);

/* Unregister: who still waits goes on. Call when nothing is missing. */
void pf_arrival_disarm(struct pf_arrival *arrival);

/* Exchange the state; returns the former. */
enum pf_incoming_state pf_arrival_set_state(struct pf_arrival *arrival,
                                            enum pf_incoming_state state);

/* Mark pages as received, however they came: placed, or given back by the job. */
void pf_arrival_received(struct pf_arrival *arrival, unsigned region, struct pf_run run);

/* Does a run of whole pages as the source named it fit its region, and what is left of the data
 * with it? */
bool pf_arrival_fits(const struct pf_arrival *arrival, const struct pf_stage_run *run, size_t left);

/* Where a placement stopped, and why. */
struct pf_placing {
    unsigned region;
    struct pf_run run; /* what is left to do */
    const char *from;  /* its data, in a region in place anything but NULL; NULL: zeros */
};

/*
 * Place pages that are missing, skip those that are there, mark all as received; advances *placing.
 * 0 when done; -EAGAIN when an event has to be read from the userfaultfd first; -errno.
 */
int pf_arrival_place(struct pf_arrival *arrival, struct pf_placing *placing);

/*
 * A page that is not missing was touched at an address behind a target's userfaultfd: it was
 * received meanwhile, never used at the source, or given back by the job. Map what its file has,
 * else zeros. 0 or -errno. The fault thread only.
 */
int pf_arrival_resolve(struct pf_arrival *arrival, unsigned region, const struct pf_target *target,
                       char *to);

/* pf_arrival_place() for placers: steps are taken inside the gate, -EAGAIN is waited out. */
int pf_arrival_place_gated(struct pf_arrival *arrival, struct pf_placing *placing);

#endif
