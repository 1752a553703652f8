/* SPDX-License-Identifier: BSD-2-Clause */
/* The inner loops of the jobs, for the jobs themselves and for what measures their way of access.
 */
#ifndef PF_BENCH_JOBS_KERNELS_H
#define PF_BENCH_JOBS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* heat: the inner points of a row of n become the means of their four neighbours before. */
static inline void heat_relax_row(const double *here, double *to, size_t n)
{
    for (size_t column = 1; column < n - 1; column++)
        to[column] =
            0.25 * (here[column - 1] + here[column + 1] + here[column - n] + here[column + n]);
}

/* gups: the numbers r <- 2 r over GF(2) modulo x^63 + x^2 + x + 1, beginning with 1. */
static inline uint64_t gups_next(uint64_t r)
{
    enum { POLYNOMIAL = 7 };
    return r << 1 ^ ((int64_t)r < 0 ? POLYNOMIAL : 0);
}

/* `count` updates of a table of mask + 1 words; returns the last random number. */
static inline uint64_t gups_update(uint64_t *table, uint64_t mask, uint64_t r, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        r = gups_next(r);
        table[r & mask] ^= r;
    }
    return r;
}

#endif
