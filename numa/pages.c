/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/pages.h"

#include "numa/topology.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

bool pf_pages_nodes(void *const *pages, unsigned long count, int *nodes)
{
    /* Without wanted nodes move_pages(2) moves nothing and tells where each page is. */
    if (syscall(SYS_move_pages, 0, count, pages, NULL, nodes, 0) != 0)
        return false;
    for (unsigned long i = 0; i < count; i++)
        if (nodes[i] < 0)
            nodes[i] = PF_NODE_UNKNOWN;
    return true;
}

void pf_pages_prefer(void *memory, size_t bytes, int node)
{
    enum { BITS = 8 * sizeof(unsigned long), NODES_MAX = 1024 };
    unsigned long nodes[NODES_MAX / BITS] = {0};
    if (node < 0 || node >= NODES_MAX)
        return;
    nodes[node / BITS] = 1ul << (node % BITS);
    /* Not MPOL_BIND: a node that is full would have the kernel kill somebody. */
    long result = syscall(SYS_mbind, memory, bytes, MPOL_PREFERRED, nodes, NODES_MAX + 1ul, 0);
    (void)result;
}
