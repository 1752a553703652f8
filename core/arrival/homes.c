/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/homes.h"

#include <errno.h>
#include <stdlib.h>

int pf_homes_track(const struct pf_arrival *arrival, struct pf_target *target)
{
    pf_target_forget(target);
    target->gone = calloc(arrival->count, sizeof *target->gone);
    for (unsigned i = 0; target->gone && i < arrival->count; i++) {
        target->gone_count = i + 1;
        if (pf_pageset_init(&target->gone[i], arrival->list[i].missing.pages))
            pf_target_forget(target);
    }
    return target->gone ? 0 : -ENOMEM;
}

bool pf_homes_due(const struct pf_target *target, unsigned region, size_t page)
{
    return !target->gone || !pf_pageset_has(&target->gone[region], page);
}

static int place_in(const struct pf_arrival *arrival, const struct pf_target *home, unsigned region,
                    size_t page, const char *from)
{
    const struct pf_arriving *arriving = &arrival->list[region];
    size_t bytes = pf_region_page_size(arriving->region);
    uint64_t offset = (uint64_t)page << arriving->region->page_shift;
    const struct pf_view *view = pf_target_shows(home, region, offset);
    size_t done;
    if (!view || !pf_homes_due(home, region, page))
        return PF_PLACED_UNMAPPED;
    char *to = (char *)(uintptr_t)(view->addr + (offset - view->offset));
    int result = pf_uffd_copy(home->uffd, to, from ? from : arrival->zeros, bytes, &done);
    if (result == PF_PLACED_EXISTS)
        pf_uffd_wake(home->uffd, to, bytes);
    return result;
}

int pf_homes_place(struct pf_arrival *arrival, unsigned region, size_t page, const char *from)
{
    for (unsigned i = 0; i < arrival->targets.count; i++) {
        const struct pf_target *home = arrival->targets.list[i];
        int result = home->home ? place_in(arrival, home, region, page, from) : 0;
        if (result == PF_PLACED_AGAIN)
            return -EAGAIN;
        if (result < 0 && !home->child)
            return result;
    }
    return 0;
}

static bool due_anywhere(const struct pf_arrival *arrival, unsigned region, size_t page)
{
    for (unsigned i = 0; i < arrival->targets.count; i++)
        if (arrival->targets.list[i]->home && pf_homes_due(arrival->targets.list[i], region, page))
            return true;
    return false;
}

void pf_homes_given_back(struct pf_arrival *arrival, struct pf_target *target, unsigned region,
                         struct pf_run run)
{
    /* Before a fork nobody else wants them. */
    if (!pf_homes_several(arrival) || !target->gone) {
        pf_arrival_received(arrival, region, run);
        return;
    }
    pf_pageset_add_run(&target->gone[region], run);
    for (size_t page = run.first; page < run.first + run.pages; page++)
        if (!due_anywhere(arrival, region, page))
            pf_arrival_received(arrival, region, (struct pf_run){page, 1});
}
