/* SPDX-License-Identifier: BSD-2-Clause */
/* The job's regions: what is moved. Filled before the job starts, constant afterwards. */
#ifndef PF_CORE_MEMORY_REGION_H
#define PF_CORE_MEMORY_REGION_H

#include "base/why.h"
#include "core/memory/pageset.h"
#include "pageferry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PF_PAGE_SHIFT = 12,
    PF_PAGE_SIZE = 1 << PF_PAGE_SHIFT, /* the base page */
    PF_REGION_NAME = 64,               /* with the closing 0 */
    PF_REGIONS_MAX = 1024,
    PF_CHUNK_BYTES = 16 << 20,
    PF_STRETCH_BYTES = 2 << 20,
};

struct pf_region {
    char name[PF_REGION_NAME];
    char *addr;
    size_t bytes;        /* a multiple of the page size */
    unsigned page_shift; /* of the host page */
    unsigned flags;      /* FERRY_FIXED_ADDR, FERRY_SHARED, FERRY_SEND_LATE */
    bool owned;          /* mapped by us, unmapped by us */
    bool foreign;        /* in another process's memory: addr is NULL */
    int fd;              /* FERRY_SHARED: the file that it maps, a descriptor of our own */
    uint64_t offset;     /* and where in it the region begins */
};

struct pf_regions {
    struct pf_region list[PF_REGIONS_MAX]; /* in the order declared: the index is the id */
    unsigned count;
};

static inline size_t pf_region_pages(const struct pf_region *region)
{
    return region->bytes >> region->page_shift;
}

static inline size_t pf_region_page_size(const struct pf_region *region)
{
    return (size_t)1 << region->page_shift;
}

/* A region in pieces of `bytes`, but at least one page: pages in each, how many, and the pages of
 * one; the last may have fewer. */
static inline size_t pf_region_piece_pages(const struct pf_region *region, size_t bytes)
{
    size_t pages = bytes >> region->page_shift;
    return pages ? pages : 1;
}

static inline size_t pf_region_pieces(const struct pf_region *region, size_t bytes)
{
    size_t each = pf_region_piece_pages(region, bytes);
    return (pf_region_pages(region) + each - 1) / each;
}

static inline struct pf_run pf_region_piece(const struct pf_region *region, size_t bytes,
                                            size_t piece)
{
    size_t each = pf_region_piece_pages(region, bytes);
    size_t left = pf_region_pages(region) - piece * each;
    return (struct pf_run){piece * each, left < each ? left : each};
}

/* A chunk is what the source registers at once, and what the destination tells to have received. */
static inline size_t pf_region_chunk_pages(const struct pf_region *region)
{
    return pf_region_piece_pages(region, PF_CHUNK_BYTES);
}

static inline size_t pf_region_chunks(const struct pf_region *region)
{
    return pf_region_pieces(region, PF_CHUNK_BYTES);
}

static inline struct pf_run pf_region_chunk(const struct pf_region *region, size_t chunk)
{
    return pf_region_piece(region, PF_CHUNK_BYTES, chunk);
}

/* A stretch is what a destination makes of its memory at once. */
static inline size_t pf_region_stretch_pages(const struct pf_region *region)
{
    return pf_region_piece_pages(region, PF_STRETCH_BYTES);
}

static inline size_t pf_region_stretches(const struct pf_region *region)
{
    return pf_region_pieces(region, PF_STRETCH_BYTES);
}

static inline struct pf_run pf_region_stretch(const struct pf_region *region, size_t stretch)
{
    return pf_region_piece(region, PF_STRETCH_BYTES, stretch);
}

static inline char *pf_region_page(const struct pf_region *region, size_t page)
{
    return region->addr + (page << region->page_shift);
}

/* The pages that a range of addresses has a part of; none: 0 pages. */
static inline struct pf_run pf_region_within(const struct pf_region *region, uint64_t start,
                                             uint64_t end)
{
    uint64_t base = (uintptr_t)region->addr;
    uint64_t first = start > base ? start - base : 0;
    uint64_t after = end > base ? end - base : 0;
    if (after > region->bytes)
        after = region->bytes;
    if (first >= after || region->foreign)
        return (struct pf_run){0, 0};
    size_t page = (size_t)first >> region->page_shift;
    return (struct pf_run){page, ((size_t)(after - 1) >> region->page_shift) - page + 1};
}

static inline bool pf_region_shared(const struct pf_region *region)
{
    return region->flags & FERRY_SHARED;
}

/* Not tracked, and sent after the pause only. */
static inline bool pf_region_late(const struct pf_region *region)
{
    return region->flags & FERRY_SEND_LATE;
}

static inline bool pf_region_huge(const struct pf_region *region)
{
    return region->page_shift > PF_PAGE_SHIFT;
}

/*
 * Map zeroed memory for a new region; page_size as in ferry_job_alloc(). -EINVAL, -EEXIST, -ENOSPC
 * (too many regions), -ENOMEM (also when the pool of huge pages is too small).
 */
int pf_regions_map(struct pf_regions *regions, const char *name, size_t bytes, size_t page_size,
                   unsigned flags, struct pf_region **region, struct pf_why *why);

/* Make existing private memory, aligned to its page size, a region. */
int pf_regions_add(struct pf_regions *regions, const char *name, void *addr, size_t bytes,
                   unsigned page_shift, struct pf_why *why);

/*
 * Make a shared mapping of a memfd a region. The descriptor is duplicated; the file is sealed
 * against shrinking where it allows seals. -EINVAL if addr is no such mapping.
 */
int pf_regions_add_file(struct pf_regions *regions, const char *name, void *addr, size_t bytes,
                        int fd, uint64_t offset, struct pf_why *why);

/* Is the file of a shared region still as long as the region needs? 0 for others. */
int pf_region_check_file(const struct pf_region *region, struct pf_why *why);

/* A region whose memory is another process's: a home target shows it (core/arrival/target.h). */
int pf_regions_add_foreign(struct pf_regions *regions, const char *name, size_t bytes,
                           size_t page_size, struct pf_why *why);

/* The region of a name, or -1. */
int pf_regions_named(const struct pf_regions *regions, const char *name);

uint64_t pf_regions_bytes(const struct pf_regions *regions);

void pf_regions_unmap(struct pf_regions *regions);

#endif
