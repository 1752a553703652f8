/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <hwloc/glibc-sched.h>
#include <stdio.h>
#include <string.h>

typedef int source_fn(hwloc_topology_t topology, const char *source);

/*
 * hwloc finds PCI devices through sysfs by itself; its PCI plugin adds their names and leaks the
 * table of them (libpciaccess) each time. The graphics plugins open displays and drivers: nothing
 * that should happen inside somebody's job. The x86 component goes from CPU to CPU to ask each one
 * itself, which takes as long as all the rest; sysfs knows what is asked for here.
 */
static void leave_out_plugins(hwloc_topology_t hwloc)
{
    static const char *const plugins[] = {"pci", "gl", "opencl", "cuda", "nvml", "rsmi", "x86"};
    for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
        hwloc_topology_set_components(hwloc, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, plugins[i]);
}

/* As the kernel says, which has no such file where it knows nothing of nodes. */
bool pf_topology_one_node(void)
{
    char nodes[16] = "0\n";
    FILE *file = fopen("/sys/devices/system/node/online", "re");
    if (file) {
        if (!fgets(nodes, sizeof nodes, file))
            nodes[0] = '\0';
        fclose(file);
    }
    return strcmp(nodes, "0\n") == 0;
}

/*
 * NICs are I/O objects, which hwloc leaves out unless asked. Where there is but one node to hang on
 * their places on PCI don't matter, and looking at these devices, ten milliseconds or more on a
 * virtual machine, would be half of what it takes to begin a migration.
 */
static void keep_nics(hwloc_topology_t hwloc, bool this_machine)
{
    if (this_machine && pf_topology_one_node())
        hwloc_topology_set_type_filter(hwloc, HWLOC_OBJ_OS_DEVICE,
                                       HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    else
        hwloc_topology_set_io_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
}

static int load(struct pf_topology *topology, source_fn *source, const char *what,
                struct pf_why *why)
{
    topology->hwloc = NULL;
    hwloc_topology_t hwloc;
    if (hwloc_topology_init(&hwloc) != 0)
        return pf_why(why, -ENOMEM, "out of memory for the machine's topology");
    if (source && source(hwloc, what) != 0) {
        hwloc_topology_destroy(hwloc);
        return pf_why(why, -EINVAL, "hwloc can't read a topology from \"%.100s\"", what);
    }
    leave_out_plugins(hwloc);
    keep_nics(hwloc, source == NULL);
    if (hwloc_topology_load(hwloc) != 0) {
        int error = errno > 0 ? errno : EIO;
        hwloc_topology_destroy(hwloc);
        return pf_why(why, -error, "hwloc can't load the topology of %.100s: %s", what,
                      strerror(error));
    }
    topology->hwloc = hwloc;
    return 0;
}

int pf_topology_load(struct pf_topology *topology, struct pf_why *why)
{
    return load(topology, NULL, "this machine", why);
}

int pf_topology_load_synthetic(struct pf_topology *topology, const char *description,
                               struct pf_why *why)
{
    return load(topology, hwloc_topology_set_synthetic, description, why);
}

int pf_topology_load_xml(struct pf_topology *topology, const char *path, struct pf_why *why)
{
    return load(topology, hwloc_topology_set_xml, path, why);
}

void pf_topology_unload(struct pf_topology *topology)
{
    if (topology->hwloc)
        hwloc_topology_destroy(topology->hwloc);
    topology->hwloc = NULL;
}

static void to_cpu_set(const struct pf_topology *topology, hwloc_const_cpuset_t from,
                       cpu_set_t *cpus)
{
    CPU_ZERO(cpus);
    hwloc_cpuset_to_glibc_sched_affinity(topology->hwloc, from, cpus, sizeof *cpus);
}

unsigned pf_topology_node_count(const struct pf_topology *topology)
{
    int count = hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE);
    return count > 0 ? (unsigned)count : 1;
}

void pf_topology_allowed_cpus(const struct pf_topology *topology, cpu_set_t *cpus)
{
    to_cpu_set(topology, hwloc_topology_get_allowed_cpuset(topology->hwloc), cpus);
}

bool pf_topology_node_cpus(const struct pf_topology *topology, int node, cpu_set_t *cpus)
{
    CPU_ZERO(cpus);
    if (node < 0)
        return false;
    hwloc_obj_t found = hwloc_get_numanode_obj_by_os_index(topology->hwloc, (unsigned)node);
    if (found)
        to_cpu_set(topology, found->cpuset, cpus);
    return found != NULL;
}

void pf_topology_widen_to_cores(const struct pf_topology *topology, cpu_set_t *cpus)
{
    const cpu_set_t given = *cpus;
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology->hwloc, HWLOC_OBJ_CORE, core))) {
        cpu_set_t members;
        cpu_set_t common;
        to_cpu_set(topology, core->cpuset, &members);
        CPU_AND(&common, &members, &given);
        if (CPU_COUNT(&common) > 0)
            CPU_OR(cpus, cpus, &members);
    }
}

static hwloc_obj_t next_nic(const struct pf_topology *topology, hwloc_obj_t device)
{
    while ((device = hwloc_get_next_osdev(topology->hwloc, device)))
        if ((device->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK ||
             device->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS) &&
            device->name)
            return device;
    return NULL;
}

const char *pf_topology_nic(const struct pf_topology *topology, unsigned index)
{
    hwloc_obj_t device = next_nic(topology, NULL);
    while (device && index-- > 0)
        device = next_nic(topology, device);
    return device ? device->name : NULL;
}

static hwloc_obj_t find_nic(const struct pf_topology *topology, const char *nic)
{
    hwloc_obj_t device = NULL;
    while ((device = next_nic(topology, device)))
        if (strcmp(device->name, nic) == 0)
            return device;
    /* Looks for the place on PCI if that is what the name says. */
    return hwloc_get_pcidev_by_busidstring(topology->hwloc, nic);
}

int pf_topology_nic_node(const struct pf_topology *topology, const char *nic)
{
    hwloc_obj_t device = find_nic(topology, nic);
    if (!device)
        return PF_NODE_UNKNOWN;
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology->hwloc, device);
    if (!near || !near->nodeset || hwloc_bitmap_weight(near->nodeset) != 1)
        return PF_NODE_UNKNOWN;
    return hwloc_bitmap_first(near->nodeset);
}
