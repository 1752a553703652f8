/* SPDX-License-Identifier: BSD-2-Clause */
/* On which memory nodes pages lie, and where new ones come from. */
#ifndef PF_NUMA_PAGES_H
#define PF_NUMA_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The node of each of `count` pages of this process; PF_NODE_UNKNOWN for one that is not there.
 * Touches none of them. False where the kernel can't tell.
 */
bool pf_pages_nodes(void *const *pages, unsigned long count, int *nodes);

/*
 * Let memory that is mapped and not touched yet come from a node, as long as it has some left.
 * PF_NODE_UNKNOWN leaves the choice to the kernel, and so does a kernel that can't do it.
 */
void pf_pages_prefer(void *memory, size_t bytes, int node);

#endif
