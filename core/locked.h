/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PF_CORE_LOCKED_H
#define PF_CORE_LOCKED_H

#include <stddef.h>

/*
 * Memory for slots and stages: mapped, touched and locked before the job runs, so that using it
 * never faults. Without the right to lock it is touched at least. NULL: no memory. munmap() frees.
 */
void *pf_map_locked(size_t bytes);

#endif
