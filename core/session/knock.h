/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keeping the source's thread awake in pull mode, where reads need its CPU and a lane has no
 * descriptor to sleep on (libfabric's shm). Carrying out a read makes no callback there, so that
 * thread would take itself for idle and nap between the reads that it serves. A message is
 * something that it notices.
 *
 * There are never more of them unheard than reads under way, and one: each precedes a read (which
 * on shm lets nothing past it until it is done), and the source takes them in order. It has as many
 * receives.
 */
#ifndef PF_CORE_SESSION_KNOCK_H
#define PF_CORE_SESSION_KNOCK_H

#include "transport/transport.h"

struct pf_knock {
    struct pf_op op;
    struct pf_endpoint *endpoint; /* NULL: not needed */
    bool posted;
    uint64_t last_ns;
};

/* Does a device of this kind need it? The answer is the same at both sides. */
static inline bool pf_knock_needed(const struct pf_caps *caps)
{
    return caps->remote_cpu && !caps->can_sleep;
}

void pf_knock_init(struct pf_knock *knock, struct pf_endpoint *endpoint);

/* A read is about to be posted, at now. If the endpoint is dead the read will say so. */
void pf_knock(struct pf_knock *knock, uint64_t now);

#endif
