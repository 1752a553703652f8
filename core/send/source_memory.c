/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/source_memory.h"

#include "base/log.h"
#include "core/memory/populated.h"
#include "numa/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * A run shorter than this many base pages is not worth a registration: it goes through the bounce
 * buffers. Runs are never joined over a gap, since pinning a page that was never touched would make
 * it exist.
 */
enum { SHORT_RUN = 16, EXTENTS_MAX = PF_CHUNK_BYTES / PF_PAGE_SIZE / SHORT_RUN };

/* A chunk whose registration was refused: no extents, so every look-up misses. */
static struct pf_extents unregistrable;

static bool may_lock_without_limit(void)
{
    enum { CAP_IPC_LOCK_BIT = 14 };
    unsigned long long effective = 0;
    char line[128];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "CapEff:", 7) == 0)
            effective = strtoull(line + 7, NULL, 16);
    if (status)
        fclose(status);
    return effective >> CAP_IPC_LOCK_BIT & 1;
}

int pf_check_memlock(uint64_t needed, struct pf_why *why)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= needed || may_lock_without_limit())
        return 0;
    return pf_why(why, -ENOMEM,
                  "RLIMIT_MEMLOCK is %.1f MiB, %.1f MiB needed to register the job's memory: "
                  "raise it with `ulimit -l` or a file in /etc/security/limits.d",
                  (double)limit.rlim_cur / (1 << 20), (double)needed / (1 << 20));
}

static int open_registrations(struct pf_source_region *source, unsigned rail,
                              struct pf_device *device, struct pf_why *why)
{
    const struct pf_region *region = source->region;
    struct pf_registrations *own = &source->rails[rail];
    if (!device->caps.needs_pinning)
        return pf_mr_reg(device, region->addr, region->bytes, PF_LOCAL_READ, &own->whole, why);
    own->chunks = calloc(source->chunk_count, sizeof *own->chunks);
    return own->chunks ? 0 : pf_why(why, -ENOMEM, "no memory for the chunk table");
}

/* The NICs are on different nodes: then it matters where the pages are. */
static bool nodes_differ(const struct pf_source_rails *rails)
{
    for (unsigned i = 1; i < rails->count; i++)
        if (rails->nodes[i] != rails->nodes[0])
            return true;
    return false;
}

/* One page speaks for its stripe: asking for each would take the time that is to be saved. */
static void deal_by_node(const struct pf_source_rails *rails, struct pf_source_region *source)
{
    struct pf_stripes *stripes = &source->stripes;
    void **pages = calloc(stripes->count, sizeof *pages);
    int *nodes = calloc(stripes->count, sizeof *nodes);
    for (size_t i = 0; pages && i < stripes->count; i++) {
        struct pf_run stripe = pf_stripes_at(stripes, i);
        struct pf_run run = pf_pageset_next_within(&source->unsent, stripe, 1);
        pages[i] = pf_region_page(source->region, run.pages ? run.first : stripe.first);
    }
    if (pages && nodes && pf_pages_nodes(pages, stripes->count, nodes))
        pf_stripes_deal(stripes, nodes, rails->nodes, rails->count);
    free(pages);
    free(nodes);
}

static int open_region(struct pf_source_memory *memory, struct pf_source_region *source,
                       const struct pf_region *region, struct pf_why *why)
{
    source->region = region;
    source->chunk_pages = pf_region_chunk_pages(region);
    source->chunk_count = pf_region_chunks(region);
    if (pf_pageset_init(&source->unsent, pf_region_pages(region)) ||
        pf_pageset_init(&source->landed, pf_region_pages(region)) ||
        pf_stripes_init(&source->stripes, source->unsent.pages, region->page_shift,
                        memory->rails.count))
        return pf_why(why, -ENOMEM, "region \"%s\": no memory for its page sets", region->name);
    if (nodes_differ(&memory->rails))
        deal_by_node(&memory->rails, source);
    int error = 0;
    for (unsigned rail = 0; rail < memory->rails.count && !error; rail++)
        error = open_registrations(source, rail, memory->rails.devices[rail], why);
    return error;
}

int pf_source_memory_open(struct pf_source_memory *memory, const struct pf_source_rails *rails,
                          const struct pf_regions *regions, struct pf_why *why)
{
    *memory = (struct pf_source_memory){.rails = *rails};
    memory->regions = calloc(regions->count ? regions->count : 1, sizeof *memory->regions);
    if (!memory->regions)
        return pf_why(why, -ENOMEM, "no memory for the region table");
    for (unsigned i = 0; i < regions->count; i++) {
        memory->count = i + 1;
        int error = open_region(memory, &memory->regions[i], &regions->list[i], why);
        if (error)
            return error;
    }
    return 0;
}

int pf_source_memory_scan_region(struct pf_source_memory *memory, unsigned region,
                                 struct pf_why *why)
{
    struct pf_source_region *source = &memory->regions[region];
    int error = pf_populated_scan(source->region, &source->unsent, why);
    if (!error && nodes_differ(&memory->rails))
        deal_by_node(&memory->rails, source);
    return error;
}

int pf_source_memory_scan(struct pf_source_memory *memory, struct pf_why *why)
{
    int error = 0;
    for (unsigned i = 0; i < memory->count && !error; i++)
        error = pf_source_memory_scan_region(memory, i, why);
    return error ? error : pf_source_memory_check(memory, pf_source_memory_unsent(memory), why);
}

/*
 * What may be pinned at once: a rail registers what is unsent in a chunk when it gets there, so no
 * page is pinned by two but in the chunks that one began and another finishes.
 */
int pf_source_memory_check(const struct pf_source_memory *memory, uint64_t populated,
                           struct pf_why *why)
{
    unsigned pinning = 0;
    for (unsigned rail = 0; rail < memory->rails.count; rail++)
        pinning += memory->rails.devices[rail]->caps.needs_pinning;
    if (pinning == 0 || atomic_load(&memory->unpinned))
        return 0;
    return pf_check_memlock(populated + (pinning - 1) * (uint64_t)PF_CHUNK_BYTES, why);
}

static void close_chunk(struct pf_extents *extents)
{
    if (!extents || extents == &unregistrable)
        return;
    for (unsigned i = 0; i < extents->count; i++)
        if (extents->list[i].mr)
            pf_mr_dereg(extents->list[i].mr);
    free(extents);
}

static void close_registrations(struct pf_registrations *own, size_t chunk_count)
{
    for (size_t chunk = 0; own->chunks && chunk < chunk_count; chunk++)
        close_chunk(atomic_load(&own->chunks[chunk]));
    free((void *)own->chunks);
    if (own->whole)
        pf_mr_dereg(own->whole);
}

void pf_source_memory_close(struct pf_source_memory *memory)
{
    for (unsigned i = 0; i < memory->count; i++) {
        struct pf_source_region *source = &memory->regions[i];
        for (unsigned rail = 0; rail < memory->rails.count; rail++)
            close_registrations(&source->rails[rail], source->chunk_count);
        pf_pageset_free(&source->unsent);
        pf_pageset_free(&source->landed);
        pf_stripes_free(&source->stripes);
    }
    pf_source_memory_drop(memory);
    free(memory->regions);
    *memory = (struct pf_source_memory){.count = 0};
}

uint64_t pf_source_memory_unsent(struct pf_source_memory *memory)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < memory->count; i++)
        bytes += (uint64_t)pf_pageset_count(&memory->regions[i].unsent)
                 << memory->regions[i].region->page_shift;
    return bytes;
}

size_t pf_source_memory_return(struct pf_source_memory *memory, unsigned region, struct pf_run run)
{
    size_t returned = pf_pageset_add_run(&memory->regions[region].unsent, run);
    atomic_fetch_add(&memory->returns, 1);
    return returned;
}

/* Register one stretch of a chunk; false if the device refuses. */
static bool add_extent(struct pf_extents *extents, struct pf_device *device,
                       const struct pf_region *region, size_t first, size_t pages)
{
    struct pf_why why = {""};
    struct pf_extent *extent = &extents->list[extents->count];
    *extent = (struct pf_extent){.first = first, .pages = pages};
    int error = pf_mr_reg(device, pf_region_page(region, first), pages << region->page_shift,
                          PF_LOCAL_READ, &extent->mr, &why);
    if (error) {
        pf_warn("pages %zu..%zu of region \"%s\" go through bounce buffers: %s", first,
                first + pages - 1, region->name, why.text);
        return false;
    }
    extents->count++;
    return true;
}

/*
 * Register the unsent runs between two pages. Pages that have been sent meanwhile need no
 * registration; one whose bit the responder takes while we look is sent through its bounce buffer.
 */
static struct pf_extents *register_chunk(struct pf_source_region *source, struct pf_device *device,
                                         size_t from, size_t to)
{
    struct pf_extents *extents = malloc(sizeof *extents + EXTENTS_MAX * sizeof extents->list[0]);
    if (!extents)
        return &unregistrable;
    extents->count = 0;
    while (from < to && extents->count < EXTENTS_MAX) {
        struct pf_run run = pf_pageset_next_upto(&source->unsent, from, to - from);
        if (run.pages == 0 || run.first >= to)
            break;
        size_t end = run.first + run.pages < to ? run.first + run.pages : to;
        if ((end - run.first) << (source->region->page_shift - PF_PAGE_SHIFT) >= SHORT_RUN &&
            !add_extent(extents, device, source->region, run.first, end - run.first))
            break;
        from = end;
    }
    return extents;
}

void pf_source_memory_prepare(struct pf_source_memory *memory, unsigned region, unsigned rail,
                              size_t page)
{
    struct pf_source_region *source = &memory->regions[region];
    struct pf_registrations *own = &source->rails[rail];
    if (own->whole || atomic_load(&memory->unpinned))
        return;
    size_t chunk = page / source->chunk_pages;
    if (atomic_load_explicit(&own->chunks[chunk], memory_order_relaxed))
        return;
    size_t from = chunk * source->chunk_pages;
    size_t to = from + source->chunk_pages;
    if (to > source->unsent.pages)
        to = source->unsent.pages;
    struct pf_extents *extents = register_chunk(source, memory->rails.devices[rail], from, to);
    struct pf_extents *none = NULL;
    if (!atomic_compare_exchange_strong_explicit(&own->chunks[chunk], &none, extents,
                                                 memory_order_acq_rel, memory_order_acquire))
        close_chunk(extents); /* somebody else was faster */
}

/* A list stays for a while: a thread may look at it that found a page which is gone by now. */
static void retire(struct pf_source_memory *memory, struct pf_extents *extents)
{
    extents->next = atomic_load(&memory->retired);
    while (!atomic_compare_exchange_weak(&memory->retired, &extents->next, extents))
        continue;
}

static struct pf_extents *retire_chunk(struct pf_source_memory *memory,
                                       struct pf_registrations *own, size_t chunk)
{
    struct pf_extents *extents = atomic_exchange(&own->chunks[chunk], &unregistrable);
    if (!extents || extents == &unregistrable)
        return NULL;
    retire(memory, extents);
    return extents;
}

/* One that was distrusted meanwhile stays so. */
static void renew_chunk(struct pf_source_memory *memory, struct pf_registrations *own, size_t chunk)
{
    struct pf_extents *extents = atomic_load(&own->chunks[chunk]);
    if (extents && extents != &unregistrable &&
        atomic_compare_exchange_strong(&own->chunks[chunk], &extents, NULL))
        retire(memory, extents);
}

static void unregister_chunk(struct pf_source_memory *memory, struct pf_registrations *own,
                             size_t chunk)
{
    struct pf_extents *extents = retire_chunk(memory, own, chunk);
    for (unsigned i = 0; extents && i < extents->count; i++) {
        pf_mr_dereg(extents->list[i].mr);
        extents->list[i].mr = NULL;
    }
}

void pf_source_memory_distrust(struct pf_source_memory *memory, unsigned region, struct pf_run run)
{
    struct pf_source_region *source = &memory->regions[region];
    size_t last = (run.first + run.pages - 1) / source->chunk_pages;
    for (unsigned rail = 0; rail < memory->rails.count; rail++)
        for (size_t chunk = run.first / source->chunk_pages; chunk <= last; chunk++)
            if (source->rails[rail].chunks)
                retire_chunk(memory, &source->rails[rail], chunk);
}

void pf_source_memory_renew(struct pf_source_memory *memory, unsigned region, struct pf_run run)
{
    struct pf_source_region *source = &memory->regions[region];
    size_t last = (run.first + run.pages - 1) / source->chunk_pages;
    for (unsigned rail = 0; rail < memory->rails.count; rail++)
        for (size_t chunk = run.first / source->chunk_pages; chunk <= last; chunk++)
            if (source->rails[rail].chunks)
                renew_chunk(memory, &source->rails[rail], chunk);
}

void pf_source_memory_drop(struct pf_source_memory *memory)
{
    struct pf_extents *retired = atomic_exchange(&memory->retired, NULL);
    while (retired) {
        struct pf_extents *next = retired->next;
        close_chunk(retired);
        retired = next;
    }
}

void pf_source_memory_unregister(struct pf_source_memory *memory, unsigned region, size_t chunk)
{
    for (unsigned rail = 0; rail < memory->rails.count; rail++) {
        struct pf_registrations *own = &memory->regions[region].rails[rail];
        if (own->chunks)
            unregister_chunk(memory, own, chunk);
    }
}

struct pf_mr *pf_source_memory_mr(const struct pf_source_region *source, unsigned rail, size_t page,
                                  size_t *pages)
{
    const struct pf_registrations *own = &source->rails[rail];
    *pages = source->unsent.pages - page;
    if (own->whole)
        return own->whole;
    size_t chunk = page / source->chunk_pages;
    size_t end = (chunk + 1) * source->chunk_pages;
    const struct pf_extents *extents =
        atomic_load_explicit(&own->chunks[chunk], memory_order_acquire);
    for (unsigned i = 0; extents && i < extents->count; i++) {
        const struct pf_extent *extent = &extents->list[i];
        if (page < extent->first) {
            end = extent->first;
            break;
        }
        if (page < extent->first + extent->pages) {
            *pages = extent->first + extent->pages - page;
            return extent->mr;
        }
    }
    if (end - page < *pages)
        *pages = end - page;
    return NULL;
}
