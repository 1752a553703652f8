/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/pageset.h"

#include <errno.h>
#include <sys/mman.h>

enum { WORD_BITS = 64 };

static size_t set_bytes(size_t pages)
{
    return (pages + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
}

int pf_pageset_init(struct pf_pageset *set, size_t pages)
{
    void *words = mmap(NULL, set_bytes(pages ? pages : 1), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (words == MAP_FAILED)
        return -ENOMEM;
    set->words = words;
    set->pages = pages;
    atomic_store(&set->count, 0);
    return 0;
}

void pf_pageset_free(struct pf_pageset *set)
{
    if (set->words)
        munmap((void *)set->words, set_bytes(set->pages ? set->pages : 1));
    set->words = NULL;
}

/* Bits from .. from+n-1 of one word; n is 1 .. 64 and the range stays inside. */
static uint64_t mask_of(unsigned from, size_t n)
{
    return (n >= WORD_BITS ? ~0ull : (1ull << n) - 1) << from;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool pf_pageset_add(struct pf_pageset *set, size_t page)
{
    return pf_pageset_add_run(set, (struct pf_run){page, 1}) == 1;
}

bool pf_pageset_remove(struct pf_pageset *set, size_t page)
{
    return pf_pageset_remove_run(set, (struct pf_run){page, 1}) == 1;
}

size_t pf_pageset_add_run(struct pf_pageset *set, struct pf_run run)
{
    size_t changed = 0;
    while (run.pages > 0) {
        unsigned bit = (unsigned)(run.first % WORD_BITS);
        size_t here = least(run.pages, WORD_BITS - bit);
        uint64_t mask = mask_of(bit, here);
        uint64_t old = atomic_fetch_or_explicit(&set->words[run.first / WORD_BITS], mask,
                                                memory_order_acq_rel);
        changed += (size_t)__builtin_popcountll(mask & ~old);
        run.first += here;
        run.pages -= here;
    }
    if (changed)
        atomic_fetch_add(&set->count, changed);
    return changed;
}

size_t pf_pageset_remove_run(struct pf_pageset *set, struct pf_run run)
{
    size_t changed = 0;
    while (run.pages > 0) {
        unsigned bit = (unsigned)(run.first % WORD_BITS);
        size_t here = least(run.pages, WORD_BITS - bit);
        uint64_t mask = mask_of(bit, here);
        uint64_t old = atomic_fetch_and_explicit(&set->words[run.first / WORD_BITS], ~mask,
                                                 memory_order_acq_rel);
        changed += (size_t)__builtin_popcountll(mask & old);
        run.first += here;
        run.pages -= here;
    }
    if (changed)
        atomic_fetch_sub(&set->count, changed);
    return changed;
}

static void add_bits(struct pf_pageset *set, size_t word, uint64_t bits)
{
    uint64_t old = atomic_fetch_or_explicit(&set->words[word], bits, memory_order_acq_rel);
    size_t added = (size_t)__builtin_popcountll(bits & ~old);
    if (added)
        atomic_fetch_add(&set->count, added);
}

static uint64_t take_bits(struct pf_pageset *set, size_t word, uint64_t bits)
{
    if (!(atomic_load_explicit(&set->words[word], memory_order_acquire) & bits))
        return 0;
    uint64_t old = atomic_fetch_and_explicit(&set->words[word], ~bits, memory_order_acq_rel);
    if (bits & old)
        atomic_fetch_sub(&set->count, (size_t)__builtin_popcountll(bits & old));
    return bits & old;
}

void pf_pageset_move(struct pf_pageset *from, struct pf_run range, struct pf_pageset *to)
{
    while (range.pages > 0) {
        unsigned bit = (unsigned)(range.first % WORD_BITS);
        size_t here = least(range.pages, WORD_BITS - bit);
        uint64_t moved = take_bits(from, range.first / WORD_BITS, mask_of(bit, here));
        if (moved)
            add_bits(to, range.first / WORD_BITS, moved);
        range.first += here;
        range.pages -= here;
    }
}

void pf_pageset_end_adding(struct pf_pageset_adder *adder)
{
    if (adder->bits)
        add_bits(adder->set, adder->word, adder->bits);
    adder->bits = 0;
}

void pf_pageset_put(struct pf_pageset_adder *adder, struct pf_run run)
{
    size_t word = run.first / WORD_BITS;
    if (word != adder->word || run.first % WORD_BITS + run.pages > WORD_BITS)
        pf_pageset_end_adding(adder);
    if (run.first % WORD_BITS + run.pages > WORD_BITS) {
        pf_pageset_add_run(adder->set, run);
        return;
    }
    adder->word = word;
    adder->bits |= mask_of((unsigned)(run.first % WORD_BITS), run.pages);
}

/* The first member at or after page from, or any number from `end` on. */
static size_t first_member(struct pf_pageset *set, size_t from, size_t end)
{
    while (from < end) {
        uint64_t word = atomic_load_explicit(&set->words[from / WORD_BITS], memory_order_acquire) >>
                        (from % WORD_BITS);
        if (word)
            return from + (size_t)__builtin_ctzll(word);
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return end;
}

/* How many members follow one another from page from on, looking no further than its word. */
static size_t members_in_word(uint64_t word, size_t from)
{
    uint64_t inverted = ~(word >> (from % WORD_BITS));
    size_t length = inverted ? (size_t)__builtin_ctzll(inverted) : WORD_BITS;
    return least(length, WORD_BITS - from % WORD_BITS);
}

struct pf_run pf_pageset_next(struct pf_pageset *set, size_t from)
{
    return pf_pageset_next_upto(set, from, SIZE_MAX);
}

struct pf_run pf_pageset_next_upto(struct pf_pageset *set, size_t from, size_t max)
{
    return pf_pageset_next_within(set, (struct pf_run){from, set->pages - least(from, set->pages)},
                                  max);
}

struct pf_run pf_pageset_next_within(struct pf_pageset *set, struct pf_run range, size_t max)
{
    size_t end = range.first + range.pages;
    struct pf_run run = {first_member(set, range.first, end), 0};
    if (run.first >= end)
        return (struct pf_run){end, 0};
    size_t at = run.first;
    while (at < end && run.pages < max) {
        uint64_t word = atomic_load_explicit(&set->words[at / WORD_BITS], memory_order_acquire);
        size_t more = members_in_word(word, at);
        run.pages += more;
        at += more;
        if (more == 0 || at % WORD_BITS != 0)
            break;
    }
    run.pages = least(run.pages, least(max, end - run.first));
    return run;
}

/*
 * Claim members from page from on, at most max and inside one word. The word is exchanged whole:
 * no bit is ever taken away and put back, which another claimer could mistake for a claimed page.
 */
static size_t claim_in_word(struct pf_pageset *set, size_t from, size_t max)
{
    _Atomic uint64_t *word = &set->words[from / WORD_BITS];
    uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        size_t wanted = least(members_in_word(seen, from), max);
        if (wanted == 0)
            return 0;
        uint64_t left = seen & ~mask_of((unsigned)(from % WORD_BITS), wanted);
        if (atomic_compare_exchange_weak_explicit(word, &seen, left, memory_order_acq_rel,
                                                  memory_order_acquire))
            return wanted;
    }
}

size_t pf_pageset_claim(struct pf_pageset *set, size_t first, size_t max)
{
    size_t claimed = 0;
    while (claimed < max && first + claimed < set->pages) {
        size_t more = claim_in_word(set, first + claimed, max - claimed);
        claimed += more;
        if (more == 0 || (first + claimed) % WORD_BITS != 0)
            break;
    }
    if (claimed)
        atomic_fetch_sub(&set->count, claimed);
    return claimed;
}
