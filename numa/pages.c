/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/pages.h"

#include "numa/topology.h"

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
