/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/round_stage.h"

#include "core/memory/guarded.h"
#include "core/send/gather.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- which way ------------------------------------------------------------------------------- */

/* All zero: nothing to do where the destination has zeros already. */
static void route_zeros(struct pf_source_region *source, struct pf_route *route)
{
    struct pf_run landed = pf_pageset_next_within(&source->landed, route->run, route->run.pages);
    if (landed.pages > 0 && landed.first == route->run.first) {
        route->way = PF_WAY_ZERO;
        route->run.pages = landed.pages;
    } else {
        route->way = PF_WAY_NOTHING;
        if (landed.pages > 0)
            route->run.pages = landed.first - route->run.first;
    }
}

static void route_data(struct pf_mover *mover, struct pf_source_region *source,
                       struct pf_route *route)
{
    size_t covered;
    size_t registered;
    enum pf_window_state state =
        pf_windows_find(mover->round.windows, source, route->region, route->run.first,
                        &route->window, &route->window_first, &covered);
    if (state == PF_WINDOW_NONE || state == PF_WINDOW_ASKED) {
        route->way = PF_WAY_WAIT;
        return;
    }
    pf_source_memory_prepare(mover->memory, route->region, mover->port->rail, route->run.first);
    route->mr = pf_source_memory_mr(source, mover->port->rail, route->run.first, &registered);
    route->way = state == PF_WINDOW_OPEN && route->mr ? PF_WAY_DIRECT : PF_WAY_STAGED;
    route->run.pages = least(least(route->run.pages, covered), registered);
}

bool pf_route_find(struct pf_mover *mover, struct pf_route *route)
{
    struct pf_run run = pf_supply_next(&mover->supply, &mover->background, mover->allowed);
    if (run.pages == 0)
        return false;
    bool zero = false;
    *route = (struct pf_route){.region = mover->background.region, .run = run};
    struct pf_source_region *source = &mover->memory->regions[route->region];
    route->run.pages = pf_guarded_same_kind(pf_region_page(source->region, run.first),
                                            pf_region_page_size(source->region), run.pages, &zero);
    if (route->run.pages == 0)
        route->way = PF_WAY_LOST;
    else if (zero)
        route_zeros(source, route);
    else if (pf_route_packs(mover))
        route->way = PF_WAY_PACKED;
    else
        route_data(mover, source, route);
    return true;
}

size_t pf_route_claim(struct pf_mover *mover, const struct pf_route *route)
{
    struct pf_source_region *source = &mover->memory->regions[route->region];
    struct pf_counters *counters = mover->session->counters;
    size_t pages = pf_pageset_claim(&source->unsent, route->run.first, route->run.pages);
    struct pf_run claimed = {route->run.first, pages};
    bool zero = route->way == PF_WAY_NOTHING || route->way == PF_WAY_ZERO;
    mover->background.page = route->run.first + (pages ? pages : 1);
    if (route->way == PF_WAY_ZERO)
        pf_pageset_remove_run(&source->landed, claimed);
    else if (!zero)
        pf_pageset_add_run(&source->landed, claimed);
    pf_count(zero ? &counters->zero_pages : &counters->normal_pages, pages);
    return pages;
}

/* ---- stages ---------------------------------------------------------------------------------- */

static size_t room(const struct pf_outgoing *stage, const struct pf_route *route)
{
    const struct pf_mover *mover = stage->mover;
    size_t bytes = mover->stage_size - stage->batch.bytes;
    return route->mr ? bytes : least(bytes, mover->stage_size - stage->batch.bounced);
}

/* False if it does not fit, or is lost. */
static bool add(struct pf_outgoing *stage, struct pf_route *route)
{
    struct pf_mover *mover = stage->mover;
    struct pf_batch *batch = &stage->batch;
    const struct pf_region *region = mover->memory->regions[route->region].region;
    if (route->way == PF_WAY_STAGED)
        route->run.pages = least(route->run.pages, room(stage, route) >> region->page_shift);
    if (route->run.pages == 0)
        return false;
    size_t pages = pf_route_claim(mover, route);
    if (pages == 0)
        return true;
    batch->runs[batch->run_count++] = (struct pf_stage_run){
        .region = route->region,
        .pages = (uint32_t)pages,
        .first = route->run.first,
        .zero = route->way == PF_WAY_ZERO,
    };
    if (route->way == PF_WAY_STAGED)
        pf_batch_add(stage, route->mr, region, route->run.first << region->page_shift,
                     pages << region->page_shift);
    return !batch->lost;
}

static unsigned runs_max(const struct pf_mover *mover)
{
    unsigned most = mover->gather * mover->parts_max - 1;
    return most < PF_STAGE_RUNS_MAX ? most : PF_STAGE_RUNS_MAX;
}

void pf_round_stage_fill(struct pf_outgoing *stage, struct pf_route route)
{
    struct pf_mover *mover = stage->mover;
    pf_batch_begin(&stage->batch);
    do {
        bool large =
            pf_region_page_size(mover->memory->regions[route.region].region) > mover->stage_size &&
            route.way == PF_WAY_STAGED;
        if (large || !add(stage, &route))
            break;
    } while (stage->batch.run_count < runs_max(mover) && stage->batch.bytes < mover->allowed &&
             !atomic_load(&mover->round.halt) && pf_route_find(mover, &route) &&
             (route.way == PF_WAY_STAGED || route.way == PF_WAY_ZERO));
}

void pf_round_stage_part(struct pf_outgoing *stage, struct pf_claimed *claimed)
{
    struct pf_mover *mover = stage->mover;
    struct pf_source_region *source = &mover->memory->regions[claimed->region];
    size_t begin = claimed->page << source->region->page_shift;
    size_t bytes = least(claimed->left, mover->stage_size);
    size_t registered;
    struct pf_mr *mr = pf_source_memory_mr(source, mover->port->rail, claimed->page, &registered);
    pf_batch_begin(&stage->batch);
    stage->batch.runs[stage->batch.run_count++] = (struct pf_stage_run){
        .region = claimed->region,
        .pages = 1,
        .first = claimed->page,
        .part = (uint32_t)((claimed->at - begin) / mover->stage_size),
        .in_parts = true,
    };
    pf_batch_add(stage, mr, source->region, claimed->at, bytes);
    claimed->at += bytes;
    claimed->left -= bytes;
}
