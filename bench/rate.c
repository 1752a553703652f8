/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/rate.h"

#include "base/clock.h"

#define SLICE_NS 1000000ull

/* So many times that reading the clock between them does not count. */
static size_t times_in_a_slice(const struct pf_work *work)
{
    size_t times = 1;
    for (;;) {
        uint64_t start = pf_now_ns();
        for (size_t i = 0; i < times; i++)
            work->once(work->ctx);
        if (pf_now_ns() - start >= SLICE_NS / 2)
            return times;
        times *= 2;
    }
}

double pf_work_rate(const struct pf_work *work, uint64_t budget_ns)
{
    size_t times = times_in_a_slice(work), done = 0;
    uint64_t start = pf_now_ns(), ns;
    do {
        for (size_t i = 0; i < times; i++)
            work->once(work->ctx);
        done += times;
        ns = pf_now_ns() - start;
    } while (ns < budget_ns);
    return (double)done * (double)work->bytes / (double)ns;
}
