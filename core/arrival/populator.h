/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making the destination's memory before it is written to. A page that isn't there is made by the
 * kernel when it is first touched: cleared, which takes about as long as copying it. Threads of our
 * own do that while nobody has come yet (--prealloc on), or ahead of where the stream of pre-copy
 * writes; whoever finds a page missing nevertheless makes it as ever, and nobody waits for them.
 */
#ifndef PF_CORE_ARRIVAL_POPULATOR_H
#define PF_CORE_ARRIVAL_POPULATOR_H

#include "core/arrival/arrival.h"
#include "core/session/session.h"

#include <pthread.h>

enum { PF_POPULATORS_MAX = 4 };

struct pf_populator_thread {
    pthread_t id;
    struct pf_populator *populator;
    const struct pf_placement *placement;
};

struct pf_populator {
    struct pf_arrival *arrival;
    bool ahead;  /* others write there: look whether they are further */
    int pagemap; /* for that; -1: none */
    atomic_bool stop;
    struct pf_populator_thread threads[PF_POPULATORS_MAX];
    unsigned running;
    pthread_mutex_t lock; /* held by its threads for a moment, guards the rest and `made` */
    unsigned turn;        /* the region that is being made */
    size_t lead;          /* how far to leap when overtaken, in stretches */
};

/*
 * Make the full stretches of the regions that are marked `make`, each from `made` on, in ascending
 * order.
 * Runs where the rails' threads do, so that pages come from the memory node that they would come
 * from otherwise. No threads to be had: then it is not done. The control thread's.
 */
void pf_populator_start(struct pf_populator *populator, struct pf_arrival *arrival,
                        const struct pf_session *session, bool ahead);

/*
 * Is there a CPU to spare for running ahead of the stream? Where receiving has to share what there
 * is, it only takes more of it.
 */
bool pf_populator_pays(const struct pf_session *session);

/* End what it is doing, a stretch (2 MiB, about a millisecond; or a host page), and wait. Harmless
 * when not started. */
void pf_populator_stop(struct pf_populator *populator);

#endif
