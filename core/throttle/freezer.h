/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slowing a job down whose work is done by child processes: their cgroup is frozen for a part of
 * each tenth of a second, by a thread of its own. Only whole cgroups can be frozen, and no threaded
 * ones, so this can't be had for the job's own process: the engine would stand still with it.
 */
#ifndef PF_CORE_THROTTLE_FREEZER_H
#define PF_CORE_THROTTLE_FREEZER_H

#include "base/why.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

/* Starts as zero. */
struct pf_freezer {
    char group[PATH_MAX];
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* both below, with the lock held */
    bool stop;
    unsigned percent;
};

/*
 * Find the cgroup of the job's child processes. All of them have to be in one, and nobody else; the
 * job itself must not be in it. -ENOTSUP and a sentence if it is otherwise; -ENOENT no cgroup v2.
 * The control thread's, like the next two.
 */
int pf_freezer_open(struct pf_freezer *freezer, struct pf_why *why);

/* Freeze it for so many percent of the time; 0 thaws it. Heeded at once. */
void pf_freezer_set(struct pf_freezer *freezer, unsigned percent);

/* It is thawed for good when this returns. Harmless if it isn't open. */
void pf_freezer_close(struct pf_freezer *freezer);

#endif
