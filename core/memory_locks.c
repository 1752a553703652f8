/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory_locks.h"

#include "base/log.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* True if a mapping in the region carries the flag "lo" (VM_LOCKED) in /proc/self/smaps. */
static bool is_locked(const struct pf_region *region)
{
    uintptr_t first = (uintptr_t)region->addr;
    char line[512];
    bool inside = false;
    bool locked = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    while (smaps && !locked && fgets(line, sizeof line, smaps)) {
        unsigned long start;
        unsigned long end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start < first + region->bytes && end > first;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            locked = strstr(line, " lo") != NULL;
    }
    if (smaps)
        fclose(smaps);
    return locked;
}

void pf_memory_locks_release(struct pf_memory_locks *locks, const struct pf_regions *regions)
{
    locks->released = true;
    for (unsigned i = 0; i < regions->count; i++) {
        const struct pf_region *region = &regions->list[i];
        locks->region[i] = !region->foreign && is_locked(region);
        if (locks->region[i])
            munlock(region->addr, region->bytes);
    }
}

void pf_memory_locks_restore(struct pf_memory_locks *locks, const struct pf_regions *regions)
{
    if (!locks->released)
        return;
    locks->released = false;
    for (unsigned i = 0; i < regions->count; i++) {
        const struct pf_region *region = &regions->list[i];
        if (locks->region[i] && mlock(region->addr, region->bytes))
            pf_warn("region \"%s\" could not be locked again after the migration: %s", region->name,
                    strerror(errno));
    }
}
