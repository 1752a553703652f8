/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/fetch.h"

#include <stdlib.h>

int pf_fetch_open(struct pf_fetch *fetch, struct pf_arrival *arrival, struct pf_why *why)
{
    *fetch = (struct pf_fetch){.arrival = arrival};
    fetch->regions = calloc(arrival->count ? arrival->count : 1, sizeof *fetch->regions);
    for (unsigned i = 0; fetch->regions && i < arrival->count; i++) {
        fetch->count = i + 1;
        if (pf_pageset_init(&fetch->regions[i].unsent, arrival->list[i].missing.pages))
            return pf_why(why, -ENOMEM, "no memory for the page set of region \"%s\"",
                          arrival->list[i].region->name);
    }
    return fetch->regions ? 0 : pf_why(why, -ENOMEM, "no memory for the table of keys");
}

void pf_fetch_close(struct pf_fetch *fetch)
{
    for (unsigned i = 0; i < fetch->count; i++) {
        pf_pageset_free(&fetch->regions[i].unsent);
        free(fetch->regions[i].extents);
    }
    free(fetch->regions);
    *fetch = (struct pf_fetch){.count = 0};
}

/* ---- what the source tells ------------------------------------------------------------------- */

static bool extent_fits(const struct pf_arriving *arriving, const struct pf_fetch_region *region,
                        const struct pf_remote_extent *extent)
{
    size_t pages = arriving->missing.pages;
    size_t from = 0;
    if (region->count > 0) {
        const struct pf_remote_extent *last = &region->extents[region->count - 1];
        from = last->first + last->pages;
    }
    if (extent->first < from || extent->first >= pages || extent->pages == 0 ||
        extent->pages > pages - extent->first)
        return false;
    uint64_t bytes = (uint64_t)extent->pages << arriving->region->page_shift;
    return extent->address % PF_PAGE_SIZE == 0 && extent->address <= UINT64_MAX - bytes;
}

static struct pf_remote_extent *next_extent(struct pf_fetch_region *region)
{
    if (region->count == region->room) {
        unsigned room = region->room ? 2 * region->room : 4;
        void *larger = realloc(region->extents, room * sizeof *region->extents);
        if (!larger)
            return NULL;
        region->extents = larger;
        region->room = room;
    }
    return &region->extents[region->count++];
}

int pf_fetch_add(struct pf_fetch *fetch, unsigned region, const struct pf_remote_extent *extent,
                 struct pf_why *why)
{
    if (region >= fetch->count)
        return pf_why(why, -EPROTO, "the source sent keys for region %u: there is none", region);
    const struct pf_arriving *arriving = &fetch->arrival->list[region];
    if (!extent_fits(arriving, &fetch->regions[region], extent))
        return pf_why(why, -EPROTO,
                      "the source sent a key for %zu pages from %zu of region \"%s\": outside of "
                      "it, out of order or overlapping",
                      extent->pages, extent->first, arriving->region->name);
    if (fetch->extents++ >= PF_KEYS_MAX)
        return pf_why(why, -EPROTO, "the source sent more than %d keys", PF_KEYS_MAX);
    struct pf_remote_extent *added = next_extent(&fetch->regions[region]);
    if (!added)
        return pf_why(why, -ENOMEM, "no memory for the source's keys");
    *added = *extent;
    return 0;
}

/* The first missing page that no extent covers, or the number of pages. */
static size_t first_uncovered(struct pf_pageset *missing, const struct pf_fetch_region *region)
{
    size_t at = 0;
    for (unsigned i = 0; i <= region->count; i++) {
        const struct pf_remote_extent *extent = i < region->count ? &region->extents[i] : NULL;
        size_t end = extent ? extent->first : missing->pages;
        struct pf_run run = pf_pageset_next_upto(missing, at, 1);
        if (run.pages > 0 && run.first < end)
            return run.first;
        at = extent ? extent->first + extent->pages : end;
    }
    return missing->pages;
}

static void copy_set(struct pf_pageset *to, struct pf_pageset *from)
{
    for (size_t at = 0; at < from->pages;) {
        struct pf_run run = pf_pageset_next(from, at);
        if (run.pages == 0)
            return;
        pf_pageset_add_run(to, run);
        at = run.first + run.pages;
    }
}

int pf_fetch_ready(struct pf_fetch *fetch, struct pf_why *why)
{
    for (unsigned i = 0; i < fetch->count; i++) {
        struct pf_arriving *arriving = &fetch->arrival->list[i];
        size_t page = first_uncovered(&arriving->missing, &fetch->regions[i]);
        if (page < arriving->missing.pages)
            return pf_why(why, -EPROTO,
                          "the source sent no key for page %zu of region \"%s\", which is to come",
                          page, arriving->region->name);
        copy_set(&fetch->regions[i].unsent, &arriving->missing);
    }
    return 0;
}

/* ---- where a page is ------------------------------------------------------------------------- */

/* The last extent that begins at or before the page. */
static const struct pf_remote_extent *find(const struct pf_fetch_region *region, size_t page)
{
    unsigned low = 0;
    unsigned high = region->count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (region->extents[middle].first <= page)
            low = middle;
        else
            high = middle;
    }
    return &region->extents[low];
}

struct pf_remote_place pf_fetch_place(const struct pf_fetch *fetch, unsigned region, size_t page)
{
    const struct pf_remote_extent *extent = find(&fetch->regions[region], page);
    unsigned shift = fetch->arrival->list[region].region->page_shift;
    return (struct pf_remote_place){
        .address = extent->address + ((uint64_t)(page - extent->first) << shift),
        .pages = extent->first + extent->pages - page,
        .extent = extent,
    };
}
