/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/placement.h"
#include "service/probe.h"

#include <sys/utsname.h>

static void probe_placement(struct pf_probe *probe, const struct pf_topology *topology)
{
    struct pf_placement_request request = {.mode = "auto"};
    struct pf_placement placement;
    struct pf_why why;
    pf_topology_allowed_cpus(topology, &request.allowed);
    unsigned nodes = pf_topology_node_count(topology);
    pf_probe_yes(probe, "cpus", "%d usable, %u memory node%s", CPU_COUNT(&request.allowed), nodes,
                 nodes == 1 ? "" : "s");
    if (pf_process_affinity(&request.job, &why) != 0 ||
        pf_placement_choose(topology, &request, &placement, &why) != 0)
        pf_probe_no(probe, "placement", "%s", why.text);
    else
        pf_probe_yes(probe, "placement", "auto: %s", placement.reason);
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
