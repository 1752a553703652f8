/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/gather.h"

#include "core/memory/guarded.h"
#include "core/memory/zero.h"

#include <string.h>

enum {
    /* Written in place by one filling: large writes reach full bandwidth, what a fault may have to
     * wait for stays short. */
    DIRECT_BYTES = 2 << 20,
    /* Of a page in parts, how much is looked at for one filling while it is all zero. */
    ZERO_AHEAD_BYTES = 64 << 20,
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Some memory of a region on its way: where it is registered, and how it is to travel. */
struct load {
    unsigned region;
    const struct pf_source_region *source;
    const struct pf_landing *landing;
    struct pf_mr *mr; /* NULL: through the bounce buffer */
    size_t covered;   /* pages that the same holds for */
};

static struct load load_at(struct pf_mover *mover, unsigned region, size_t page)
{
    struct load load = {
        .region = region,
        .source = &mover->memory->regions[region],
        .landing = &mover->landings[region],
    };
    pf_source_memory_prepare(mover->memory, region, mover->port->rail, page);
    load.mr = pf_source_memory_mr(load.source, mover->port->rail, page, &load.covered);
    return load;
}

static size_t direct_max(const struct pf_mover *mover)
{
    size_t message = mover->port->lane->device->caps.max_message;
    return least((size_t)DIRECT_BYTES > mover->stage_size ? (size_t)DIRECT_BYTES
                                                          : mover->stage_size,
                 message);
}

/* The most that one filling takes of such memory. */
static size_t most(const struct pf_mover *mover, const struct load *load)
{
    size_t bytes = load->landing->in_place ? direct_max(mover) : mover->stage_size;
    return load->mr ? bytes : least(bytes, mover->stage_size);
}

/* How much more of it this filling takes. */
static size_t room(const struct pf_outgoing *stage, const struct load *load)
{
    const struct pf_mover *mover = stage->mover;
    const struct pf_batch *batch = &stage->batch;
    size_t bytes = mover->stage_size - batch->bytes;
    if (load->landing->in_place) {
        size_t limit = direct_max(mover);
        bool full = batch->direct_count == PF_DIRECTS_MAX || batch->direct_bytes >= limit;
        bytes = full ? 0 : limit - batch->direct_bytes;
    }
    return load->mr ? bytes : least(bytes, mover->stage_size - batch->bounced);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static struct pf_sge readable(struct pf_outgoing *stage, struct pf_mr *mr,
                              const struct pf_region *region, size_t at, size_t bytes)
{
    struct pf_batch *batch = &stage->batch;
    struct pf_sge sge = {mr, region->addr + at, bytes};
    if (!mr) {
        uint8_t *copy = stage->bounce + batch->bounced;
        batch->lost |= pf_guarded_copy(copy, sge.addr, bytes) != 0;
        sge = (struct pf_sge){stage->mover->mr, copy, bytes};
        batch->bounced += bytes;
    }
    return sge;
}

void pf_batch_add(struct pf_outgoing *stage, struct pf_mr *mr, const struct pf_region *region,
                  size_t at, size_t bytes)
{
    struct pf_batch *batch = &stage->batch;
    batch->sges[batch->sge_count++] = readable(stage, mr, region, at, bytes);
    batch->bytes += bytes;
}

/* Put claimed memory on the gather list, or among the writes beside it. */
static void add_memory(struct pf_outgoing *stage, const struct load *load, size_t at, size_t bytes)
{
    struct pf_batch *batch = &stage->batch;
    if (!load->landing->in_place) {
        pf_batch_add(stage, load->mr, load->source->region, at, bytes);
        return;
    }
    batch->directs[batch->direct_count++] = (struct pf_direct){
        .sge = readable(stage, load->mr, load->source->region, at, bytes),
        .remote = load->landing->addr + at,
        .key = &load->landing->bulk[stage->mover->port->rail],
    };
    batch->direct_bytes += bytes;
}

static void count_pages(const struct pf_mover *mover, bool zero, size_t pages)
{
    struct pf_counters *counters = mover->session->counters;
    pf_count(zero ? &counters->zero_pages : &counters->normal_pages, pages);
}

/* ---- large pages ----------------------------------------------------------------------------- */

static size_t part_at(const struct pf_mover *mover, size_t page_size, uint32_t part)
{
    return least(part * mover->stage_size, page_size);
}

/* How many parts from `next` on are of one kind and fit; 0: none, this filling is full. */
static uint32_t same_parts(const struct pf_outgoing *stage, const struct load *load, bool *zero)
{
    const struct pf_mover *mover = stage->mover;
    const struct pf_large *large = &mover->large;
    size_t size = pf_region_page_size(load->source->region);
    const char *page = pf_region_page(load->source->region, large->page);
    size_t begin = part_at(mover, size, large->next);
    uint32_t part = large->next;
    *zero = false;
    for (; part_at(mover, size, part) < size; part++) {
        size_t at = part_at(mover, size, part);
        size_t end = part_at(mover, size, part + 1);
        bool same = pf_all_zero(page + at, end - at);
        if (part == large->next)
            *zero = same;
        size_t limit = *zero ? (size_t)ZERO_AHEAD_BYTES : room(stage, load);
        if (same != *zero || end - begin > limit)
            break;
    }
    return part - large->next;
}

/* Add parts of the page that was begun. False when this filling is full. */
static bool add_parts(struct pf_outgoing *stage, unsigned runs_max)
{
    struct pf_mover *mover = stage->mover;
    struct pf_batch *batch = &stage->batch;
    struct pf_large *large = &mover->large;
    struct load load = load_at(mover, large->region, large->page);
    size_t size = pf_region_page_size(load.source->region);
    while (large->begun && batch->run_count < runs_max) {
        bool zero;
        uint32_t parts = same_parts(stage, &load, &zero);
        if (parts == 0)
            return false;
        batch->runs[batch->run_count++] = (struct pf_stage_run){
            .region = large->region,
            .pages = parts,
            .first = large->page,
            .part = large->next,
            .in_parts = true,
            .zero = zero,
        };
        size_t at = part_at(mover, size, large->next);
        large->next += parts;
        size_t end = part_at(mover, size, large->next);
        if (!zero)
            add_memory(stage, &load, (large->page << load.source->region->page_shift) + at,
                       end - at);
        large->begun = end < size;
    }
    return !large->begun;
}

static bool begin_large(struct pf_outgoing *stage, struct pf_source_region *source, size_t page,
                        unsigned runs_max)
{
    struct pf_mover *mover = stage->mover;
    mover->background.page = page + 1;
    if (pf_pageset_claim(&source->unsent, page, 1) == 0)
        return true;
    mover->large = (struct pf_large){
        .begun = true,
        .region = mover->background.region,
        .page = page,
    };
    count_pages(mover, false, 1);
    return add_parts(stage, runs_max);
}

/* ---- gathering ------------------------------------------------------------------------------- */

/*
 * Claim the next stretch of pages that is of one kind and in one registration, and add it. False
 * when no more fits. The pages are looked at before they are claimed: nothing claimed is put back
 * as long as its rail lives.
 */
static bool add_run(struct pf_outgoing *stage, struct pf_run run, unsigned runs_max)
{
    struct pf_mover *mover = stage->mover;
    struct pf_batch *batch = &stage->batch;
    struct pf_source_region *source = &mover->memory->regions[mover->background.region];
    unsigned shift = source->region->page_shift;
    struct load load = load_at(mover, mover->background.region, run.first);
    if (pf_region_page_size(source->region) > most(mover, &load))
        return begin_large(stage, source, run.first, runs_max);
    bool zero;
    size_t pages = pf_same_kind(pf_region_page(source->region, run.first), (size_t)1 << shift,
                                run.pages, &zero);
    if (!zero)
        pages = least(least(pages, room(stage, &load) >> shift), load.covered);
    if (pages == 0)
        return false;
    pages = pf_pageset_claim(&source->unsent, run.first, pages);
    mover->background.page = run.first + (pages ? pages : 1);
    if (pages == 0)
        return true;
    batch->runs[batch->run_count++] = (struct pf_stage_run){
        .region = mover->background.region,
        .pages = (uint32_t)pages,
        .first = run.first,
        .zero = zero,
    };
    if (!zero)
        add_memory(stage, &load, run.first << shift, pages << shift);
    count_pages(mover, zero, pages);
    return true;
}

void pf_batch_begin(struct pf_batch *batch)
{
    batch->run_count = batch->direct_count = 0;
    batch->sge_count = 1; /* the header goes first */
    batch->bytes = batch->direct_bytes = batch->bounced = 0;
    batch->lost = false;
}

/*
 * The parts of a page are put together in the order in which stages are completed: where writes are
 * not ordered, one has to be back before the next leaves.
 */
static bool must_wait(const struct pf_mover *mover)
{
    return mover->large.begun && mover->under_way > 0 &&
           !mover->port->lane->device->caps.ordered_writes;
}

size_t pf_gather_most(const struct pf_mover *mover)
{
    return pf_background_bytes(&mover->background, direct_max(mover));
}

void pf_gather(struct pf_outgoing *stage)
{
    struct pf_mover *mover = stage->mover;
    struct pf_batch *batch = &stage->batch;
    unsigned runs_max = mover->gather * mover->parts_max - 1;
    if (runs_max > PF_STAGE_RUNS_MAX)
        runs_max = PF_STAGE_RUNS_MAX;
    pf_batch_begin(batch);
    if (must_wait(mover) || (mover->large.begun && !add_parts(stage, runs_max)))
        return;
    size_t bytes_max = least(mover->allowed, pf_gather_most(mover));
    while (batch->run_count < runs_max && batch->bytes + batch->direct_bytes < bytes_max) {
        struct pf_run run = pf_supply_next(&mover->supply, &mover->background,
                                           bytes_max - batch->bytes - batch->direct_bytes);
        if (run.pages == 0 || !add_run(stage, run, runs_max))
            break;
    }
}
