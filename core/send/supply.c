/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/supply.h"

void pf_supply_init(struct pf_supply *supply, struct pf_source_memory *memory, unsigned rail)
{
    *supply = (struct pf_supply){.memory = memory, .rail = rail};
}

static size_t fitting(const struct pf_source_region *source, size_t bytes)
{
    size_t pages = bytes >> source->region->page_shift;
    return pages ? pages : 1;
}

/* ---- its own --------------------------------------------------------------------------------- */

static struct pf_run own_in_region(const struct pf_supply *supply, struct pf_source_region *source,
                                   size_t page, size_t most)
{
    while (page < source->unsent.pages) {
        struct pf_run own = pf_stripes_own(&source->stripes, supply->rail, page);
        size_t end = own.first + own.pages;
        struct pf_run run = pf_pageset_next_within(&source->unsent, own, most);
        if (own.pages == 0 || run.pages > 0)
            return run;
        page = end;
    }
    return (struct pf_run){0, 0};
}

static struct pf_run own_run(const struct pf_supply *supply, struct pf_background *cursor,
                             size_t bytes)
{
    unsigned count = supply->memory->count;
    for (unsigned tried = 0; tried <= count; tried++) {
        struct pf_source_region *source = &supply->memory->regions[cursor->region];
        struct pf_run run = own_in_region(supply, source, cursor->page, fitting(source, bytes));
        if (run.pages > 0)
            return run;
        pf_background_next_region(cursor, count);
    }
    return (struct pf_run){0, 0};
}

/* ---- others' --------------------------------------------------------------------------------- */

static void begin_helping(struct pf_supply *supply, const struct pf_background *cursor)
{
    supply->helping = true;
    supply->returns = atomic_load(&supply->memory->returns);
    supply->region = cursor->region;
    supply->stripe = supply->memory->regions[supply->region].stripes.count;
}

static struct pf_run others_in_region(struct pf_supply *supply, size_t bytes)
{
    struct pf_source_region *source = &supply->memory->regions[supply->region];
    for (; supply->stripe > 0; supply->stripe--) {
        struct pf_run stripe = pf_stripes_at(&source->stripes, supply->stripe - 1);
        struct pf_run run = pf_pageset_next_within(&source->unsent, stripe, fitting(source, bytes));
        if (run.pages > 0)
            return run;
    }
    return (struct pf_run){0, 0};
}

static struct pf_run others_run(struct pf_supply *supply, struct pf_background *cursor,
                                size_t bytes)
{
    unsigned count = supply->memory->count;
    for (unsigned tried = 0; tried <= count; tried++) {
        struct pf_run run = others_in_region(supply, bytes);
        if (run.pages > 0) {
            cursor->region = supply->region;
            cursor->page = run.first;
            return run;
        }
        supply->region = (supply->region + 1) % count;
        supply->stripe = supply->memory->regions[supply->region].stripes.count;
    }
    return (struct pf_run){0, 0};
}

struct pf_run pf_supply_next(struct pf_supply *supply, struct pf_background *cursor, size_t bytes)
{
    /* Also of a job that has nothing but state. */
    if (pf_source_memory_unsent(supply->memory) == 0)
        return (struct pf_run){0, 0};
    if (supply->helping && supply->returns != atomic_load(&supply->memory->returns))
        supply->helping = false;
    if (!supply->helping) {
        struct pf_run run = own_run(supply, cursor, bytes);
        if (run.pages > 0)
            return run;
        begin_helping(supply, cursor);
    }
    return others_run(supply, cursor, bytes);
}
