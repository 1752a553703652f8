/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The job's memory as the source sees it during post-copy: which pages are unsent, and how a page
 * can be put on the wire.
 *
 * Pages go straight from the job's memory, so it has to be registered. Where registering pins
 * (verbs), it is done chunk by chunk ahead of the bulk cursor, populated runs only, after the
 * pause: pinning 1 GiB inside the downtime would cost more than the rest of it, and pinning before
 * the pause would be wrong, since a page that the job gives back and touches again is another page
 * than the one pinned. A page that is asked for before its chunk is registered goes through a
 * small registered bounce buffer: copying 4 KiB costs less than a microsecond.
 */
#ifndef PF_CORE_SEND_SOURCE_MEMORY_H
#define PF_CORE_SEND_SOURCE_MEMORY_H

#include "core/memory/pageset.h"
#include "core/memory/region.h"
#include "core/send/stripes.h"
#include "core/session/protocol.h"
#include "core/session/readers.h"
#include "transport/transport.h"

struct pf_extent {
    size_t first, pages;
    struct pf_mr *mr;
};

/* The registrations inside one chunk, in order. Published once, constant afterwards. */
struct pf_extents {
    struct pf_extents *next; /* of those that are not in use any more */
    unsigned count;
    struct pf_extent list[];
};

/* A region's registrations with one rail's device. */
struct pf_registrations {
    struct pf_mr *whole; /* where registering costs nothing: one for all */
    struct pf_extents *_Atomic *chunks;
};

struct pf_source_region {
    const struct pf_region *region;
    struct pf_pageset unsent;  /* in pre-copy: written since it was sent, or never sent */
    struct pf_pageset landed;  /* pre-copy: pages that are not all zero at the destination */
    bool late;                 /* its pages are not sent before the pause */
    struct pf_stripes stripes; /* which rail sends what first */
    size_t chunk_pages, chunk_count;
    struct pf_registrations rails[PF_RAILS_MAX];
};

/* What the pages leave by. */
struct pf_source_rails {
    unsigned count;
    struct pf_device *devices[PF_RAILS_MAX]; /* the same one may be there twice */
    int nodes[PF_RAILS_MAX];                 /* of the NICs, or PF_NODE_UNKNOWN */
};

struct pf_source_memory {
    struct pf_source_rails rails;
    bool counts_readers;       /* set before the threads start that send from it */
    atomic_bool unpinned;      /* no more is registered where that pins: by bounce buffers */
    struct pf_readers readers; /* who sends from it */
    /* Not in use any more, but somebody may still be looking at the list. */
    struct pf_extents *_Atomic retired;
    atomic_uint returns; /* how often sent pages have become unsent again */
    unsigned count;
    struct pf_source_region *regions;
};

/* Tables, and the registrations that cost nothing. Nothing is unsent yet. -ENOMEM and the like. */
int pf_source_memory_open(struct pf_source_memory *memory, const struct pf_source_rails *rails,
                          const struct pf_regions *regions, struct pf_why *why);

/*
 * Without rounds: find the populated pages of all regions, which become unsent. The job is paused
 * and stays so.
 */
int pf_source_memory_scan(struct pf_source_memory *memory, struct pf_why *why);

/* The same of one region. */
int pf_source_memory_scan_region(struct pf_source_memory *memory, unsigned region,
                                 struct pf_why *why);

/* -ENOMEM with a sentence if the memlock limit can't hold what has to be pinned of so much. */
int pf_source_memory_check(const struct pf_source_memory *memory, uint64_t populated,
                           struct pf_why *why);

/*
 * Pages are about to be replaced by others (the job gives them back) while registrations hold the
 * old ones: from here on they are sent by way of bounce buffers, since nobody knows when it has
 * happened. Any thread but those that send. Operations that have begun may use the registrations:
 * they stay until they are dropped.
 */
void pf_source_memory_distrust(struct pf_source_memory *memory, unsigned region, struct pf_run run);

/*
 * Pages have been replaced, and the registrations may still hold the old ones: where they are sent
 * next they are registered again. Otherwise the same.
 */
void pf_source_memory_renew(struct pf_source_memory *memory, unsigned region, struct pf_run run);

/* Drop the registrations that are not in use any more. Nobody is sending. */
void pf_source_memory_drop(struct pf_source_memory *memory);

/* After the endpoints that send from it are closed. */
void pf_source_memory_close(struct pf_source_memory *memory);

/* -ENOMEM with a sentence if the memlock limit is below what is needed, and applies to us. */
int pf_check_memlock(uint64_t needed, struct pf_why *why);

uint64_t pf_source_memory_unsent(struct pf_source_memory *memory);

/* Pages that were claimed and have not arrived are unsent again; how many. Any thread. */
size_t pf_source_memory_return(struct pf_source_memory *memory, unsigned region, struct pf_run run);

/*
 * Register the chunk that holds a page with a rail's device, if it isn't yet. Any thread; that of
 * the urgent lane does it for huge pages only, which are pinned in one step each, where 4 KiB pages
 * go through a bounce buffer. A chunk that can't be registered stays so.
 */
void pf_source_memory_prepare(struct pf_source_memory *memory, unsigned region, unsigned rail,
                              size_t page);

/*
 * Drop a chunk's registrations with all rails' devices, for good. Nothing is being sent from it and
 * none of its pages is unsent. The control thread only.
 */
void pf_source_memory_unregister(struct pf_source_memory *memory, unsigned region, size_t chunk);

/*
 * Around every operation that sends from the job's memory: enter before claiming, leave when it is
 * done. Costs nothing while nobody wants to give memory up. Any thread.
 */
static inline unsigned pf_source_memory_enter(struct pf_source_memory *memory)
{
    return memory->counts_readers ? pf_readers_enter(&memory->readers) : 0;
}

static inline void pf_source_memory_leave(struct pf_source_memory *memory, unsigned entered)
{
    if (memory->counts_readers)
        pf_readers_leave(&memory->readers, entered);
}

/* The pages of a chunk. */
static inline struct pf_run pf_source_chunk(const struct pf_source_region *source, size_t chunk)
{
    return pf_region_chunk(source->region, chunk);
}

/*
 * The registration with a rail's device that covers a page, and in *pages for how many pages from
 * there on it does; NULL if it is not registered (yet), and how far that holds. Any thread.
 */
struct pf_mr *pf_source_memory_mr(const struct pf_source_region *region, unsigned rail, size_t page,
                                  size_t *pages);

#endif
