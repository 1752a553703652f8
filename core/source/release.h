/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --release-ram: the source gives memory back while the rest is still leaving.
 *
 * The destination tells which chunks it has received whole, whichever way their pages came. What
 * has been received may still be read here: a write whose acknowledgement is under way is repeated
 * from the same memory if that is lost. So a chunk is given up only when every operation that had
 * begun before the word came is done (core/session/readers.h). Its registrations go first, which
 * unpins its pages, then the pages. All of it belongs to the control thread.
 */
#ifndef PF_CORE_SOURCE_RELEASE_H
#define PF_CORE_SOURCE_RELEASE_H

#include "core/counters.h"
#include "core/send/source_memory.h"
#include "core/session/wire.h"

/* A region's chunks on their way out. */
struct pf_released {
    struct pf_pageset told;    /* received by the destination */
    struct pf_pageset leaving; /* and waiting for operations to end */
};

struct pf_release {
    struct pf_source_memory *memory; /* NULL: nothing is released */
    struct pf_counters *counters;
    struct pf_released *list; /* one for each region */
    bool waiting;             /* something is leaving */
};

/* After pf_source_memory_open(). -ENOMEM. */
int pf_release_open(struct pf_release *release, struct pf_source_memory *memory,
                    struct pf_counters *counters, struct pf_why *why);
void pf_release_close(struct pf_release *release);

/* The payload of PF_MSG_RECEIVED; what names no chunk of ours marks it as bad. */
void pf_release_take(struct pf_release *release, struct pf_wire *payload);

/* Give up what can be given up by now. */
void pf_release_advance(struct pf_release *release);

/*
 * The destination has all, and the connections and registrations are closed: give up the rest.
 * regions: the job's.
 */
void pf_release_rest(const struct pf_regions *regions, struct pf_counters *counters);

#endif
