/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/thp.h"

#include "core/mappings.h"

#include <sys/mman.h>

static void note(const struct pf_region *region, const struct pf_mapping *mapping, bool *may,
                 bool *never)
{
    if (region->foreign || pf_region_huge(region) ||
        !pf_mapping_overlaps(mapping, region->addr, region->bytes))
        return;
    *may |= mapping->thp_on || (mapping->thp_eligible && !mapping->thp_off);
    *never |= mapping->thp_off;
}

void pf_thp_note(const struct pf_regions *regions, bool may[], bool never[])
{
    struct pf_mappings mappings;
    struct pf_mapping mapping;
    if (pf_mappings_open(&mappings))
        return;
    while (pf_mappings_next(&mappings, &mapping))
        for (unsigned i = 0; i < regions->count; i++)
            note(&regions->list[i], &mapping, &may[i], &never[i]);
    pf_mappings_close(&mappings);
}

void pf_thp_off(const struct pf_region *region)
{
    madvise(region->addr, region->bytes, MADV_NOHUGEPAGE);
}

void pf_thp_on(const struct pf_region *region)
{
    madvise(region->addr, region->bytes, MADV_HUGEPAGE);
}
