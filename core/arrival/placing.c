/* SPDX-License-Identifier: BSD-2-Clause */
/* How a page is placed: copied, zeroed, or mapped where it lies in its file. See arrival.h. */
#include "core/arrival/homes.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    /*
     * The longest single copy inside the gate: 64 KiB runs reach full UFFDIO_COPY bandwidth, and
     * the fault thread waits for at most one of them (about 11 us). A host page is never divided.
     */
    STEP_BYTES = 64 << 10,
    /* Mapping what lies in the file costs a fraction of that. */
    IN_PLACE_STEP_BYTES = 256 << 10,
};

void pf_arrival_received(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    struct pf_arriving *arriving = &arrival->list[region];
    size_t n = pf_pageset_remove_run(&arriving->missing, run) << arriving->region->page_shift;
    if (arrival->blocked)
        pf_blocked_end(arrival->blocked, region, run);
    if (n > 0 && atomic_fetch_sub(&arrival->missing_bytes, n) == n) {
        ssize_t written = write(arrival->done_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written;
    }
}

bool pf_arrival_fits(const struct pf_arrival *arrival, const struct pf_stage_run *run, size_t left)
{
    if (run->region >= arrival->count || run->pages == 0 || run->in_parts || run->part)
        return false;
    const struct pf_arriving *arriving = &arrival->list[run->region];
    size_t pages = pf_region_pages(arriving->region);
    if (run->first >= pages || run->pages > pages - run->first)
        return false;
    return run->zero || arriving->in_place || run->pages <= left >> arriving->region->page_shift;
}

static void advance(struct pf_placing *placing, unsigned page_shift, size_t pages)
{
    placing->run.first += pages;
    placing->run.pages -= pages;
    if (placing->from)
        placing->from += pages << page_shift;
}

static size_t step_pages(const struct pf_arriving *arriving)
{
    size_t bytes = arriving->in_place ? IN_PLACE_STEP_BYTES : STEP_BYTES;
    size_t pages = bytes >> arriving->region->page_shift;
    return pages ? pages : 1;
}

/* Skip pages that are here already; how many of those that follow are missing, up to a step. */
static size_t missing_ahead(struct pf_arriving *arriving, struct pf_placing *placing)
{
    size_t step = step_pages(arriving);
    size_t wanted = placing->run.pages < step ? placing->run.pages : step;
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

/* ---- filling --------------------------------------------------------------------------------- */

static int fill_with_zeros(struct pf_arrival *arrival, struct pf_arriving *arriving,
                           const struct spot *spot, size_t bytes, size_t *done)
{
    if (atomic_load_explicit(&arriving->zeropage, memory_order_relaxed))
        return pf_uffd_zero(spot->uffd, spot->to, bytes, done);
    return pf_uffd_copy(spot->uffd, spot->to, arrival->zeros, pf_region_page_size(arriving->region),
                        done);
}

/* One page of a region in place: what its file has, else zeros. */
static int fill_from_file(struct pf_arrival *arrival, struct pf_arriving *arriving,
                          const struct spot *spot, size_t *done)
{
    size_t page_size = pf_region_page_size(arriving->region);
    int result = pf_uffd_continue(spot->uffd, spot->to, page_size, done);
    if (result == PF_PLACED_HOLE)
        result = fill_with_zeros(arrival, arriving, spot, page_size, done);
    return result;
}

static int fill(struct pf_arrival *arrival, struct pf_arriving *arriving,
                const struct pf_placing *placing, const struct spot *spot, size_t bytes,
                size_t *done)
{
    *done = 0;
    if (spot->pages == 0)
        return PF_PLACED_UNMAPPED;
    if (arriving->stale && !placing->from) {
        memset(arriving->alias + (placing->run.first << arriving->region->page_shift), 0, bytes);
        return pf_uffd_continue(spot->uffd, spot->to, bytes, done);
    }
    if (arriving->in_place && (placing->from || arriving->filled))
        return pf_uffd_continue(spot->uffd, spot->to, bytes, done);
    if (placing->from)
        return pf_uffd_copy(spot->uffd, spot->to, placing->from, bytes, done);
    return fill_with_zeros(arrival, arriving, spot, bytes, done);
}

/* Stopped at what the file has where a hole was due, or the other way round. */
static bool at_odds(const struct pf_arriving *arriving, int result)
{
    return arriving->in_place && (result == PF_PLACED_EXISTS || result == PF_PLACED_HOLE);
}

/* Fill up to *pages missing pages; *pages becomes 1 where only the first could be tried. */
static int fill_some(struct pf_arrival *arrival, struct pf_arriving *arriving,
                     const struct pf_placing *placing, const struct spot *spot, size_t *pages,
                     size_t *done)
{
    unsigned shift = arriving->region->page_shift;
    int result = fill(arrival, arriving, placing, spot, *pages << shift, done);
    /* The kernel wants a range inside one mapping, and a region may lie in several. */
    if (result == PF_PLACED_UNMAPPED && *done == 0 && *pages > 1) {
        *pages = 1;
        result = fill(arrival, arriving, placing, spot, (size_t)1 << shift, done);
    }
    if (at_odds(arriving, result) && *done == 0)
        result = fill_from_file(arrival, arriving, spot, done);
    return result;
}

/* Pages are in the file now: who waits for them at another mapping of it goes on. */
static void show_watcher(const struct pf_target *target, const struct pf_view *view, uint64_t from,
                         uint64_t to)
{
    uint64_t first = from > view->offset ? from : view->offset;
    uint64_t last = view->offset + view->bytes < to ? view->offset + view->bytes : to;
    size_t done;
    if (first >= last)
        return;
    void *at = (void *)(uintptr_t)(view->addr + (first - view->offset));
    size_t bytes = (size_t)(last - first);
    /* Mapped now, they cost no fault later; where that stops half-way, who waits looks again. */
    if (!target->minor || pf_uffd_continue(target->uffd, at, bytes, &done) != PF_PLACED_ALL)
        pf_uffd_wake(target->uffd, at, bytes);
}

/* Inside the gate. */
static void show_watchers(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    unsigned shift = arrival->list[region].region->page_shift;
    uint64_t from = (uint64_t)run.first << shift;
    uint64_t to = from + ((uint64_t)run.pages << shift);
    for (unsigned i = 0; i < arrival->targets.count; i++) {
        const struct pf_target *target = arrival->targets.list[i];
        for (unsigned v = 0; !target->home && v < target->count; v++)
            if (target->views[v].region == region)
                show_watcher(target, &target->views[v], from, to);
    }
}

/*
 * In place a page can lose its mapping at any moment (to reclaim, or the job's own madvise), also
 * between being mapped and being marked here. Who faults then asks for it, and hears that it went
 * by the bulk lane: nobody else would let it go. The fault thread marks and looks in the other
 * order.
 */
static void wake_late_faults(struct pf_arriving *arriving, const struct spot *spot,
                             struct pf_run placed)
{
    if (!arriving->in_place)
        return;
    /* The fault thread marks and then looks whether the page is missing; we take it off the missing
     * ones and then look for the mark: pf_pageset_look() sees to it that one sees the other. */
    if (pf_pageset_next_within(&arriving->requested, placed, 1).pages > 0)
        pf_uffd_wake(spot->uffd, spot->to, placed.pages << arriving->region->page_shift);
}

/*
 * How many pages are settled: those placed, and the one where it stopped, unless only the border of
 * a mapping was there or it is to be tried once more by itself.
 */
static size_t settled_pages(const struct pf_arriving *arriving, int result, size_t pages,
                            size_t done)
{
    size_t placed = done >> arriving->region->page_shift;
    bool again = at_odds(arriving, result) && done > 0;
    if ((result == PF_PLACED_EXISTS && !again) || (result == PF_PLACED_UNMAPPED && pages == 1))
        placed++;
    return placed;
}

static int place_in_homes(struct pf_arrival *arrival, struct pf_placing *placing)
{
    unsigned shift = arrival->list[placing->region].region->page_shift;
    struct pf_run run = {placing->run.first, 1};
    int error = pf_homes_place(arrival, placing->region, run.first, placing->from);
    if (error)
        return error;
    pf_arrival_received(arrival, placing->region, run);
    show_watchers(arrival, placing->region, run);
    pf_count(&arrival->counters->received_bytes, (uint64_t)1 << shift);
    advance(placing, shift, 1);
    return 0;
}

/* Place up to a step of missing pages. 0: made headway. */
static int place_step(struct pf_arrival *arrival, struct pf_placing *placing)
{
    struct pf_arriving *arriving = &arrival->list[placing->region];
    unsigned shift = arriving->region->page_shift;
    size_t pages = missing_ahead(arriving, placing);
    if (pages == 0)
        return 0;
    if (arriving->home != &arrival->own && pf_homes_several(arrival))
        return place_in_homes(arrival, placing);
    struct spot spot = find_spot(arrival, arriving, placing->run.first);
    if (pages > spot.pages)
        pages = spot.pages ? spot.pages : 1;
    size_t done;
    int result = fill_some(arrival, arriving, placing, &spot, &pages, &done);
    struct pf_run placed = {placing->run.first, settled_pages(arriving, result, pages, done)};
    if (result == PF_PLACED_EXISTS && placed.pages > done >> shift)
        pf_uffd_wake(spot.uffd, spot.to + ((placed.pages - 1) << shift), (size_t)1 << shift);
    pf_arrival_received(arrival, placing->region, placed);
    wake_late_faults(arriving, &spot, placed);
    show_watchers(arrival, placing->region, placed);
    pf_count(&arrival->counters->received_bytes, done);
    advance(placing, shift, placed.pages);
    if (result == PF_PLACED_AGAIN)
        return -EAGAIN;
    return result < 0 ? result : 0;
}

/* ---- for the threads ------------------------------------------------------------------------- */

int pf_arrival_resolve(struct pf_arrival *arrival, unsigned region, const struct pf_target *target,
                       char *to)
{
    struct pf_arriving *arriving = &arrival->list[region];
    struct spot spot = {target->uffd, to, 1};
    bool from_file = arriving->in_place || target->minor;
    size_t done;
    size_t page_size = pf_region_page_size(arriving->region);
    int result = from_file ? fill_from_file(arrival, arriving, &spot, &done)
                           : fill_with_zeros(arrival, arriving, &spot, page_size, &done);
    if (result == PF_PLACED_EXISTS || result == PF_PLACED_AGAIN)
        /* AGAIN: the thread faults once more, after the event that is in the way. */
        pf_uffd_wake(target->uffd, to, page_size);
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
