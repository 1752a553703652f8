/* SPDX-License-Identifier: BSD-2-Clause */
/* Many threads that touch the pages of one arrived job at once. */
#ifndef PF_BENCH_CROWD_H
#define PF_BENCH_CROWD_H

#include "bench/move.h"
#include "bench/samples.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PF_CROWD_MAX = 64 };

struct pf_crowd;

struct pf_crowd_thread {
    pthread_t thread;
    struct pf_crowd *crowd;
    struct pf_samples samples; /* of its touches */
};

struct pf_crowd {
    unsigned count;
    struct pf_crowd_thread threads[PF_CROWD_MAX];
    const struct pf_moved *moved;
    size_t *order;
    size_t pages;
    _Atomic size_t next;   /* in order: whoever is free takes it */
    _Atomic size_t wrong;  /* a page that arrived with wrong data, counted from 1 */
    pthread_rwlock_t gate; /* kept shut until all of them exist */
};

/* Room for so many touches by each thread. -ENOMEM. */
int pf_crowd_init(struct pf_crowd *crowd, unsigned count, size_t samples);
void pf_crowd_free(struct pf_crowd *crowd);

/*
 * Let the threads touch every page of the job once, in random order; all begin together. *seconds:
 * from then until the last touch. Each keeps the times of its own touches, until the next call.
 */
int pf_crowd_touch(struct pf_crowd *crowd, const struct pf_moved *moved, double *seconds,
                   struct pf_why *why);

/* Over all threads' touches; of all threads' own percentiles the largest (sorts the samples). */
double pf_crowd_mean_us(const struct pf_crowd *crowd);
double pf_crowd_worst_us(struct pf_crowd *crowd, double share);

#endif
