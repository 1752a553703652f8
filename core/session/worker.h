/* SPDX-License-Identifier: BSD-2-Clause */
/* An engine thread that owns a lane: starting it, stopping it, and how it tells of its failure. */
#ifndef PF_CORE_SESSION_WORKER_H
#define PF_CORE_SESSION_WORKER_H

#include "core/session/session.h"

#include <pthread.h>
#include <unistd.h>

struct pf_worker {
    pthread_t thread;
    bool started;
    int stop_fd; /* eventfd, readable when the thread is to end or to look */
    atomic_bool stop, nudged;
    atomic_int status; /* the thread's failure, or 0 */
    struct pf_session *session;
    const struct pf_placement *placement; /* where it runs */
    struct pf_why why;                    /* read after pf_worker_stop(), or once status is set */
    void *(*run)(void *arg);
    void *arg;
};

/* Make the descriptor; before pf_worker_start(). It will run where its rail's placement says. */
int pf_worker_init(struct pf_worker *worker, struct pf_session *session, unsigned rail);

/*
 * Start run(arg) with all signals blocked: those of the job are the job's.
 */
int pf_worker_start(struct pf_worker *worker, const char *name, void *(*run)(void *), void *arg);

/*
 * For the thread itself: ask the scheduler for a short time slice. A thread of the normal class
 * with a short slice preempts one with a longer slice when it wakes (Linux 6.12, sched_setattr(2));
 * its share of the CPU stays the same. Older kernels ignore it.
 */
void pf_worker_be_quick(void);

/* Wake it from its sleep, to look for what is new. Any thread, while it runs. */
void pf_worker_nudge(struct pf_worker *worker);

/* For the thread itself, before it looks: take the nudge, so that it can sleep again. */
static inline void pf_worker_heed(struct pf_worker *worker)
{
    uint64_t count;
    if (atomic_load_explicit(&worker->nudged, memory_order_relaxed) &&
        atomic_exchange(&worker->nudged, false))
        (void)!read(worker->stop_fd, &count, sizeof count);
}

/* Ask it to end and wait. Harmless if it never started. */
void pf_worker_stop(struct pf_worker *worker);

/*
 * Called by the thread itself (or who drives its lane before it starts): remember the first failure
 * and wake the control thread. The sentence is what is in worker->why already, else made of `what`.
 */
void pf_worker_fail(struct pf_worker *worker, int status, const char *what);

/* From then on worker->why is the control thread's to read. */
static inline bool pf_worker_failed(struct pf_worker *worker)
{
    return atomic_load(&worker->status) != 0;
}

static inline bool pf_worker_stopping(struct pf_worker *worker)
{
    return atomic_load_explicit(&worker->stop, memory_order_relaxed);
}

/* Copy the failure to the session; 0 if there is none. The control thread's. */
int pf_worker_failure(struct pf_worker *worker);

#endif
