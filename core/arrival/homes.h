/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A region whose client has forked is in two memories, which are the same up to the fork and each
 * other's business no more: every page that was missing then is placed in both, and a page that
 * one gives back may still be due in the other.
 */
#ifndef PF_CORE_ARRIVAL_HOMES_H
#define PF_CORE_ARRIVAL_HOMES_H

#include "core/arrival/arrival.h"

/* Have clients forked whose memory is the job's? Inside the gate, or the fault thread. */
static inline bool pf_homes_several(const struct pf_arrival *arrival)
{
    return arrival->targets.child_homes > 0;
}

/* Let a home of this arrival keep track of what is given back there alone. -ENOMEM. */
int pf_homes_track(const struct pf_arrival *arrival, struct pf_target *target);

/* Is a missing page still due behind this target? It isn't if it was given back there. */
bool pf_homes_due(const struct pf_target *target, unsigned region, size_t page);

/*
 * Place one missing page in every home where it is due. 0: it may count as received; -EAGAIN, or
 * the first home's -errno. A child that has ended is passed over.
 */
int pf_homes_place(struct pf_arrival *arrival, unsigned region, size_t page, const char *from);

/* A home has given pages back. Marks those as received that are due nowhere any more. */
void pf_homes_given_back(struct pf_arrival *arrival, struct pf_target *target, unsigned region,
                         struct pf_run run);

#endif
