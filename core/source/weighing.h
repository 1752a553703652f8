/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --fewer-bytes auto at the source: the first round begins with pages as they are; once it is known
 * how many of them the link takes, some are compressed to see what that would be worth. Where it
 * turns out to be worth less, since others want the CPU as well, it is given up again.
 */
#ifndef PF_CORE_SOURCE_WEIGHING_H
#define PF_CORE_SOURCE_WEIGHING_H

#include <stdbool.h>
#include <stdint.h>

struct pf_source;

/* Starts as zero. */
struct pf_weighing {
    uint64_t began_ns; /* the round */
    uint64_t since_ns,
        counted; /* when the link was busy for sure, and how much had been sent then */
    double link; /* what pages are compressed for, until that has proved right; or 0 */
};

/*
 * Called now and then in each round, and when the first is over. Harmless where there
 * is nothing to decide. The control thread. -ENOMEM, -EINVAL: the cache.
 */
int pf_source_weigh(struct pf_source *source, bool over);

#endif
