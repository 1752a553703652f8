/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slowing a job down whose safe points are too rare for it: the CPU controller of cgroup v2.
 *
 * The engine's threads live in the job's process and must not be slowed down with it. So a
 * *threaded* cgroup is made below the process's own, and the job's threads alone are put there: all
 * but those that are named pf-*, as the engine's are. Threads that they start later are born there.
 * The limit is that group's cpu.max. Control thread only.
 */
#ifndef PF_CORE_THROTTLE_CPU_LIMIT_H
#define PF_CORE_THROTTLE_CPU_LIMIT_H

#include "base/why.h"

#include <limits.h>
#include <stdbool.h>

/* Starts as zero. */
struct pf_cpu_limit {
    char home[PATH_MAX];  /* the process's own cgroup */
    char group[PATH_MAX]; /* the job's threads' */
    bool made;            /* the group is there, */
    bool enabled;         /* and home's CPU controller was switched on for it */
    unsigned threads;     /* that were moved */
};

/*
 * Put the job's threads into a group of their own; nothing is limited yet. On failure all is as it
 * was, and the sentence says what is missing: -ENOENT no cgroup v2, -ENOTSUP no CPU controller
 * there, -EACCES, ...
 */
int pf_cpu_limit_open(struct pf_cpu_limit *limit, struct pf_why *why);

/* Keep them from running for so many percent of the time, on all CPUs that they could use. */
int pf_cpu_limit_set(const struct pf_cpu_limit *limit, unsigned percent, struct pf_why *why);

/* All threads back where they were, the group removed. Harmless if it isn't open. */
void pf_cpu_limit_close(struct pf_cpu_limit *limit);

/* Of a period (us): what `percent` less of `cpus` CPUs is, but not less than the kernel allows. */
unsigned long pf_cpu_quota_us(unsigned cpus, unsigned percent, unsigned long period_us);

#endif
