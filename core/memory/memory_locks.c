/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/memory_locks.h"

#include "base/log.h"
#include "core/memory/mappings.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void find_locked(struct pf_memory_locks *locks, const struct pf_regions *regions)
{
    struct pf_mappings mappings;
    struct pf_mapping mapping;
    memset(locks->region, 0, sizeof locks->region);
    if (pf_mappings_open(&mappings))
        return;
    while (pf_mappings_next(&mappings, &mapping))
        for (unsigned i = 0; mapping.locked && i < regions->count; i++)
            if (!regions->list[i].foreign &&
                pf_mapping_overlaps(&mapping, regions->list[i].addr, regions->list[i].bytes))
                locks->region[i] = true;
    pf_mappings_close(&mappings);
}

void pf_memory_locks_release(struct pf_memory_locks *locks, const struct pf_regions *regions)
{
    if (locks->released)
        return;
    locks->released = true;
    find_locked(locks, regions);
    for (unsigned i = 0; i < regions->count; i++)
        if (locks->region[i])
            munlock(regions->list[i].addr, regions->list[i].bytes);
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
