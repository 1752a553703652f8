/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/release.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* ---- giving up ------------------------------------------------------------------------------- */

/*
 * A memfd of our own is emptied. One of the program's is only unmapped: others may use it, and the
 * memory is the file's as long as it exists.
 */
static int zap(const struct pf_region *region, struct pf_run run)
{
    char *addr = pf_region_page(region, run.first);
    size_t bytes = run.pages << region->page_shift;
    if (pf_region_shared(region) && region->owned)
        return madvise(addr, bytes, MADV_REMOVE) ? -errno : 0;
    /* Linux 5.18 takes it for locked memory too. */
    if (madvise(addr, bytes, MADV_DONTNEED_LOCKED) == 0 || madvise(addr, bytes, MADV_DONTNEED) == 0)
        return 0;
    return -errno;
}

static void give_up(const struct pf_region *region, struct pf_run run, struct pf_counters *counters)
{
    int error = zap(region, run);
    if (error)
        pf_warn("memory of region \"%s\" can't be given back yet: %s", region->name,
                strerror(-error));
    else
        pf_count(&counters->released_bytes, run.pages << region->page_shift);
}

/* Nobody may find a page of the chunks any more: what the job gave back there was never sent. */
static void make_unreachable(struct pf_source_region *source, struct pf_pageset *chunks)
{
    struct pf_run run = {0, 0};
    while ((run = pf_pageset_next_upto(chunks, run.first + run.pages, 1)).pages > 0)
        pf_pageset_remove_run(&source->unsent, pf_source_chunk(source, run.first));
}

static void give_up_chunks(struct pf_release *release, unsigned region)
{
    struct pf_source_region *source = &release->memory->regions[region];
    struct pf_pageset *chunks = &release->list[region].leaving;
    struct pf_run run = {0, 0};
    while ((run = pf_pageset_next_upto(chunks, 0, 1)).pages > 0) {
        pf_source_memory_unregister(release->memory, region, run.first);
        give_up(source->region, pf_source_chunk(source, run.first), release->counters);
        pf_pageset_remove(chunks, run.first);
    }
}

/* All that has been told starts to leave. False if there is nothing. */
static bool begin_leaving(struct pf_release *release)
{
    bool any = false;
    for (unsigned i = 0; i < release->memory->count; i++) {
        struct pf_released *own = &release->list[i];
        if (pf_pageset_count(&own->told) == 0)
            continue;
        struct pf_pageset empty = own->leaving;
        own->leaving = own->told;
        own->told = empty;
        make_unreachable(&release->memory->regions[i], &own->leaving);
        any = true;
    }
    return any;
}

void pf_release_advance(struct pf_release *release)
{
    struct pf_source_memory *memory = release->memory;
    if (!memory || !pf_readers_gone(&memory->readers))
        return;
    for (unsigned i = 0; release->waiting && i < memory->count; i++)
        give_up_chunks(release, i);
    release->waiting = begin_leaving(release);
    if (release->waiting)
        pf_readers_turn(&memory->readers);
}

void pf_release_rest(const struct pf_regions *regions, struct pf_counters *counters)
{
    pf_count_set(&counters->released_bytes, 0);
    for (unsigned i = 0; i < regions->count; i++)
        give_up(&regions->list[i], (struct pf_run){0, pf_region_pages(&regions->list[i])},
                counters);
}

/* ---- what the destination tells -------------------------------------------------------------- */

void pf_release_take(struct pf_release *release, struct pf_wire *payload)
{
    uint32_t region = pf_get_u32(payload);
    if (!release->memory || region >= release->memory->count)
        payload->bad = true;
    while (!payload->bad && payload->at < payload->end) {
        size_t chunks = release->memory->regions[region].chunk_count;
        struct pf_run run = {.first = pf_get_u64(payload)};
        run.pages = pf_get_u64(payload);
        if (run.first >= chunks || run.pages > chunks - run.first)
            payload->bad = true;
        if (!payload->bad)
            pf_pageset_add_run(&release->list[region].told, run);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

int pf_release_open(struct pf_release *release, struct pf_source_memory *memory,
                    struct pf_counters *counters, struct pf_why *why)
{
    *release = (struct pf_release){.memory = memory, .counters = counters};
    release->list = calloc(memory->count ? memory->count : 1, sizeof *release->list);
    int error = release->list ? 0 : -ENOMEM;
    for (unsigned i = 0; i < memory->count && !error; i++) {
        error = pf_pageset_init(&release->list[i].told, memory->regions[i].chunk_count);
        if (!error)
            error = pf_pageset_init(&release->list[i].leaving, memory->regions[i].chunk_count);
    }
    memory->counts_readers = true;
    return error ? pf_why(why, error, "no memory to keep account of what is released") : 0;
}

void pf_release_close(struct pf_release *release)
{
    for (unsigned i = 0; release->list && i < release->memory->count; i++) {
        pf_pageset_free(&release->list[i].told);
        pf_pageset_free(&release->list[i].leaving);
    }
    free(release->list);
    *release = (struct pf_release){.memory = NULL};
}
