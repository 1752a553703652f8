/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/arrival.h"

#include "core/memory/backing.h"
#include "core/memory/thp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
    if (!error)
        error = pf_pageset_init(&arriving->requested, pf_region_pages(region));
    return error ? error : pf_pageset_init(&arriving->full, pf_region_stretches(region));
}

/*
 * As large as the largest page, read-only and never written: the kernel's one page of zeros is all
 * the memory it takes.
 */
static int map_zeros(struct pf_arrival *arrival)
{
    arrival->zeros_bytes = PF_PAGE_SIZE;
    for (unsigned i = 0; i < arrival->regions->count; i++) {
        size_t page_size = pf_region_page_size(&arrival->regions->list[i]);
        if (page_size > arrival->zeros_bytes)
            arrival->zeros_bytes = page_size;
    }
    arrival->zeros = mmap(NULL, arrival->zeros_bytes, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return arrival->zeros == MAP_FAILED ? -ENOMEM : 0;
}

int pf_arrival_open(struct pf_arrival *arrival, struct pf_regions *regions,
                    struct pf_counters *counters, int done_fd, struct pf_why *why)
{
    const uint64_t wanted = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
                            UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_THREAD_ID |
                            UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MISSING_SHMEM |
                            UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM;
    *arrival = (struct pf_arrival){
        .regions = regions,
        .counters = counters,
        .uffd = {.fd = -1},
        .done_fd = done_fd,
    };
    arrival->list = calloc(regions->count ? regions->count : 1, sizeof *arrival->list);
    if (pf_target_init(&arrival->own, &arrival->uffd, true, regions->count) || !arrival->list ||
        map_zeros(arrival))
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
        pf_pageset_free(&arrival->list[i].full);
    }
    free(arrival->list);
    if (arrival->zeros_bytes && arrival->zeros != MAP_FAILED)
        munmap(arrival->zeros, arrival->zeros_bytes);
    *arrival = (struct pf_arrival){.uffd = {.fd = -1}};
}

static int probe_region(struct pf_arrival *arrival, const struct pf_region *region,
                        struct pf_why *why)
{
    bool zeropage;
    if (region->bytes & (pf_region_page_size(region) - 1))
        return pf_why(why, -EINVAL, "region \"%s\": %zu bytes is no multiple of its page size, %s",
                      region->name, region->bytes, pf_page_size_name(region->page_shift));
    int error = pf_region_check_file(region, why);
    if (error)
        return error;
    error = pf_uffd_register(&arrival->uffd, region->addr, region->bytes, false, &zeropage);
    if (error)
        return pf_why(why, error,
                      "region \"%s\" can't be post-copied: the kernel serves missing pages of "
                      "private anonymous memory, of memfds and of huge pages only (%s)",
                      region->name, strerror(-error));
    pf_uffd_unregister(&arrival->uffd, region->addr, region->bytes);
    return 0;
}

static void note_thp(struct pf_arrival *arrival)
{
    bool may[PF_REGIONS_MAX] = {false}, never[PF_REGIONS_MAX] = {false};
    pf_thp_note(arrival->regions, may, never);
    for (unsigned i = 0; i < arrival->count; i++) {
        arrival->list[i].thp = may[i];
        arrival->list[i].thp_never = never[i];
    }
}

int pf_arrival_probe(struct pf_arrival *arrival, struct pf_why *why)
{
    int error = 0;
    for (unsigned i = 0; i < arrival->count && !error; i++)
        if (!arrival->list[i].region->foreign)
            error = probe_region(arrival, arrival->list[i].region, why);
    note_thp(arrival);
    return error;
}

size_t pf_arrival_largest_copied(const struct pf_arrival *arrival)
{
    size_t largest = PF_PAGE_SIZE;
    for (unsigned i = 0; i < arrival->count; i++) {
        const struct pf_arriving *arriving = &arrival->list[i];
        if (!arriving->in_place && pf_region_page_size(arriving->region) > largest)
            largest = pf_region_page_size(arriving->region);
    }
    return largest;
}

bool pf_arrival_expect(struct pf_arrival *arrival, unsigned region, struct pf_run run)
{
    if (region >= arrival->count)
        return false;
    struct pf_pageset *missing = &arrival->list[region].missing;
    if (run.first >= missing->pages || run.pages > missing->pages - run.first)
        return false;
    atomic_fetch_add(&arrival->missing_bytes, pf_pageset_add_run(missing, run)
                                                  << arrival->list[region].region->page_shift);
    return true;
}

/* ---- arming ---------------------------------------------------------------------------------- */

/* A child forked now would read zeros without a fault: keep the region to ourselves. */
static int set_apart(struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    if (arriving->thp)
        pf_thp_off(region);
    if (madvise(region->addr, region->bytes, MADV_DONTFORK))
        return pf_why(why, -errno, "region \"%s\" cannot be kept from children: %s", region->name,
                      strerror(errno));
    arriving->apart = true;
    return 0;
}

/*
 * Nothing that the program wrote may survive. Dropping the pages of a mapping leaves those of its
 * file: that is emptied too, unless it was when the second mapping was made, which may be pinned.
 */
static int empty_region(const struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    if (madvise(region->addr, region->bytes, MADV_DONTNEED))
        return pf_why(why, -errno, "region \"%s\" cannot be emptied: %s", region->name,
                      strerror(errno));
    bool file = pf_region_shared(region) && !arriving->in_place;
    return file ? pf_backing_empty_file(region, why) : 0;
}

/*
 * What pre-copy writes to gets its memory then. Huge pages come at a fifth of the price, which is
 * more than that of the copy; but all of such a page takes memory: only for a region that is
 * nearly full.
 */
static void set_huge_pages(struct pf_arriving *arriving, bool wanted)
{
    const struct pf_region *region = arriving->region;
    wanted = wanted && !pf_region_shared(region) && !pf_region_huge(region) && !arriving->thp_never;
    if (wanted)
        pf_thp_on(region);
    else if (arriving->dense)
        pf_thp_off(region);
    arriving->dense = wanted;
}

static bool is_nearly_full(const struct pf_arriving *arriving)
{
    size_t bytes = arriving->region->bytes;
    return bytes > 0 && arriving->populated >= bytes - bytes / 16;
}

/* Empty, and nobody else's. */
static int clear_region(struct pf_arriving *arriving, bool huge_pages, struct pf_why *why)
{
    int error = set_apart(arriving, why);
    if (!error)
        error = empty_region(arriving, why);
    if (!error)
        set_huge_pages(arriving, huge_pages);
    arriving->made = 0;
    return error;
}

bool pf_arrival_note_full(struct pf_arrival *arrival, unsigned region, struct pf_run stretches)
{
    struct pf_pageset *full = &arrival->list[region].full;
    if (stretches.first >= full->pages || stretches.pages > full->pages - stretches.first)
        return false;
    pf_pageset_add_run(full, stretches);
    return true;
}

int pf_arrival_freshen(struct pf_arrival *arrival, struct pf_why *why)
{
    int error = 0;
    for (unsigned i = 0; i < arrival->count && !error; i++) {
        struct pf_arriving *arriving = &arrival->list[i];
        if (arriving->region->foreign)
            continue;
        error = clear_region(arriving, true, why);
        pf_pageset_add_run(&arriving->full, (struct pf_run){0, arriving->full.pages});
        arriving->fresh = arriving->make = !error;
    }
    return error;
}

int pf_arrival_prepare(struct pf_arrival *arrival, bool ahead, struct pf_why *why)
{
    int error = 0;
    arrival->prepared = true;
    for (unsigned i = 0; i < arrival->count && !error; i++) {
        struct pf_arriving *arriving = &arrival->list[i];
        if (arriving->region->foreign)
            continue;
        arriving->stale = arriving->in_place;
        arriving->make = ahead;
        if (!pf_arriving_keeps(arriving))
            error = clear_region(arriving, is_nearly_full(arriving), why);
    }
    return error;
}

int pf_arrival_unmake(struct pf_arrival *arrival, struct pf_why *why)
{
    int error = 0;
    for (unsigned i = 0; i < arrival->count && !error; i++) {
        struct pf_arriving *arriving = &arrival->list[i];
        if (arriving->fresh)
            error = clear_region(arriving, false, why);
        arriving->fresh = arriving->make = false;
    }
    return error;
}

void pf_arrival_abandon(struct pf_arrival *arrival)
{
    for (unsigned i = 0; i < arrival->count; i++)
        if (arrival->list[i].fresh || (arrival->prepared && !arrival->list[i].region->foreign))
            empty_region(&arrival->list[i], NULL);
}

/*
 * Drop pages that came too early and are to come again. Those of a file go from the file, too; but
 * not in place, where they will be written over: only the mapping is to raise a fault.
 */
static int discard(struct pf_arriving *arriving, struct pf_run run, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    size_t bytes = run.pages << region->page_shift;
    char *addr = pf_region_page(region, run.first);
    bool punch = pf_region_shared(region) && !arriving->in_place;
    if (madvise(addr, bytes, MADV_DONTNEED) || (punch && madvise(addr, bytes, MADV_REMOVE)))
        return pf_why(why, -errno, "%zu pages of region \"%s\" cannot be dropped: %s", run.pages,
                      region->name, strerror(errno));
    return 0;
}

static int discard_missing(struct pf_arriving *arriving, struct pf_why *why)
{
    /* The kernel must not make one of what is left and holes filled with zeros. */
    if (arriving->dense)
        pf_thp_off(arriving->region);
    struct pf_run run = pf_pageset_next(&arriving->missing, 0);
    while (run.pages > 0) {
        int error = discard(arriving, run, why);
        if (error)
            return error;
        run = pf_pageset_next(&arriving->missing, run.first + run.pages);
    }
    bool punched = pf_region_shared(arriving->region) && !arriving->in_place;
    return punched ? pf_backing_reserve(arriving->region, why) : 0;
}

static int arm_region(struct pf_arrival *arrival, struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    bool zeropage;
    int error = arrival->prepared ? discard_missing(arriving, why) : set_apart(arriving, why);
    if (!error && !arrival->prepared)
        error = empty_region(arriving, why);
    /* Nothing of it is missing: it is plain memory already. */
    if (error || (arrival->prepared && pf_pageset_count(&arriving->missing) == 0))
        return error;
    error = pf_uffd_register(&arrival->uffd, region->addr, region->bytes, arriving->in_place,
                             &zeropage);
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
        const struct pf_region *region = arriving->region;
        if (arriving->armed)
            pf_uffd_unregister(&arrival->uffd, region->addr, region->bytes);
        arriving->armed = false;
        if (!arriving->apart)
            continue;
        madvise(region->addr, region->bytes, MADV_DOFORK);
        if (arriving->thp)
            pf_thp_on(region);
        else if (arriving->dense)
            pf_thp_off(region);
        arriving->apart = arriving->dense = false;
    }
}

enum pf_incoming_state pf_arrival_set_state(struct pf_arrival *arrival,
                                            enum pf_incoming_state state)
{
    return (enum pf_incoming_state)atomic_exchange(&arrival->state, (int)state);
}
