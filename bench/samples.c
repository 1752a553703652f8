/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pf_samples_init(struct pf_samples *samples, size_t room)
{
    *samples = (struct pf_samples){.ns = malloc(room * sizeof *samples->ns), .room = room};
    if (!samples->ns)
        return -ENOMEM;
    memset(samples->ns, 0xff, room * sizeof *samples->ns);
    return 0;
}

void pf_samples_free(struct pf_samples *samples)
{
    free(samples->ns);
    *samples = (struct pf_samples){.ns = NULL};
}

static int compare_times(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int compare_values(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double pf_samples_us(struct pf_samples *samples, double share)
{
    if (samples->count == 0)
        return 0;
    qsort(samples->ns, samples->count, sizeof *samples->ns, compare_times);
    size_t at = (size_t)(share * (double)samples->count);
    if (at >= samples->count)
        at = samples->count - 1;
    return (double)samples->ns[at] / 1000.0;
}

double pf_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_values);
    return values[count / 2];
}
