/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The longest single placement inside the gate: 64 KiB runs reach full UFFDIO_COPY bandwidth, and
 * the fault thread waits for at most one of them (about 11 us).
 */
enum { STEP_PAGES = 16 };

/* ---- opening --------------------------------------------------------------------------------- */

static int open_region(struct pf_arrival *arrival, unsigned id, const struct pf_region *region)
{
    struct pf_arriving *arriving = &arrival->list[id];
    arriving->region = region;
    arriving->home = &arrival->own;
    if (!region->foreign)
        pf_target_show(&arrival->own, &(struct pf_view){.addr = (uintptr_t)region->addr,
                                                        .bytes = region->bytes,
                                                        .region = id});
    int error = pf_pageset_init(&arriving->missing, pf_region_pages(region));
    return error ? error : pf_pageset_init(&arriving->requested, pf_region_pages(region));
}

int pf_arrival_open(struct pf_arrival *arrival, struct pf_regions *regions,
                    struct pf_counters *counters, int done_fd, struct pf_why *why)
{
    const uint64_t wanted = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
                            UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_THREAD_ID;
    *arrival = (struct pf_arrival){
        .regions = regions,
        .counters = counters,
        .uffd = {.fd = -1},
        .done_fd = done_fd,
    };
    arrival->zeros = calloc(1, PF_PAGE_SIZE);
    arrival->list = calloc(regions->count ? regions->count : 1, sizeof *arrival->list);
    if (pf_target_init(&arrival->own, &arrival->uffd, true, regions->count) || !arrival->list ||
        !arrival->zeros)
        return pf_why(why, -ENOMEM, "no memory for the region table");
    for (unsigned i = 0; i < regions->count; i++) {
        arrival->count = i + 1;
        if (open_region(arrival, i, &regions->list[i]))
            return pf_why(why, -ENOMEM, "no memory for the page sets of region \"%s\"",
                          regions->list[i].name);
    }
    int error = pf_targets_open(&arrival->targets, &arrival->gate, why);
    if (error || arrival->own.count == 0)
        return error;
    error = pf_uffd_open(&arrival->uffd, wanted, why);
    return error ? error : pf_uffd_probe(&arrival->uffd, why);
}

void pf_arrival_close(struct pf_arrival *arrival)
{
    pf_arrival_disarm(arrival);
    pf_uffd_close(&arrival->uffd);
    pf_targets_close(&arrival->targets);
    pf_target_free(&arrival->own);
    for (unsigned i = 0; i < arrival->count; i++) {
        pf_pageset_free(&arrival->list[i].missing);
        pf_pageset_free(&arrival->list[i].requested);
    }
    free(arrival->list);
    free(arrival->zeros);
    *arrival = (struct pf_arrival){.uffd = {.fd = -1}};
}

int pf_arrival_probe(struct pf_arrival *arrival, struct pf_why *why)
{
    for (unsigned i = 0; i < arrival->count; i++) {
        const struct pf_region *region = arrival->list[i].region;
        bool zeropage;
        if (region->foreign)
            continue;
        if (region->bytes & (pf_region_page_size(region) - 1))
            return pf_why(why, -EINVAL, "region \"%s\": %zu bytes is no multiple of its page size",
                          region->name, region->bytes);
        int error = pf_uffd_register(&arrival->uffd, region->addr, region->bytes, &zeropage);
        if (error)
            return pf_why(why, error,
                          "region \"%s\" can't be post-copied: the kernel serves missing pages of "
                          "private anonymous memory only (%s)",
                          region->name, strerror(-error));
        pf_uffd_unregister(&arrival->uffd, region->addr, region->bytes);
    }
    return 0;
}

bool pf_arrival_expect(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    if (region >= arrival->count)
        return false;
    struct pf_pageset *missing = &arrival->list[region].missing;
    if (run.first >= missing->pages || run.pages > missing->pages - run.first)
        return false;
    atomic_fetch_add(&arrival->missing_pages, pf_pageset_add_run(missing, run));
    return true;
}

/* ---- arming ---------------------------------------------------------------------------------- */

static int arm_region(struct pf_arrival *arrival, struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    /* A child forked now would read zeros without a fault: keep the region to ourselves. */
    if (madvise(region->addr, region->bytes, MADV_DONTFORK) ||
        madvise(region->addr, region->bytes, MADV_DONTNEED))
        return pf_why(why, -errno, "region \"%s\" cannot be emptied: %s", region->name,
                      strerror(errno));
    bool zeropage;
    int error = pf_uffd_register(&arrival->uffd, region->addr, region->bytes, &zeropage);
    if (error)
        return pf_why(why, error, "region \"%s\" cannot be registered with userfaultfd: %s",
                      region->name, strerror(-error));
    /* Atomic: threads that place pages run already. */
    atomic_store(&arriving->zeropage, zeropage);
    arriving->armed = true;
    return 0;
}

int pf_arrival_arm(struct pf_arrival *arrival, struct pf_why *why)
{
    for (unsigned i = 0; i < arrival->count; i++) {
        int error =
            arrival->list[i].region->foreign ? 0 : arm_region(arrival, &arrival->list[i], why);
        if (error)
            return error;
    }
    return 0;
}

void pf_arrival_disarm(struct pf_arrival *arrival)
{
    for (unsigned i = 0; i < arrival->count; i++) {
        struct pf_arriving *arriving = &arrival->list[i];
        if (!arriving->armed)
            continue;
        pf_uffd_unregister(&arrival->uffd, arriving->region->addr, arriving->region->bytes);
        madvise(arriving->region->addr, arriving->region->bytes, MADV_DOFORK);
        arriving->armed = false;
    }
}

enum pf_incoming_state pf_arrival_set_state(struct pf_arrival *arrival,
                                            enum pf_incoming_state state)
{
    return (enum pf_incoming_state)atomic_exchange(&arrival->state, (int)state);
}

/* ---- placing --------------------------------------------------------------------------------- */

void pf_arrival_received(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    size_t n = pf_pageset_remove_run(&arrival->list[region].missing, run);
    if (arrival->blocked)
        pf_blocked_end(arrival->blocked, region, run);
    if (n > 0 && atomic_fetch_sub(&arrival->missing_pages, n) == n) {
        ssize_t written = write(arrival->done_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written;
    }
}

bool pf_arrival_fits(const struct pf_arrival *arrival, const struct pf_stage_run *run, size_t left)
{
    if (run->region >= arrival->count || run->pages == 0)
        return false;
    const struct pf_region *region = arrival->list[run->region].region;
    size_t pages = pf_region_pages(region);
    if (run->first >= pages || run->pages > pages - run->first)
        return false;
    return run->zero || run->pages <= left >> region->page_shift;
}

static void advance(struct pf_placing *placing, unsigned page_shift, size_t pages)
{
    placing->run.first += pages;
    placing->run.pages -= pages;
    if (placing->from)
        placing->from += pages << page_shift;
}

/* Skip pages that are here already; how many of those that follow are missing, up to a step. */
static size_t missing_ahead(struct pf_arriving *arriving, struct pf_placing *placing)
{
    size_t wanted = placing->run.pages < STEP_PAGES ? placing->run.pages : STEP_PAGES;
    struct pf_run run = pf_pageset_next_upto(&arriving->missing, placing->run.first, wanted);
    size_t end = placing->run.first + placing->run.pages;
    if (run.pages == 0 || run.first >= end) {
        advance(placing, arriving->region->page_shift, placing->run.pages);
        return 0;
    }
    advance(placing, arriving->region->page_shift, run.first - placing->run.first);
    return run.pages < placing->run.pages ? run.pages : placing->run.pages;
}

/* Where pages go: an address behind a userfaultfd, and how many pages are contiguous there. */
struct spot {
    const struct pf_uffd *uffd;
    char *to;
    size_t pages; /* 0: nothing shows them any more */
};

static struct spot find_spot(const struct pf_arrival *arrival, const struct pf_arriving *arriving,
                             size_t page)
{
    unsigned shift = arriving->region->page_shift;
    const struct pf_target *home = arriving->home;
    if (home == &arrival->own)
        return (struct spot){home->uffd, pf_region_page(arriving->region, page),
                             pf_region_pages(arriving->region) - page};
    uint64_t offset = (uint64_t)page << shift;
    const struct pf_view *view =
        pf_target_shows(home, (unsigned)(arriving - arrival->list), offset);
    if (!view)
        return (struct spot){home->uffd, NULL, 0};
    uint64_t into = offset - view->offset;
    return (struct spot){home->uffd, (char *)(uintptr_t)(view->addr + into),
                         (size_t)((view->bytes - into) >> shift)};
}

static int fill(struct pf_arrival *arrival, struct pf_arriving *arriving,
                const struct pf_placing *placing, const struct spot *spot, size_t bytes,
                size_t *done)
{
    *done = 0;
    if (spot->pages == 0)
        return PF_PLACED_UNMAPPED;
    if (placing->from)
        return pf_uffd_copy(spot->uffd, spot->to, placing->from, bytes, done);
    if (atomic_load_explicit(&arriving->zeropage, memory_order_relaxed))
        return pf_uffd_zero(spot->uffd, spot->to, bytes, done);
    return pf_uffd_copy(spot->uffd, spot->to, arrival->zeros, pf_region_page_size(arriving->region),
                        done);
}

/* Pages are in the file now: who waits for them elsewhere looks again. Inside the gate. */
static void wake_watchers(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    unsigned shift = arrival->list[region].region->page_shift;
    uint64_t from = (uint64_t)run.first << shift;
    uint64_t to = from + ((uint64_t)run.pages << shift);
    for (unsigned i = 0; i < arrival->targets.count; i++) {
        const struct pf_target *target = arrival->targets.list[i];
        for (unsigned v = 0; !target->home && v < target->count; v++) {
            const struct pf_view *view = &target->views[v];
            uint64_t first = from > view->offset ? from : view->offset;
            uint64_t last = view->offset + view->bytes < to ? view->offset + view->bytes : to;
            if (view->region == region && first < last)
                pf_uffd_wake(target->uffd, (void *)(uintptr_t)(view->addr + (first - view->offset)),
                             (size_t)(last - first));
        }
    }
}

/* Place up to a step of missing pages. 0: made headway. */
static int place_step(struct pf_arrival *arrival, struct pf_placing *placing)
{
    struct pf_arriving *arriving = &arrival->list[placing->region];
    unsigned shift = arriving->region->page_shift;
    size_t pages = missing_ahead(arriving, placing);
    if (pages == 0)
        return 0;
    struct spot spot = find_spot(arrival, arriving, placing->run.first);
    if (pages > spot.pages)
        pages = spot.pages ? spot.pages : 1;
    size_t done;
    int result = fill(arrival, arriving, placing, &spot, pages << shift, &done);
    /* The kernel wants a range inside one mapping, and a region may lie in several. */
    bool single = pages == 1;
    if (result == PF_PLACED_UNMAPPED && done == 0 && !single) {
        single = true;
        result = fill(arrival, arriving, placing, &spot, (size_t)1 << shift, &done);
    }
    struct pf_run placed = {placing->run.first, done >> shift};
    /* The page where it stopped is settled too, unless only the border of a mapping was there. */
    if (result == PF_PLACED_EXISTS || (result == PF_PLACED_UNMAPPED && single))
        placed.pages++;
    if (result == PF_PLACED_EXISTS)
        pf_uffd_wake(spot.uffd, spot.to + ((placed.pages - 1) << shift), (size_t)1 << shift);
    pf_arrival_received(arrival, placing->region, placed);
    wake_watchers(arrival, placing->region, placed);
    pf_count(&arrival->counters->received_bytes, done);
    advance(placing, shift, placed.pages);
    if (result == PF_PLACED_AGAIN)
        return -EAGAIN;
    return result < 0 ? result : 0;
}

int pf_arrival_place(struct pf_arrival *arrival, struct pf_placing *placing)
{
    while (placing->run.pages > 0) {
        int error = place_step(arrival, placing);
        if (error)
            return error;
    }
    return 0;
}

int pf_arrival_place_gated(struct pf_arrival *arrival, struct pf_placing *placing)
{
    while (placing->run.pages > 0) {
        pf_gate_enter(&arrival->gate);
        int error = place_step(arrival, placing);
        pf_gate_leave(&arrival->gate);
        if (error == -EAGAIN && atomic_load(&arrival->given_up))
            return -ECANCELED;
        if (error == -EAGAIN)
            sched_yield(); /* the fault thread reads the event that is in the way */
        else if (error)
            return error;
    }
    return 0;
}
