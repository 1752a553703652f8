/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A set of pages, one bit each, that threads share without a lock.
 *
 * Every change of a bit is one atomic read-modify-write, so exactly one thread sees itself make
 * it: claiming a page is clearing its bit. The words are acquire/release: who sees a bit
 * set sees what was written before it was set. The number of members is kept exactly.
 */
#ifndef PF_CORE_MEMORY_PAGESET_H
#define PF_CORE_MEMORY_PAGESET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_pageset {
    _Atomic uint64_t *words; /* mapped, so that untouched parts of a sparse set cost nothing */
    size_t pages;
    _Atomic size_t count;
};

struct pf_run {
    size_t first, pages;
};

/* An empty set over pages 0 .. pages-1. -ENOMEM. */
int pf_pageset_init(struct pf_pageset *set, size_t pages);
void pf_pageset_free(struct pf_pageset *set);

static inline size_t pf_pageset_count(struct pf_pageset *set)
{
    return atomic_load(&set->count);
}

static inline bool pf_pageset_has(struct pf_pageset *set, size_t page)
{
    return atomic_load_explicit(&set->words[page / 64], memory_order_acquire) >> (page % 64) & 1;
}

/*
 * The same as a change of nothing, which has its place among all changes of the page: who removes
 * the page after this look sees all that was done before it.
 */
static inline bool pf_pageset_look(struct pf_pageset *set, size_t page)
{
    return atomic_fetch_or_explicit(&set->words[page / 64], 0, memory_order_acq_rel) >>
               (page % 64) &
           1;
}

/* Add or remove one page; true if this call changed it. */
bool pf_pageset_add(struct pf_pageset *set, size_t page);
bool pf_pageset_remove(struct pf_pageset *set, size_t page);

/* Add or remove a range; the number of pages that this call changed. */
size_t pf_pageset_add_run(struct pf_pageset *set, struct pf_run run);
size_t pf_pageset_remove_run(struct pf_pageset *set, struct pf_run run);

/*
 * Move the members of a range from one set to another, 64 at a time: each is added after it was
 * removed, and exactly one of those who move or claim it gets it.
 */
void pf_pageset_move(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to);

/*
 * Adds runs in ascending order, by one change of the set for all that are in the same word: many
 * short ones cost a fraction of what they do one by one. What was added is in the set after
 * pf_pageset_end_adding().
 */
struct pf_pageset_adder {
    struct pf_pageset *set;
    size_t word; /* `bits` are yet to be added to it */
    uint64_t bits;
};

static inline struct pf_pageset_adder pf_pageset_begin_adding(struct pf_pageset *set)
{
    return (struct pf_pageset_adder){.set = set};
}
void pf_pageset_put(struct pf_pageset_adder *adder, struct pf_run run);
void pf_pageset_end_adding(struct pf_pageset_adder *adder);

/* The first run of members at or after page from; its pages are 0 when there is none. */
struct pf_run pf_pageset_next(struct pf_pageset *set, size_t from);

/*
 * The same, looking no further once max members have been found: in a set of millions of members
 * a run may be long, and who takes it piece by piece must not walk all of it each time.
 */
struct pf_run pf_pageset_next_upto(struct pf_pageset *set, size_t from, size_t max);

/* The first run of at most max members that begins inside a range, as far as it lies inside. */
struct pf_run pf_pageset_next_within(struct pf_pageset *set, struct pf_run range, size_t max);

/*
 * Claim at most max consecutive members that begin exactly at page first: they are removed, and no
 * other claimer gets any of them. Returns how many; 0 if first is no member (any more).
 */
size_t pf_pageset_claim(struct pf_pageset *set, size_t first, size_t max);

#endif
