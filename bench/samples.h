/* SPDX-License-Identifier: BSD-2-Clause */
/* Durations as they were measured, all of them kept, and figures drawn from them. */
#ifndef PF_BENCH_SAMPLES_H
#define PF_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct pf_samples {
    uint64_t *ns;
    size_t count, room;
};

/* Room for at most so many; the memory is touched, so that adding never faults. -ENOMEM. */
int pf_samples_init(struct pf_samples *samples, size_t room);
void pf_samples_free(struct pf_samples *samples);

/* Beyond the room samples are dropped. */
static inline void pf_samples_add(struct pf_samples *samples, uint64_t ns)
{
    if (samples->count < samples->room)
        samples->ns[samples->count++] = ns;
}

/*
 * The duration in microseconds that the given share (0.5, 0.99) of the samples stays below; 0 when
 * there are none. Sorts the samples.
 */
double pf_samples_us(struct pf_samples *samples, double share);

/* The middle one; of an even number the upper of the two. Sorts values; count is at least 1. */
double pf_median(double *values, size_t count);

#endif
