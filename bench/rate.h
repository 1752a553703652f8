/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast this host does some work by itself, without a transport. */
#ifndef PF_BENCH_RATE_H
#define PF_BENCH_RATE_H

#include <stddef.h>
#include <stdint.h>

struct pf_work {
    void (*once)(void *ctx);
    void *ctx;
    size_t bytes; /* that once() goes through */
};

/* GB/s of work that is repeated for about so long, at least once, after a first time to warm up. */
double pf_work_rate(const struct pf_work *work, uint64_t budget_ns);

#endif
