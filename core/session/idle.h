/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How an engine thread waits: spin with a yield for a bounded time, then sleep.
 *
 * Yielding matters more than spinning: with fewer cores than threads a spinner that does not yield
 * keeps the woken thread off the core for milliseconds. The bound (200 us measured best on two
 * cores) keeps idle machines idle.
 *
 * And spinning pays only while the core has nothing else to do. Under the EEVDF scheduler a thread
 * that yields to a busy one gets the core back after the other's whole slice, milliseconds later; a
 * sleeping thread that is woken preempts it at once. So a yield that takes long ends the spinning
 * for a while.
 *
 * A loop calls pf_idle() each time it found nothing to do and pf_busy() when it did. Before
 * sleeping pf_idle() arms the lanes and returns, so that the loop looks once more: no wake-up
 * is lost.
 */
#ifndef PF_CORE_SESSION_IDLE_H
#define PF_CORE_SESSION_IDLE_H

#include "transport/transport.h"

#include <poll.h>

enum { PF_IDLE_LONG_NAP_NS = 1000000 };
enum { PF_IDLE_LANES = 20, PF_IDLE_FDS = 4 };

struct pf_idle {
    /* Set up by the owner. */
    struct pf_lane *lanes[PF_IDLE_LANES];
    unsigned lane_count;
    int fds[PF_IDLE_FDS]; /* further descriptors that end the sleep when readable */
    unsigned fd_count;
    uint64_t spin_ns;
    /*
     * For lanes that can't sleep: naps grow with the time without anything to do, up to this. A few
     * idle lanes that look every 50 us take the core from a busy one. 0: they don't grow.
     */
    uint64_t nap_most_ns;
    /* Kept by pf_idle(). */
    uint64_t since;           /* when the idling began; 0: it hasn't */
    uint64_t contended_until; /* others want the core: sleep at once until then */
    bool armed;
    bool naps; /* a lane that can't sleep: look again after a short nap instead */
};

/* Nothing to do: yield, or arm, or sleep at most timeout_ms (-1: without end). */
void pf_idle(struct pf_idle *idle, int timeout_ms);

static inline void pf_busy(struct pf_idle *idle)
{
    idle->since = 0;
    idle->armed = false;
}

#endif
