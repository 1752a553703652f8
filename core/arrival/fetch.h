/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pull mode (--fetch read) as the destination sees it: where the source's pages can be read, and
 * which of them nobody has begun to read.
 *
 * The source's CPU takes no part, so the destination owns `unsent`: a page is claimed by clearing
 * its bit, by the fault thread or the puller, and who claims it reads and places it. Exactly one
 * lane carries a page, as when the source pushes.
 */
#ifndef PF_CORE_ARRIVAL_FETCH_H
#define PF_CORE_ARRIVAL_FETCH_H

#include "core/arrival/arrival.h"
#include "core/session/background.h"
#include "core/session/protocol.h"

/* A stretch of a region that one registration of the source covers. */
struct pf_remote_extent {
    size_t first, pages;
    uint64_t address; /* of its first page, at the source */
    struct pf_rkey urgent, bulk[PF_RAILS_MAX];
};

struct pf_fetch_region {
    struct pf_remote_extent *extents; /* ascending, apart */
    unsigned count, room;
    struct pf_pageset unsent;
};

struct pf_fetch {
    struct pf_arrival *arrival;
    struct pf_fetch_region *regions; /* as many as the arrival has */
    unsigned count;                  /* of regions that were opened */
    unsigned extents;                /* over all regions */
    struct pf_hint hint;             /* given by the fault thread, taken by the puller */
};

/* -ENOMEM. pf_fetch_close() in any case; it is harmless for one that is all zero. */
int pf_fetch_open(struct pf_fetch *fetch, struct pf_arrival *arrival, struct pf_why *why);
void pf_fetch_close(struct pf_fetch *fetch);

/*
 * The source's word where pages can be read. -EPROTO: outside the region, not after the extent
 * before, at no possible address, or one too many. The control thread's, before listening.
 */
int pf_fetch_add(struct pf_fetch *fetch, unsigned region, const struct pf_remote_extent *extent,
                 struct pf_why *why);

/* All has been told: what is missing becomes unsent. -EPROTO: no key covers some of it. */
int pf_fetch_ready(struct pf_fetch *fetch, struct pf_why *why);

/* ---- from here on: any thread ---------------------------------------------------------------- */

/* Where a page is read from. */
struct pf_remote_place {
    uint64_t address;
    size_t pages; /* that can be read from there on in one go */
    const struct pf_remote_extent *extent;
};

/* Only for pages that were missing when it became ready: these are covered. */
struct pf_remote_place pf_fetch_place(const struct pf_fetch *fetch, unsigned region, size_t page);

/* True if the page is the caller's to read now. */
static inline bool pf_fetch_claim(struct pf_fetch *fetch, unsigned region, size_t page)
{
    return pf_pageset_remove(&fetch->regions[region].unsent, page);
}

#endif
