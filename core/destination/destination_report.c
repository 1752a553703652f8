/* SPDX-License-Identifier: BSD-2-Clause */
/* What the destination measures of a migration, and tells the source of it. */
#include "base/clock.h"
#include "core/arrival/blocked_report.h"
#include "core/destination/destination.h"
#include "core/session/progress.h"

#include <stdlib.h>

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
    pf_job_report_rails(destination->job, &destination->session);
}

static int tell_counters(struct pf_destination *destination, unsigned type)
{
    struct pf_wire payload;
    measure(destination);
    destination->told_ns = pf_now_ns();
    /* A source that can't listen now (it may be stopped, with its pages being read) must not keep
     * us from what else is to do. */
    if (type == PF_MSG_PROGRESS && !pf_channel_room(&destination->session.channel))
        return 0;
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    pf_progress_put(&payload, &destination->job->counters);
    return pf_session_commit(&destination->session, type, &payload);
}

/* ---- what has been received whole ------------------------------------------------------------ */

static int open_told(struct pf_destination *destination)
{
    const struct pf_arrival *arrival = &destination->arrival;
    destination->told = calloc(arrival->count ? arrival->count : 1, sizeof *destination->told);
    int error = destination->told ? 0 : -ENOMEM;
    for (unsigned i = 0; i < arrival->count && !error; i++)
        error = pf_pageset_init(&destination->told[i], pf_region_chunks(arrival->list[i].region));
    return error ? pf_why(&destination->session.why, error, "no memory for the sets of chunks") : 0;
}

void pf_destination_close_told(struct pf_destination *destination)
{
    for (unsigned i = 0; destination->told && i < destination->arrival.count; i++)
        pf_pageset_free(&destination->told[i]);
    free(destination->told);
    destination->told = NULL;
}

/* Has a chunk been received that the source does not know of? */
static bool is_news(struct pf_destination *destination, unsigned region, size_t chunk)
{
    struct pf_arriving *arriving = &destination->arrival.list[region];
    struct pf_run pages = pf_region_chunk(arriving->region, chunk);
    return !pf_pageset_has(&destination->told[region], chunk) &&
           pf_pageset_next_within(&arriving->missing, pages, 1).pages == 0;
}

/* The next run of such chunks from one on; 0 pages if there is none. They are told from here on. */
static struct pf_run next_news(struct pf_destination *destination, unsigned region, size_t from)
{
    size_t chunks = pf_region_chunks(destination->arrival.list[region].region);
    while (from < chunks && !is_news(destination, region, from))
        from++;
    struct pf_run run = {from, 0};
    while (run.first + run.pages < chunks && is_news(destination, region, run.first + run.pages))
        pf_pageset_add(&destination->told[region], run.first + run.pages++);
    return run;
}

/* As much of a region's news as fits in one message, from chunk *at on; none: no message. */
static int tell_received_batch(struct pf_destination *destination, unsigned region, size_t *at)
{
    struct pf_wire payload;
    struct pf_run run = next_news(destination, region, *at);
    *at = run.first;
    if (run.pages == 0)
        return 0;
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, region);
    while (run.pages > 0) {
        pf_put_u64(&payload, run.first);
        pf_put_u64(&payload, run.pages);
        *at = run.first + run.pages;
        if (payload.end - payload.at < PF_RUN_BYTES)
            break;
        run = next_news(destination, region, *at);
    }
    return pf_session_commit(&destination->session, PF_MSG_RECEIVED, &payload);
}

static int tell_received(struct pf_destination *destination)
{
    const struct pf_arrival *arrival = &destination->arrival;
    int error = destination->told ? 0 : open_told(destination);
    for (unsigned i = 0; i < arrival->count && !error; i++) {
        size_t chunks = pf_region_chunks(arrival->list[i].region);
        for (size_t at = 0; at < chunks && !error;)
            error = tell_received_batch(destination, i, &at);
    }
    return error;
}

/* ---- telling --------------------------------------------------------------------------------- */

int pf_destination_tell_progress(struct pf_destination *destination)
{
    int error = destination->tells_received ? tell_received(destination) : 0;
    return error ? error : tell_counters(destination, PF_MSG_PROGRESS);
}

static int tell_threads(struct pf_destination *destination)
{
    unsigned at = 0;
    bool more = true;
    while (more) {
        struct pf_wire payload;
        int error = pf_session_begin(&destination->session, &payload);
        if (error)
            return error;
        more = pf_blocked_put_threads(&payload, &destination->job->blocked, &at);
        error = pf_session_commit(&destination->session, PF_MSG_THREADS, &payload);
        if (error)
            return error;
    }
    return 0;
}

static int tell_latency(struct pf_destination *destination)
{
    struct pf_wire payload;
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    pf_blocked_put_latency(&payload, &destination->job->blocked);
    return pf_session_commit(&destination->session, PF_MSG_LATENCY, &payload);
}

int pf_destination_tell_complete(struct pf_destination *destination)
{
    pf_blocked_find_names(&destination->job->blocked);
    int error = tell_threads(destination);
    if (!error)
        error = tell_latency(destination);
    return error ? error : tell_counters(destination, PF_MSG_COMPLETE);
}
