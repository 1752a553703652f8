/* SPDX-License-Identifier: BSD-2-Clause */
/* On which memory nodes pages lie. */
#ifndef PF_NUMA_PAGES_H
#define PF_NUMA_PAGES_H

#include <stdbool.h>

/*
 * The node of each of `count` pages of this process; PF_NODE_UNKNOWN for one that is not there.
 * Touches none of them. False where the kernel can't tell.
 */
bool pf_pages_nodes(void *const *pages, unsigned long count, int *nodes);

#endif
