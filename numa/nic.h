/* SPDX-License-Identifier: BSD-2-Clause */
/* Which network interface leads to an address: the name to look up in the topology. */
#ifndef PF_NUMA_NIC_H
#define PF_NUMA_NIC_H

#include <net/if.h>
#include <stdbool.h>

/*
 * The interface that has the address (local), or through which the route to it goes (not local). A
 * RoCE or InfiniBand NIC is found by its network interface, too. Resolves a host name, so it may
 * block. False where there is none: a wildcard address, an unknown host, no route.
 */
bool pf_nic_of_host(const char *host, bool local, char nic[IF_NAMESIZE]);

#endif
