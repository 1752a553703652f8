/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * userfaultfd and mlock don't go together: a locked range is populated when it is locked, and a
 * page of it can't be discarded. Locks are taken off for the time of post-copy and put back after.
 */
#ifndef PF_CORE_MEMORY_MEMORY_LOCKS_H
#define PF_CORE_MEMORY_MEMORY_LOCKS_H

#include "core/memory/region.h"

#include <stdbool.h>

struct pf_memory_locks {
    bool released;
    bool region[PF_REGIONS_MAX];
};

/*
 * Find out which regions are locked (by mlock, or mlockall), and unlock them. One that is locked
 * in part counts as locked. Once released they stay so until they are restored.
 */
void pf_memory_locks_release(struct pf_memory_locks *locks, const struct pf_regions *regions);

/* Lock again what was locked. Harmless if nothing was released. */
void pf_memory_locks_restore(struct pf_memory_locks *locks, const struct pf_regions *regions);

#endif
