/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the engine's threads run. They poll, so they cost a job thread its time slice when both
 * share a CPU; they touch what the NIC writes, so each hop between nodes adds to a fault.
 */
#ifndef PF_NUMA_PLACEMENT_H
#define PF_NUMA_PLACEMENT_H

#include "base/why.h"
#include "numa/topology.h"

#include <sched.h>
#include <stdbool.h>

struct pf_placement {
    cpu_set_t cpus;   /* meaningful if pin */
    bool pin;         /* false: engine threads keep the affinity they inherit */
    int node;         /* for the engine's buffers, or PF_NODE_UNKNOWN: the kernel's choice */
    char reason[160]; /* in words, for status and probe */
};

/* What a placement is chosen from; all of it is plain data, so that tests can make it up. */
struct pf_placement_request {
    const char *mode;  /* "auto", "none" or the number of a node */
    const char *nic;   /* network interface or verbs device, or NULL */
    cpu_set_t allowed; /* what the process may use at all */
    cpu_set_t job;     /* where the job's threads may run */
};

/*
 * Whether it takes a topology to choose on a machine of so many CPUs: not where nothing is pinned
 * on any account. Loading one takes milliseconds, half a second under emulation, and the job's
 * migration waits for it.
 */
bool pf_placement_needs_topology(const char *mode, unsigned cpus, bool one_node);

/*
 * auto: the first of these that has at least two CPUs, since two engine threads poll at once: near
 * the NIC and off the job's cores; off the job's cores; near the NIC and off the job's CPUs; off
 * the job's CPUs; near the NIC. Staying away from the job comes before staying near the NIC: a
 * poller on a job's CPU costs a time slice (milliseconds), the hop about 100 ns. No pinning if none
 * has, or if only two CPUs are allowed.
 * NODE: the node's allowed CPUs, less the job's if any remain. -EINVAL no such node or bad mode,
 * -EPERM none of the node's CPUs is allowed.
 * topology may be NULL, and request->nic then, if pf_placement_needs_topology() said so.
 */
int pf_placement_choose(const struct pf_topology *topology,
                        const struct pf_placement_request *request, struct pf_placement *placement,
                        struct pf_why *why);

/* The CPUs that any thread of this process may run on: the job's, before the engine has threads. */
int pf_process_affinity(cpu_set_t *cpus, struct pf_why *why);

/* Apply to the calling thread. Negative errno. */
int pf_thread_place(const struct pf_placement *placement);

#endif
