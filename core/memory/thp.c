/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/thp.h"

#include "core/memory/mappings.h"
#include "core/memory/pagemap.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

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

static bool present(int pagemap, const struct pf_region *region)
{
    struct pf_scan_range found;
    struct pf_scan_request request = {
        .size = sizeof request,
        .start = (uintptr_t)region->addr,
        .end = (uintptr_t)region->addr + region->bytes,
        .vec = (uintptr_t)&found,
        .vec_len = 1,
        .max_pages = 1,
        .category_mask = PF_SCAN_HUGE,
        .return_mask = PF_SCAN_HUGE,
    };
    return ioctl(pagemap, PF_SCAN_IOCTL, &request) != 0;
}

bool pf_thp_present(const struct pf_regions *regions)
{
    int pagemap = pf_pagemap_open(NULL);
    bool any = pagemap < 0;
    for (unsigned i = 0; i < regions->count && !any; i++)
        any = !regions->list[i].foreign && !pf_region_huge(&regions->list[i]) &&
              present(pagemap, &regions->list[i]);
    if (pagemap >= 0)
        close(pagemap);
    return any;
}

void pf_thp_off(const struct pf_region *region)
{
    madvise(region->addr, region->bytes, MADV_NOHUGEPAGE);
}

void pf_thp_on(const struct pf_region *region)
{
    madvise(region->addr, region->bytes, MADV_HUGEPAGE);
}
