/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/placement.h"
#include "service/probe.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* A machine may have more interfaces than the report has lines, and others want some. */
enum { NICS_UPTO = PF_PROBE_LINES_MAX / 2 };

/* What `auto` would choose for a migration over one NIC, or over one that nobody knows. */
static void probe_nic(struct pf_probe *probe, const struct pf_topology *topology,
                      struct pf_placement_request *request, const char *nic)
{
    struct pf_placement placement;
    struct pf_why why;
    char name[48] = "placement";
    char node[32] = "";
    request->nic = nic;
    if (nic)
        snprintf(name, sizeof name, "placement:%.30s", nic);
    if (pf_placement_choose(topology, request, &placement, &why) != 0) {
        pf_probe_no(probe, name, "%s", why.text);
        return;
    }
    if (nic && placement.node == PF_NODE_UNKNOWN)
        snprintf(node, sizeof node, "of no known node; ");
    else if (nic)
        snprintf(node, sizeof node, "on node %d; ", placement.node);
    pf_probe_yes(probe, name, "%sauto: %s", node, placement.reason);
}

static bool is_interface(const struct if_nameindex *interfaces, const char *name)
{
    for (; interfaces && interfaces->if_index; interfaces++)
        if (strcmp(interfaces->if_name, name) == 0)
            return true;
    return false;
}

/* Network interfaces, which are there even where no topology tells of them, and verbs devices. */
static void probe_nics(struct pf_probe *probe, const struct pf_topology *topology,
                       struct pf_placement_request *request)
{
    struct if_nameindex *interfaces = if_nameindex();
    for (struct if_nameindex *at = interfaces; at && at->if_index && probe->count < NICS_UPTO; at++)
        if (strcmp(at->if_name, "lo") != 0)
            probe_nic(probe, topology, request, at->if_name);
    const char *name;
    for (unsigned i = 0; (name = pf_topology_nic(topology, i)) && probe->count < NICS_UPTO; i++)
        if (!is_interface(interfaces, name))
            probe_nic(probe, topology, request, name);
    if (interfaces)
        if_freenameindex(interfaces);
}

static void probe_placement(struct pf_probe *probe, const struct pf_topology *topology)
{
    struct pf_placement_request request = {.mode = "auto"};
    struct pf_why why;
    pf_topology_allowed_cpus(topology, &request.allowed);
    unsigned nodes = pf_topology_node_count(topology);
    pf_probe_yes(probe, "cpus", "%d usable, %u memory node%s", CPU_COUNT(&request.allowed), nodes,
                 nodes == 1 ? "" : "s");
    if (pf_process_affinity(&request.job, &why) != 0) {
        pf_probe_no(probe, "placement", "%s", why.text);
        return;
    }
    probe_nic(probe, topology, &request, NULL);
    probe_nics(probe, topology, &request);
}

void pf_probe_machine(struct pf_probe *probe)
{
    struct utsname system;
    struct pf_topology topology;
    struct pf_why why;
    if (uname(&system) == 0)
        pf_probe_yes(probe, "kernel", "%s %s %s", system.sysname, system.release, system.machine);
    if (pf_topology_load(&topology, &why) != 0) {
        pf_probe_no(probe, "cpus", "%s", why.text);
        return;
    }
    probe_placement(probe, &topology);
    pf_topology_unload(&topology);
}
