/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A histogram of durations that one thread fills and any thread reads, in fixed memory.
 *
 * Each power of two is cut in 32 parts, so a reported value is at most 3.2 % above the true
 * one (the scheme of HdrHistogram, whose C library Debian 12 does not carry).
 */
#ifndef PF_CORE_HISTOGRAM_H
#define PF_CORE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { PF_HISTOGRAM_SUB = 32, PF_HISTOGRAM_CELLS = 36 * PF_HISTOGRAM_SUB };

struct pf_histogram {
    _Atomic uint64_t cells[PF_HISTOGRAM_CELLS];
};

/* One thread only. Durations above about 18 minutes count as that. */
void pf_histogram_add(struct pf_histogram *histogram, uint64_t ns);

/* The same for a histogram that several threads fill: a little dearer. */
void pf_histogram_add_shared(struct pf_histogram *histogram, uint64_t ns);

/* Forget everything. */
void pf_histogram_reset(struct pf_histogram *histogram);

/* The smallest duration, in nanoseconds, that falls in a cell. */
uint64_t pf_histogram_from(unsigned cell);

/* The duration in microseconds below which the given share (0.5, 0.99) lies; 0 when empty. */
double pf_histogram_us(const struct pf_histogram *histogram, double share);

#endif
