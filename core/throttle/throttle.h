/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slowing the job down during pre-copy, in the way that was asked for (option throttle), by as much
 * as core/source/pace.h says. Control thread only. Whatever ends the migration, pf_throttle_end()
 * puts the job back to full speed.
 */
#ifndef PF_CORE_THROTTLE_THROTTLE_H
#define PF_CORE_THROTTLE_THROTTLE_H

#include "core/options.h"
#include "core/throttle/cpu_limit.h"
#include "core/throttle/freezer.h"

#include <stdint.h>

struct ferry_job;

/* Starts as zero. */
struct pf_throttle {
    struct ferry_job *job; /* NULL: not begun, or ended */
    uint64_t since_ns;     /* when it began to count safe points */
    unsigned asked;        /* enum pf_throttle_how: the latest wish; */
    bool tried;            /* to grant it; */
    unsigned how;          /* what came of that: PF_THROTTLE_OFF for nothing */
    unsigned percent;      /* in force */
    struct pf_cpu_limit cpu;
    struct pf_freezer freezer;
};

/* The job runs, rounds begin: count its safe points. Nothing is slowed down yet. */
void pf_throttle_begin(struct pf_throttle *throttle, struct ferry_job *job);

/*
 * Keep the job from running for so many percent of its time from now on; 0 lets it run. `how` is
 * enum pf_throttle_how and may be another one than before. What can't be had here is refused with
 * -errno and a sentence, once: the job runs at full speed then, until `how` is another one.
 */
int pf_throttle_set(struct pf_throttle *throttle, unsigned how, unsigned percent,
                    struct pf_why *why);

/* Is the job slowed down, or could it be, as far as is known? */
static inline bool pf_throttle_works(const struct pf_throttle *throttle, unsigned how)
{
    return how != PF_THROTTLE_OFF &&
           (throttle->asked != how || !throttle->tried || throttle->how != PF_THROTTLE_OFF);
}

/*
 * How long it takes the job to come to a safe point, in ns: what lay between them on average since
 * rounds began, or all the time since then if it came to none.
 */
uint64_t pf_throttle_pause_ns(const struct pf_throttle *throttle);

/* Full speed, and no trace left. Harmless if it has not begun. */
void pf_throttle_end(struct pf_throttle *throttle);

#endif
