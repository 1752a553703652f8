/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's fault thread: reads faults from the userfaultfds, asks for pages, places them.
 *
 * One thread polls both the userfaultfds and the urgent lane, so that nothing is handed over on the
 * way of a fault. It never allocates, frees, logs, calls madvise or takes a lock that a thread
 * touching job memory can hold: any of these could make it wait for a fault that only it can serve.
 */
#ifndef PF_CORE_ARRIVAL_FAULTS_H
#define PF_CORE_ARRIVAL_FAULTS_H

#include "core/arrival/requests.h"
#include "core/session/worker.h"

struct pf_fault_thread {
    struct pf_worker worker;
    struct pf_session *session;
    struct pf_arrival *arrival;
    struct pf_requests requests;
    struct pf_idle idle;
    unsigned looks;
    unsigned patience; /* looks to go before yielding: an answer may be there any moment */
};

int pf_fault_thread_open(struct pf_fault_thread *faults, struct pf_session *session,
                         struct pf_arrival *arrival);
/* Take the urgent lane and the userfaultfd over. Runs when it returns 0. */
int pf_fault_thread_start(struct pf_fault_thread *faults);
void pf_fault_thread_close(struct pf_fault_thread *faults);

#endif
