/* SPDX-License-Identifier: BSD-2-Clause */
/* What the destination measures of a migration, and tells the source of it. */
#include "base/clock.h"
#include "core/blocked_report.h"
#include "core/destination.h"
#include "core/progress.h"

static void measure(struct pf_destination *destination)
{
    const struct pf_requests *requests = &destination->faults.requests;
    struct pf_counters *counters = &destination->job->counters;
    const struct {
        _Atomic uint64_t *counter;
        const struct pf_histogram *histogram;
        double share;
    } figures[] = {
        {&counters->service_p50_ns, &requests->service, 0.5},
        {&counters->service_p99_ns, &requests->service, 0.99},
        {&counters->service_p999_ns, &requests->service, 0.999},
        {&counters->read_p50_ns, &requests->read, 0.5},
        {&counters->request_p50_ns, &requests->request, 0.5},
        {&counters->answer_p50_ns, &requests->answer, 0.5},
        {&counters->place_p50_ns, &requests->place, 0.5},
    };
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        pf_count_set(figures[i].counter,
                     (uint64_t)(pf_histogram_us(figures[i].histogram, figures[i].share) * 1000));
    pf_count_set(&counters->remaining_bytes, atomic_load(&destination->arrival.missing_bytes));
    pf_blocked_find_names(&destination->job->blocked);
}

static int tell_counters(struct pf_destination *destination, unsigned type)
{
    struct pf_wire payload;
    measure(destination);
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    pf_progress_put(&payload, &destination->job->counters);
    destination->told_ns = pf_now_ns();
    return pf_session_commit(&destination->session, type, &payload);
}

int pf_destination_tell_progress(struct pf_destination *destination)
{
    return tell_counters(destination, PF_MSG_PROGRESS);
}

static int tell_blocked(struct pf_destination *destination, unsigned type,
                        void (*put)(struct pf_wire *payload, const struct pf_blocked *blocked))
{
    struct pf_wire payload;
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    put(&payload, &destination->job->blocked);
    return pf_session_commit(&destination->session, type, &payload);
}

int pf_destination_tell_complete(struct pf_destination *destination)
{
    pf_blocked_find_names(&destination->job->blocked);
    int error = tell_blocked(destination, PF_MSG_THREADS, pf_blocked_put_threads);
    if (!error)
        error = tell_blocked(destination, PF_MSG_LATENCY, pf_blocked_put_latency);
    return error ? error : tell_counters(destination, PF_MSG_COMPLETE);
}
