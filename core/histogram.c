/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/histogram.h"

#include <math.h>

/* Below 32 each value has its own cell; above, cell = (power - 4) * 32 + next five bits. */
static unsigned cell_of(uint64_t ns)
{
    if (ns < PF_HISTOGRAM_SUB)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    unsigned cell =
        (power - 4) * PF_HISTOGRAM_SUB + (unsigned)(ns >> (power - 5) & (PF_HISTOGRAM_SUB - 1));
    return cell < PF_HISTOGRAM_CELLS ? cell : PF_HISTOGRAM_CELLS - 1;
}

/* The largest value that falls in a cell. */
static uint64_t cell_top(unsigned cell)
{
    if (cell < PF_HISTOGRAM_SUB)
        return cell;
    unsigned shift = cell / PF_HISTOGRAM_SUB - 1;
    uint64_t part = PF_HISTOGRAM_SUB + cell % PF_HISTOGRAM_SUB;
    return ((part + 1) << shift) - 1;
}

void pf_histogram_add(struct pf_histogram *histogram, uint64_t ns)
{
    _Atomic uint64_t *cell = &histogram->cells[cell_of(ns)];
    /* One writer: a plain increment, atomic only so that readers see whole values. */
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void pf_histogram_add_shared(struct pf_histogram *histogram, uint64_t ns)
{
    atomic_fetch_add_explicit(&histogram->cells[cell_of(ns)], 1, memory_order_relaxed);
}

void pf_histogram_reset(struct pf_histogram *histogram)
{
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS; i++)
        atomic_store_explicit(&histogram->cells[i], 0, memory_order_relaxed);
}

uint64_t pf_histogram_from(unsigned cell)
{
    return cell > 0 ? cell_top(cell - 1) + 1 : 0;
}

double pf_histogram_us(const struct pf_histogram *histogram, double share)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS; i++)
        total += atomic_load_explicit(&histogram->cells[i], memory_order_relaxed);
    if (total == 0)
        return 0;
    uint64_t wanted = (uint64_t)ceil(share * (double)total);
    uint64_t seen = 0;
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS; i++) {
        seen += atomic_load_explicit(&histogram->cells[i], memory_order_relaxed);
        if (seen >= wanted && seen > 0)
            return (double)cell_top(i) / 1000.0;
    }
    return (double)cell_top(PF_HISTOGRAM_CELLS - 1) / 1000.0;
}
