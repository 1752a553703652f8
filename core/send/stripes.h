/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which rail sends which part of a region first. A region is cut into stripes; each is one rail's
 * own, and rails take of others' stripes only when their own are empty. Where the stripes of a
 * region lie on different memory nodes, a rail gets those on the node of its NIC.
 */
#ifndef PF_CORE_SEND_STRIPES_H
#define PF_CORE_SEND_STRIPES_H

#include "core/memory/pageset.h"

#include <stdint.h>

enum { PF_STRIPE_BYTES = 16 << 20 };

struct pf_stripes {
    size_t pages;   /* of the region */
    size_t unit;    /* pages in a stripe; the last may be shorter */
    size_t count;   /* stripes */
    uint8_t *rails; /* whose each of them is */
};

/*
 * Cut a region into stripes of 16 MiB, or smaller ones if there would be fewer than rails; each
 * rail gets one stretch of them. -ENOMEM.
 */
int pf_stripes_init(struct pf_stripes *stripes, size_t pages, unsigned page_shift, unsigned rails);
void pf_stripes_free(struct pf_stripes *stripes);

/*
 * Deal the stripes out by node: nodes[i] is where stripe i lies, rail_nodes[i] where rail i's NIC
 * is, both negative if unknown. The rails of a node share its stripes; all rails share what lies
 * where no rail is. Each share is one stretch, as far as the nodes let it.
 */
void pf_stripes_deal(struct pf_stripes *stripes, const int *nodes, const int *rail_nodes,
                     unsigned rails);

static inline unsigned pf_stripes_rail(const struct pf_stripes *stripes, size_t page)
{
    return stripes->rails[page / stripes->unit];
}

/* The pages of one stripe. */
struct pf_run pf_stripes_at(const struct pf_stripes *stripes, size_t stripe);

/* The first run of pages at or behind a page that are a rail's own; its pages are 0 if none are. */
struct pf_run pf_stripes_own(const struct pf_stripes *stripes, unsigned rail, size_t page);

#endif
