/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PF_CORE_ZERO_H
#define PF_CORE_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whether memory is all zero, a cache line at a time: most pages of a job differ in the first.
 * size is a multiple of 64, p aligned to 8.
 */
static inline bool pf_all_zero(const void *p, size_t size)
{
    const uint64_t *word = p;
    for (size_t i = 0; i < size / sizeof *word; i += 8) {
        uint64_t any = word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] |
                       word[i + 5] | word[i + 6] | word[i + 7];
        if (any)
            return false;
    }
    return true;
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
