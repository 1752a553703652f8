/* SPDX-License-Identifier: BSD-2-Clause */
/* Touching pages by the toucher's own clock, and the order in which that is done. */
#ifndef PF_BENCH_TOUCH_H
#define PF_BENCH_TOUCH_H

#include "base/clock.h"

#include <stddef.h>
#include <stdint.h>

enum { PF_TOUCH_PAGE = 4096 };

/* A step of the SplitMix64 generator (Steele, Lea, Flood: OOPSLA 2014). */
static inline uint64_t pf_mix(uint64_t number)
{
    number += 0x9e3779b97f4a7c15ull;
    number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9ull;
    number = (number ^ number >> 27) * 0x94d049bb133111ebull;
    return number ^ number >> 31;
}

/* The numbers 0 .. pages-1 in random order. NULL: no memory. The caller frees it. */
size_t *pf_touch_order(size_t pages, uint64_t seed);

/* Read a page's first word; *ns: from before the touch to its end. */
static inline uint64_t pf_touch(const char *page, uint64_t *ns)
{
    uint64_t start = pf_now_ns();
    uint64_t word = *(const volatile uint64_t *)page;
    *ns = pf_now_ns() - start;
    return word;
}

#endif
