/* SPDX-License-Identifier: BSD-2-Clause */
/* Which NIC leads to an address, and where in the machine it is. */
#ifndef PF_NUMA_NIC_H
#define PF_NUMA_NIC_H

#include "numa/topology.h"

#include <net/if.h>
#include <stdbool.h>

/*
 * The interface that has the address (local), or through which the route to it goes (not local). A
 * RoCE or InfiniBand NIC is found by its network interface, too. Resolves a host name, so it may
 * block. False where there is none: a wildcard address, an unknown host, no route.
 */
bool pf_nic_of_host(const char *host, bool local, char nic[IF_NAMESIZE]);

struct pf_nic_place {
    char name[64]; /* the one that the topology knows, else the first; empty: none is known */
    int node;      /* or PF_NODE_UNKNOWN */
};

/*
 * Look a NIC up by whichever of its names tells a node; empty ones are passed over. NULL ends.
 * Without a topology (NULL) no node is known.
 */
void pf_nic_find(const struct pf_topology *topology, const char *const *names,
                 struct pf_nic_place *place);

#endif
