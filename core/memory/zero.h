/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether pages are all zero, by the widest vectors that the CPU has. A job may be writing to the
 * pages meanwhile: the answer then holds for some moment between the call and the return.
 */
#ifndef PF_CORE_MEMORY_ZERO_H
#define PF_CORE_MEMORY_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PF_ZERO_LINE = 64, PF_ZERO_WAYS_MAX = 3 };

/* One way of looking; size is a multiple of 64, p aligned to 8. */
struct pf_zero_way {
    const char *name; /* "avx512", "avx2" or "plain" */
    bool (*all_zero)(const void *p, size_t size);
};

/* The ways that this CPU has, the widest first; how many. For tests and measurements. */
unsigned pf_zero_ways(struct pf_zero_way ways[PF_ZERO_WAYS_MAX]);

/* All of it by the widest way. */
bool pf_zero_widest(const void *p, size_t size);

/* Most pages of a job differ in the first line: those are known without a call. */
__attribute__((no_sanitize_thread)) static inline bool pf_all_zero(const void *p, size_t size)
{
    const uint64_t *word = p;
    uint64_t any = word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7];
    return any == 0 && pf_zero_widest(p, size);
}

/* How many of a row of pages are of the same kind, all zero or not, as the first. */
static inline size_t pf_same_kind(const char *first, size_t page_size, size_t pages, bool *zero)
{
    size_t n = 1;
    *zero = pf_all_zero(first, page_size);
    while (n < pages && pf_all_zero(first + n * page_size, page_size) == *zero)
        n++;
    return n;
}

#endif
