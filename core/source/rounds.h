/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pre-copy at the source: rounds in which the movers send what the job has written since the last,
 * while it goes on. The control thread collects dirty pages, looks how it goes, and decides.
 */
#ifndef PF_CORE_SOURCE_ROUNDS_H
#define PF_CORE_SOURCE_ROUNDS_H

#include "core/send/window.h"
#include "core/source/pacing.h"
#include "core/track/tracker.h"

#include <pthread.h>

struct pf_source;

struct pf_rounds {
    bool finish; /* by pre-copy alone: the rest goes while the job stands still */
    bool windows_open;
    bool guarded; /* reads of the job's memory: core/memory/guarded.h */
    struct pf_windows windows;
    struct pf_tracker *tracker;
    pthread_t closer; /* of the tracker */
    bool closing;
    struct pf_pageset **landed; /* of each region, for the tracker */
    struct pf_pacing pacing;
    unsigned pin;          /* enum pf_pin, as it is heeded */
    unsigned told;         /* the latest round that the destination has been told of */
    unsigned number;       /* of the latest round, */
    unsigned passes;       /* and how often the movers were sent off: more than once in a round */
    bool keeping_up;       /* the job is asked to pause, and they are still at it */
    uint64_t first_ns;     /* when the first round began */
    uint64_t collected_ns; /* when the latest collect began */
    uint64_t collect_ns;   /* how long it took */
    uint64_t attended_ns;  /* when the peer was listened to, while collecting */
};

/* Before anything is told: are there to be rounds? -EINVAL options that exclude each other. */
int pf_rounds_choose(struct pf_source *source);

/* The engine's threads run; rounds until it is time to pause the job. */
int pf_rounds_run(struct pf_source *source);

/*
 * The job stands: what it wrote last is unsent now, and in a migration by pre-copy alone sent. What
 * is unsent afterwards is post-copy's.
 */
int pf_rounds_end(struct pf_source *source);

/*
 * The job runs elsewhere: nobody writes here any more. Takes the tracker away in the background,
 * since that takes milliseconds for each GiB and the peer wants to hear of us.
 */
void pf_rounds_part(struct pf_source *source);

/* Any time, also if nothing began. The engine's other threads have ended. */
void pf_rounds_close(struct pf_source *source);

#endif
