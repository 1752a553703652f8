/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PF_CORE_MEMORY_LOCKED_H
#define PF_CORE_MEMORY_LOCKED_H

#include <stddef.h>

/*
 * Memory that a NIC reads or writes, near it: mapped with a preference for a memory node (or
 * PF_NODE_UNKNOWN) and touched. NULL: no memory. munmap() frees.
 */
void *pf_map_near(size_t bytes, int node);

/*
 * The same for slots and stages, locked, too, before the job runs, so that using it never faults.
 * Without the right to lock it is touched at least.
 */
void *pf_map_locked(size_t bytes, int node);

#endif
