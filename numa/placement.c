/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/placement.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLLING_THREADS = 2 };

static void subtract(cpu_set_t *from, const cpu_set_t *what)
{
    cpu_set_t common;
    CPU_AND(&common, from, what);
    CPU_XOR(from, from, &common);
}

static void place_nowhere(struct pf_placement *placement)
{
    CPU_ZERO(&placement->cpus);
    placement->pin = false;
    placement->node = PF_NODE_UNKNOWN;
    placement->reason[0] = '\0';
}

static int node_number(const char *mode)
{
    char *end;
    if (!isdigit((unsigned char)mode[0]))
        return -1;
    unsigned long node = strtoul(mode, &end, 10);
    return *end == '\0' && node < CPU_SETSIZE ? (int)node : -1;
}

static int choose_node(const struct pf_topology *topology,
                       const struct pf_placement_request *request, struct pf_placement *placement,
                       struct pf_why *why)
{
    cpu_set_t cpus;
    int node = node_number(request->mode);
    if (node < 0)
        return pf_why(why, -EINVAL, "placement \"%.30s\": give auto, none or a node's number",
                      request->mode);
    if (!pf_topology_node_cpus(topology, node, &cpus))
        return pf_why(why, -EINVAL,
                      "placement on node %d: this machine has no such node but %u of them; see "
                      "lstopo or numactl --hardware",
                      node, pf_topology_node_count(topology));
    CPU_AND(&cpus, &cpus, &request->allowed);
    if (CPU_COUNT(&cpus) == 0)
        return pf_why(why, -EPERM,
                      "placement on node %d: this process may use none of its CPUs; widen its "
                      "cpuset or name another node",
                      node);

    placement->cpus = cpus;
    subtract(&placement->cpus, &request->job);
    bool away = CPU_COUNT(&placement->cpus) > 0;
    if (!away)
        placement->cpus = cpus;
    placement->pin = true;
    placement->node = node;
    snprintf(placement->reason, sizeof placement->reason, "on node %d as asked, %d CPUs, %s", node,
             CPU_COUNT(&placement->cpus), away ? "away from the job" : "shared with the job");
    return 0;
}

/* What auto tries, in this order. */
static const struct {
    bool near_nic;
    enum { OFF_CORES, OFF_CPUS, SHARED } job;
    const char *words;
} tries[] = {
    {true, OFF_CORES, "near the NIC, off the job's cores"},
    {false, OFF_CORES, "off the job's cores"},
    {true, OFF_CPUS, "near the NIC, off the job's CPUs"},
    {false, OFF_CPUS, "off the job's CPUs"},
    {true, SHARED, "near the NIC, shared with the job"},
};

/* Leave in *cpus what a try allows. */
static void narrow(const struct pf_topology *topology, const struct pf_placement_request *request,
                   size_t try, int nic_node, cpu_set_t *cpus)
{
    *cpus = request->allowed;
    if (tries[try].near_nic) {
        cpu_set_t local;
        pf_topology_node_cpus(topology, nic_node, &local);
        CPU_AND(cpus, cpus, &local);
    }
    if (tries[try].job != SHARED) {
        cpu_set_t job = request->job;
        if (tries[try].job == OFF_CORES)
            pf_topology_widen_to_cores(topology, &job);
        subtract(cpus, &job);
    }
}

static void choose_auto(const struct pf_topology *topology,
                        const struct pf_placement_request *request, struct pf_placement *placement)
{
    int usable = CPU_COUNT(&request->allowed);
    int nic_node = PF_NODE_UNKNOWN;
    if (request->nic)
        nic_node = pf_topology_nic_node(topology, request->nic);
    placement->node = nic_node;
    if (usable <= POLLING_THREADS) {
        snprintf(placement->reason, sizeof placement->reason,
                 "not pinned: with %d usable CPU%s the scheduler does better", usable,
                 usable == 1 ? "" : "s");
        return;
    }

    /* On a machine of one node every CPU is near the NIC: the word would say nothing. */
    bool local = nic_node != PF_NODE_UNKNOWN && pf_topology_node_count(topology) > 1;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        if (tries[i].near_nic && !local)
            continue;
        narrow(topology, request, i, nic_node, &placement->cpus);
        if (CPU_COUNT(&placement->cpus) < POLLING_THREADS)
            continue;
        placement->pin = true;
        snprintf(placement->reason, sizeof placement->reason, "%d CPUs %s",
                 CPU_COUNT(&placement->cpus), tries[i].words);
        return;
    }
    placement->cpus = request->allowed;
    subtract(&placement->cpus, &request->job);
    int spare = CPU_COUNT(&placement->cpus);
    CPU_ZERO(&placement->cpus);
    snprintf(placement->reason, sizeof placement->reason,
             "not pinned: of %d usable CPUs the job leaves %d free, %d are needed", usable, spare,
             POLLING_THREADS);
}

bool pf_placement_needs_topology(const char *mode, unsigned cpus, bool one_node)
{
    if (strcmp(mode, "none") == 0)
        return false;
    return strcmp(mode, "auto") != 0 || !one_node || cpus > POLLING_THREADS;
}

int pf_placement_choose(const struct pf_topology *topology,
                        const struct pf_placement_request *request, struct pf_placement *placement,
                        struct pf_why *why)
{
    place_nowhere(placement);
    if (strcmp(request->mode, "none") == 0) {
        snprintf(placement->reason, sizeof placement->reason, "not pinned, as asked");
        return 0;
    }
    if (strcmp(request->mode, "auto") == 0) {
        choose_auto(topology, request, placement);
        return 0;
    }
    return choose_node(topology, request, placement, why);
}

int pf_process_affinity(cpu_set_t *cpus, struct pf_why *why)
{
    CPU_ZERO(cpus);
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return pf_why(why, -errno, "can't list this process's threads in /proc/self/task: %s",
                      strerror(errno));
    for (struct dirent *entry; (entry = readdir(tasks));) {
        cpu_set_t one;
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        /* A thread that has ended since is no mistake. */
        if (thread > 0 && sched_getaffinity(thread, sizeof one, &one) == 0)
            CPU_OR(cpus, cpus, &one);
    }
    closedir(tasks);
    return 0;
}

int pf_thread_place(const struct pf_placement *placement)
{
    if (!placement->pin)
        return 0;
    return -pthread_setaffinity_np(pthread_self(), sizeof placement->cpus, &placement->cpus);
}
