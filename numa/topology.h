/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's shape, by hwloc: memory nodes, their CPUs, and which node a NIC hangs on.
 * Read-only once loaded, so threads may share it.
 */
#ifndef PF_NUMA_TOPOLOGY_H
#define PF_NUMA_TOPOLOGY_H

#include "base/why.h"

#include <sched.h>
#include <stdbool.h>

struct hwloc_topology;
struct hwloc_obj;

enum { PF_NODE_UNKNOWN = -1 };

struct pf_topology {
    struct hwloc_topology *hwloc;
};

/* This machine. Negative errno with a sentence when hwloc can't read it. */
int pf_topology_load(struct pf_topology *topology, struct pf_why *why);

/* A made-up machine in hwloc's synthetic notation, such as "node:2 core:4 pu:1"; it has no NIC. */
int pf_topology_load_synthetic(struct pf_topology *topology, const char *description,
                               struct pf_why *why);

/* A recorded machine: a file that `lstopo FILE.xml` wrote. */
int pf_topology_load_xml(struct pf_topology *topology, const char *path, struct pf_why *why);

void pf_topology_unload(struct pf_topology *topology);

/* Whether this machine has no more than one memory node; asks the kernel, loads nothing. */
bool pf_topology_one_node(void);

unsigned pf_topology_node_count(const struct pf_topology *topology);

/* Online CPUs that the machine, or the container we are in, lets processes use. */
void pf_topology_allowed_cpus(const struct pf_topology *topology, cpu_set_t *cpus);

/* The CPUs of a node, by the operating system's number of it; false if there is no such node. */
bool pf_topology_node_cpus(const struct pf_topology *topology, int node, cpu_set_t *cpus);

/* Add to a set every CPU that shares a core with one of its members. */
void pf_topology_widen_to_cores(const struct pf_topology *topology, cpu_set_t *cpus);

/*
 * The node next to a NIC, named as a network interface ("eth0"), a verbs device ("mlx5_0") or by
 * its place on PCI ("0000:3b:00.0").
 * PF_NODE_UNKNOWN if there is no such device or it is equally far from several nodes.
 */
int pf_topology_nic_node(const struct pf_topology *topology, const char *nic);

/* The name of a NIC of the machine, or NULL behind the last: network interfaces, verbs devices. */
const char *pf_topology_nic(const struct pf_topology *topology, unsigned index);

#endif
