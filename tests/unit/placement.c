/* SPDX-License-Identifier: BSD-2-Clause */
/* Placement on machines that are not there: two nodes of four cores with two threads each. */
#include "numa/placement.h"

#include "core/memory/locked.h"
#include "core/send/stripes.h"
#include "numa/nic.h"
#include "numa/pages.h"
#include "tests/suite.h"

#include <errno.h>
#include <sys/mman.h>

/* PUs 0-7 on node 0, 8-15 on node 1, siblings are 2n and 2n+1; a NIC (eth1, mlx5_0) on node 1. */
#define TWO_NODES PF_TEST_DATA "/two-nodes.xml"

static cpu_set_t range(int first, int last)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int cpu = first; cpu <= last; cpu++)
        CPU_SET(cpu, &cpus);
    return cpus;
}

static bool is_range(const cpu_set_t *cpus, int first, int last)
{
    cpu_set_t expected = range(first, last);
    return CPU_EQUAL(cpus, &expected);
}

static struct pf_placement choose(const char *xml, const char *mode, const char *nic,
                                  cpu_set_t allowed, cpu_set_t job)
{
    struct pf_topology topology;
    struct pf_placement placement;
    struct pf_why why = {""};
    struct pf_placement_request request = {mode, nic, allowed, job};
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, xml, &why), 0);
    CU_ASSERT_EQUAL(pf_placement_choose(&topology, &request, &placement, &why), 0);
    CU_ASSERT_TRUE(strlen(placement.reason) > 0);
    pf_topology_unload(&topology);
    return placement;
}

static void nic_nodes(void)
{
    struct pf_topology topology;
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, TWO_NODES, NULL), 0);
    CU_ASSERT_EQUAL(pf_topology_node_count(&topology), 2);
    CU_ASSERT_EQUAL(pf_topology_nic_node(&topology, "eth1"), 1);
    CU_ASSERT_EQUAL(pf_topology_nic_node(&topology, "mlx5_0"), 1);
    CU_ASSERT_EQUAL(pf_topology_nic_node(&topology, "br0"), PF_NODE_UNKNOWN);
    CU_ASSERT_EQUAL(pf_topology_nic_node(&topology, "sda"), PF_NODE_UNKNOWN);
    CU_ASSERT_EQUAL(pf_topology_nic_node(&topology, "eth9"), PF_NODE_UNKNOWN);
    pf_topology_unload(&topology);
}

static void node_cpus(void)
{
    struct pf_topology topology;
    cpu_set_t cpus;
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_synthetic(&topology, "node:2 core:4 pu:1", NULL), 0);
    CU_ASSERT_TRUE(pf_topology_node_cpus(&topology, 1, &cpus));
    CU_ASSERT_TRUE(is_range(&cpus, 4, 7));
    CU_ASSERT_FALSE(pf_topology_node_cpus(&topology, 2, &cpus));
    CU_ASSERT_FALSE(pf_topology_node_cpus(&topology, -1, &cpus));
    pf_topology_allowed_cpus(&topology, &cpus);
    CU_ASSERT_TRUE(is_range(&cpus, 0, 7));
    pf_topology_unload(&topology);
}

static void bad_sources(void)
{
    struct pf_topology topology;
    struct pf_why why = {""};
    CU_ASSERT_TRUE(pf_topology_load_xml(&topology, "/no/such/file.xml", &why) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "/no/such/file.xml"));
    CU_ASSERT_TRUE(pf_topology_load_synthetic(&topology, "nonsense", &why) < 0);
    pf_topology_unload(&topology);
}

static void none(void)
{
    struct pf_placement p = choose(TWO_NODES, "none", "eth1", range(0, 15), range(0, 0));
    CU_ASSERT_FALSE(p.pin);
    CU_ASSERT_EQUAL(p.node, PF_NODE_UNKNOWN);
}

/* The job on node 0, room on the NIC's node 1. */
static void near_and_away(void)
{
    struct pf_placement p = choose(TWO_NODES, "auto", "eth1", range(0, 15), range(0, 7));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 8, 15));
    CU_ASSERT_EQUAL(p.node, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.reason, "near the NIC"));
}

/* PU 8's sibling 9 shares its core: both are left to the job. */
static void off_whole_cores(void)
{
    struct pf_placement p = choose(TWO_NODES, "auto", "mlx5_0", range(0, 15), range(0, 8));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 10, 15));
}

/* The job fills the NIC's node: away from the job counts for more than near the NIC. */
static void away_before_near(void)
{
    struct pf_placement p = choose(TWO_NODES, "auto", "eth1", range(0, 15), range(8, 15));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 0, 7));
    CU_ASSERT_EQUAL(p.node, 1);
}

/* The job has a thread of each core: the siblings are better than its own CPUs. */
static void siblings(void)
{
    cpu_set_t job;
    CPU_ZERO(&job);
    for (int cpu = 0; cpu < 16; cpu += 2)
        CPU_SET(cpu, &job);
    struct pf_placement p = choose(TWO_NODES, "auto", "eth1", range(0, 15), job);
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_EQUAL(CPU_COUNT(&p.cpus), 4);
    CU_ASSERT_TRUE(CPU_ISSET(9, &p.cpus) && CPU_ISSET(15, &p.cpus));
}

static void unpinned_job(void)
{
    struct pf_placement p = choose(TWO_NODES, "auto", "eth1", range(0, 15), range(0, 15));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 8, 15));
    CU_ASSERT_PTR_NOT_NULL(strstr(p.reason, "shared"));

    p = choose(TWO_NODES, "auto", NULL, range(0, 15), range(0, 15));
    CU_ASSERT_FALSE(p.pin);
    CU_ASSERT_EQUAL(p.node, PF_NODE_UNKNOWN);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.reason, "not pinned"));
}

static void few_cpus(void)
{
    struct pf_placement p = choose(TWO_NODES, "auto", "eth1", range(8, 9), range(8, 8));
    CU_ASSERT_FALSE(p.pin);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.reason, "2 usable CPUs"));
    p = choose(TWO_NODES, "auto", "eth1", range(8, 8), range(8, 8));
    CU_ASSERT_FALSE(p.pin);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.reason, "1 usable CPU "));
}

/* What is told to do without a topology is chosen without one, and as it would be with one. */
static void no_topology(void)
{
    struct pf_placement with, without;
    struct pf_placement_request request = {"auto", NULL, range(0, 1), range(0, 1)};
    CU_ASSERT_TRUE(pf_placement_needs_topology("auto", 3, true));
    CU_ASSERT_TRUE(pf_placement_needs_topology("auto", 2, false));
    CU_ASSERT_TRUE(pf_placement_needs_topology("0", 2, true));
    CU_ASSERT_FALSE(pf_placement_needs_topology("auto", 2, true));
    CU_ASSERT_FALSE(pf_placement_needs_topology("none", 64, false));
    for (unsigned i = 0; i < 2; i++, request.mode = "none") {
        with = choose(TWO_NODES, request.mode, NULL, request.allowed, request.job);
        CU_ASSERT_EQUAL(pf_placement_choose(NULL, &request, &without, NULL), 0);
        CU_ASSERT_FALSE(without.pin);
        CU_ASSERT_EQUAL(without.node, PF_NODE_UNKNOWN);
        CU_ASSERT_STRING_EQUAL(without.reason, with.reason);
    }
    static const char *const names[] = {"", "eth1", "br0", NULL};
    struct pf_nic_place place;
    pf_nic_find(NULL, names, &place);
    CU_ASSERT_EQUAL(place.node, PF_NODE_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(place.name, "eth1");
}

static void asked_node(void)
{
    struct pf_placement p = choose(TWO_NODES, "0", "eth1", range(0, 15), range(0, 3));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 4, 7));
    CU_ASSERT_EQUAL(p.node, 0);
    p = choose(TWO_NODES, "0", NULL, range(0, 15), range(0, 15));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 0, 7));
}

static void bad_nodes(void)
{
    static const struct {
        const char *mode;
        int error;
        const char *word;
    } bad[] = {
        {"2", -EINVAL, "node 2"},    {"nowhere", -EINVAL, "nowhere"}, {"1x", -EINVAL, "1x"},
        {"99999", -EINVAL, "99999"}, {"", -EINVAL, "auto"},           {"0", -EPERM, "node 0"},
    };
    struct pf_topology topology;
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, TWO_NODES, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_placement_request request = {bad[i].mode, NULL, range(8, 15), range(8, 8)};
        struct pf_placement placement;
        struct pf_why why = {""};
        CU_ASSERT_EQUAL(pf_placement_choose(&topology, &request, &placement, &why), bad[i].error);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i].word));
        CU_ASSERT_FALSE(placement.pin);
    }
    pf_topology_unload(&topology);
}

/* ---- several NICs, fewer CPUs, no locality --------------------------------------------------- */

/* As two-nodes, and another NIC (eth0, mlx5_1, 0000:3b:00.0) on node 0. */
#define TWO_NICS PF_TEST_DATA "/two-nics.xml"
/* As two-nodes, but the cpuset leaves one core of each node: PUs 0, 1, 8, 9. */
#define RESTRICTED PF_TEST_DATA "/restricted.xml"
/* As two-nodes, but the NIC hangs on the machine: equally far from both nodes. */
#define NO_LOCALITY PF_TEST_DATA "/no-locality.xml"

static struct pf_nic_place find(const char *xml, const char *device, const char *bus,
                                const char *interface)
{
    struct pf_topology topology;
    struct pf_nic_place place;
    const char *const names[] = {device, bus, interface, NULL};
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, xml, NULL), 0);
    pf_nic_find(&topology, names, &place);
    pf_topology_unload(&topology);
    return place;
}

static bool is_place(struct pf_nic_place place, const char *name, int node)
{
    return strcmp(place.name, name) == 0 && place.node == node;
}

/* A device that the topology doesn't know (soft-RoCE) is where its network interface is. */
static void names_of_a_nic(void)
{
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "mlx5_1", "", "eth1"), "mlx5_1", 0));
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "rxe0", "", "eth1"), "eth1", 1));
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "cxi0", "0000:3b:00.0", "br0"), "0000:3b:00.0", 0));
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "cxi0", "0000:3c:00.0", "br0"), "cxi0", -1));
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "", "", "br0"), "br0", -1));
    CU_ASSERT_TRUE(is_place(find(TWO_NICS, "", "", ""), "", -1));
    CU_ASSERT_TRUE(is_place(find(NO_LOCALITY, "mlx5_0", "0000:81:00.0", "eth1"), "mlx5_0", -1));
}

static void list_of_nics(void)
{
    struct pf_topology topology;
    char all[64] = "";
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, TWO_NICS, NULL), 0);
    for (unsigned i = 0; pf_topology_nic(&topology, i); i++) {
        strcat(all, pf_topology_nic(&topology, i));
        strcat(all, " ");
    }
    CU_ASSERT_STRING_EQUAL(all, "eth0 mlx5_1 eth1 mlx5_0 br0 ");
    pf_topology_unload(&topology);
}

/* What a migration over two rails decides: threads, buffers and stripes go by the NICs. */
static void two_rails(void)
{
    static const int interleaved[] = {0, 1, 0, 1};
    static const uint8_t near[] = {1, 0, 1, 0};
    struct pf_stripes stripes;
    struct pf_nic_place first = find(TWO_NICS, "mlx5_0", "", "");
    struct pf_nic_place second = find(TWO_NICS, "mlx5_1", "", "");
    const int nodes[] = {first.node, second.node};
    struct pf_placement p = choose(TWO_NICS, "auto", first.name, range(0, 15), range(0, 3));
    CU_ASSERT_TRUE(is_range(&p.cpus, 8, 15));
    CU_ASSERT_EQUAL(p.node, 1);
    p = choose(TWO_NICS, "auto", second.name, range(0, 15), range(0, 3));
    CU_ASSERT_TRUE(is_range(&p.cpus, 4, 7));
    CU_ASSERT_EQUAL(p.node, 0);
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 4 * (PF_STRIPE_BYTES >> 12), 12, 2), 0);
    pf_stripes_deal(&stripes, interleaved, nodes, 2);
    CU_ASSERT_EQUAL(memcmp(stripes.rails, near, sizeof near), 0);
    pf_stripes_free(&stripes);
}

static void restricted_cpuset(void)
{
    struct pf_topology topology;
    cpu_set_t allowed;
    cpu_set_t one_core_each = range(0, 1);
    CPU_SET(8, &one_core_each);
    CPU_SET(9, &one_core_each);
    CU_ASSERT_EQUAL_FATAL(pf_topology_load_xml(&topology, RESTRICTED, NULL), 0);
    pf_topology_allowed_cpus(&topology, &allowed);
    CU_ASSERT_TRUE(CPU_EQUAL(&allowed, &one_core_each));
    pf_topology_unload(&topology);
    struct pf_placement p = choose(RESTRICTED, "auto", "eth1", allowed, range(0, 1));
    CU_ASSERT_TRUE(is_range(&p.cpus, 8, 9));
    p = choose(RESTRICTED, "auto", "eth1", allowed, range(8, 9));
    CU_ASSERT_TRUE(is_range(&p.cpus, 0, 1));
    CU_ASSERT_EQUAL(p.node, 1); /* the buffers go to the NIC's node all the same */
    p = choose(RESTRICTED, "0", "eth1", allowed, range(8, 9));
    CU_ASSERT_TRUE(is_range(&p.cpus, 0, 1));
    CU_ASSERT_EQUAL(p.node, 0);
}

static void no_locality(void)
{
    struct pf_placement p = choose(NO_LOCALITY, "auto", "eth1", range(0, 15), range(0, 3));
    CU_ASSERT_TRUE(p.pin);
    CU_ASSERT_TRUE(is_range(&p.cpus, 4, 15));
    CU_ASSERT_EQUAL(p.node, PF_NODE_UNKNOWN);
    CU_ASSERT_PTR_NULL(strstr(p.reason, "near"));
    CU_ASSERT_FALSE(choose(NO_LOCALITY, "auto", "eth1", range(0, 15), range(0, 15)).pin);
}

/* This machine: memory that was asked to be on a node of it is there. */
static void memory_on_a_node(void)
{
    enum { BYTES = 1 << 20, PAGE = 4096 };
    char *near = pf_map_near(BYTES, 0);
    char *anywhere = pf_map_near(BYTES, PF_NODE_UNKNOWN);
    CU_ASSERT_PTR_NOT_NULL_FATAL(near);
    CU_ASSERT_PTR_NOT_NULL_FATAL(anywhere);
    char *untouched = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *pages[] = {near, near + BYTES - PAGE, untouched};
    int nodes[] = {7, 7, 7};
    if (pf_pages_nodes(pages, 3, nodes)) {
        CU_ASSERT_EQUAL(nodes[0], 0);
        CU_ASSERT_EQUAL(nodes[1], 0);
        CU_ASSERT_EQUAL(nodes[2], PF_NODE_UNKNOWN);
    } else {
        printf("not shown: this kernel doesn't tell ... ");
    }
    CU_ASSERT_EQUAL(near[BYTES - 1], 0);
    munmap(near, BYTES);
    munmap(anywhere, BYTES);
    munmap(untouched, PAGE);
    /* A node that there is not is no reason to fail. */
    near = pf_map_near(PAGE, 999);
    CU_ASSERT_PTR_NOT_NULL(near);
    munmap(near, PAGE);
}

/* This machine, whatever it is: applying a placement leaves the thread on CPUs it may use. */
static void applied(void)
{
    struct pf_placement placement = {.pin = true};
    cpu_set_t before;
    cpu_set_t after;
    struct pf_topology topology;
    CU_ASSERT_EQUAL(pf_process_affinity(&before, NULL), 0);
    CU_ASSERT_TRUE(CPU_COUNT(&before) > 0);
    CU_ASSERT_EQUAL_FATAL(pf_topology_load(&topology, NULL), 0);
    pf_topology_allowed_cpus(&topology, &after);
    CU_ASSERT_TRUE(CPU_COUNT(&after) >= CPU_COUNT(&before));
    pf_topology_unload(&topology);

    int cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&placement.cpus);
    CPU_SET(cpu, &placement.cpus);
    CU_ASSERT_EQUAL(pf_thread_place(&placement), 0);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof after, &after), 0);
    CU_ASSERT_TRUE(CPU_EQUAL(&after, &placement.cpus));

    placement.pin = false;
    CPU_ZERO(&placement.cpus);
    CU_ASSERT_EQUAL(pf_thread_place(&placement), 0);
    placement.pin = true;
    CU_ASSERT_EQUAL(pf_thread_place(&placement), -EINVAL);
    CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof before, &before), 0);
}

/* The one interface that every machine has. */
static void nic_of_host(void)
{
    char nic[IF_NAMESIZE];
    CU_ASSERT_TRUE(pf_nic_of_host("127.0.0.1", true, nic));
    CU_ASSERT_STRING_EQUAL(nic, "lo");
    CU_ASSERT_TRUE(pf_nic_of_host("127.0.0.1", false, nic));
    CU_ASSERT_STRING_EQUAL(nic, "lo");
    CU_ASSERT_FALSE(pf_nic_of_host("0.0.0.0", true, nic));
    CU_ASSERT_FALSE(pf_nic_of_host("192.0.2.1", true, nic));
    CU_ASSERT_FALSE(pf_nic_of_host("", true, nic));
    CU_ASSERT_FALSE(pf_nic_of_host("no host has this name", false, nic));
    CU_ASSERT_STRING_EQUAL(nic, "");
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"NIC nodes", nic_nodes},
        {"node CPUs", node_cpus},
        {"bad sources", bad_sources},
        {"none", none},
        {"near and away", near_and_away},
        {"off whole cores", off_whole_cores},
        {"away before near", away_before_near},
        {"siblings", siblings},
        {"unpinned job", unpinned_job},
        {"few CPUs", few_cpus},
        {"no topology", no_topology},
        {"asked node", asked_node},
        {"bad nodes", bad_nodes},
        {"names of a NIC", names_of_a_nic},
        {"list of NICs", list_of_nics},
        {"two rails", two_rails},
        {"restricted cpuset", restricted_cpuset},
        {"no locality", no_locality},
        {"memory on a node", memory_on_a_node},
        {"applied", applied},
        {"NIC of a host", nic_of_host},
        {NULL, NULL},
    };
    return pf_suite_run("placement", tests, argc > 1 ? argv[1] : NULL);
}
