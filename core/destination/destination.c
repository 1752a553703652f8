/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's side of a migration, from the first word of the source to the last page.
 * pf_destination_thread() serves sessions until one has brought the job; a session that fails
 * before that leaves nothing behind, and the next may come.
 */
#include "core/destination/destination.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/arrival/landing.h"
#include "core/clients/clients.h"
#include "core/exit_status.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the beginning --------------------------------------------------------------------------- */

/* What post-copy needs of this host, asked before anything is promised. */
static int probe(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    int error = pf_arrival_open(&destination->arrival, &destination->job->regions,
                                session->counters, session->wake_fd, &session->why);
    destination->arrival.blocked = &destination->job->blocked;
    if (!error)
        error = pf_arrival_probe(&destination->arrival, &session->why);
    return error ? error : pf_destination_prealloc(destination);
}

static int wait_for_source(struct pf_destination *destination)
{
    while (!destination->session.control.connected) {
        int error = pf_clients_failure(destination->job->clients, &destination->session.why);
        if (!error)
            error = pf_session_step(&destination->session);
        if (error)
            return error;
    }
    destination->began_ns = pf_now_ns();
    atomic_store(&destination->job->began_ns, destination->began_ns);
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_ADVISE);
    return 0;
}

/* ---- the lanes ------------------------------------------------------------------------------- */

static bool all_connected(const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (!session->rails[i].bulk.connected)
            return false;
    return session->urgent.connected;
}

static int open_lanes(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_wire payload;
    bool watched = pf_clients_watch_blind(destination->job->clients);
    int error = pf_landings_open(&destination->arrival, session, watched);
    if (!error)
        error = pf_destination_empty(destination);
    if (!error)
        error = pf_fault_thread_open(&destination->faults, session, &destination->arrival);
    if (session->pull && !error)
        error = pf_destination_open_pull(destination);
    pf_squeeze_pool_init(&destination->pool, session->options->compress_threads);
    for (unsigned i = 0; i < session->rail_count && !session->pull && !error; i++)
        error = pf_placer_open(&destination->placers[i], session, i, &destination->arrival,
                               &destination->pool);
    if (error)
        return error;
    destination->lanes_ready = true;
    error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, destination->faults.requests.count);
    pf_put_u32(&payload,
               session->pull ? destination->pullers[0].count : destination->placers[0].stages);
    pf_put_u64(&payload, destination->placers[0].stage_size);
    pf_put_u32(&payload, session->rail_count);
    pf_put_u32(&payload, destination->faults.requests.trays.count);
    pf_put_u64(&payload, destination->faults.requests.trays.size);
    pf_put_u32(&payload, pf_squeeze_built());
    error = pf_session_commit(session, PF_MSG_ACCEPTED, &payload);
    while (!error && !all_connected(session))
        error = pf_session_step(session);
    return error;
}

static int tell_arena(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    if (session->pull)
        return 0; /* the source writes nothing */
    struct pf_requests *requests = &destination->faults.requests;
    struct pf_wire payload;
    uint8_t key[PF_RKEY_BYTES];
    int error = pf_landings_tell(&destination->arrival, session);
    if (!error)
        error = pf_destination_open_rounds(destination);
    if (!error)
        error = pf_rkey_pack(requests->pages_mr, session->urgent.endpoint, key);
    if (!error)
        error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u64(&payload, (uintptr_t)requests->pages);
    pf_put_u32(&payload, (uint32_t)requests->slot_size);
    pf_put_bytes(&payload, key, sizeof key);
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        const struct pf_placer *placer = &destination->placers[i];
        error = pf_rkey_pack(placer->memory_mr, session->rails[i].bulk.endpoint, key);
        pf_put_u64(&payload, (uintptr_t)placer->memory);
        pf_put_bytes(&payload, key, sizeof key);
    }
    memset(key, 0, sizeof key);
    if (!error && requests->trays.count > 0)
        error = pf_rkey_pack(requests->trays.mr, session->urgent.endpoint, key);
    if (error)
        return error;
    pf_put_u64(&payload, (uintptr_t)requests->trays.memory);
    pf_put_bytes(&payload, key, sizeof key);
    return pf_session_commit(session, PF_MSG_ARENA, &payload);
}

/* ---- post-copy ------------------------------------------------------------------------------- */

static int attend(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    int error = pf_clients_failure(destination->job->clients, &session->why);
    if (error)
        return error;
    int got = pf_session_poll(session, &message);
    if (got > 0 && message.type != PF_MSG_RAIL_BROKE)
        return pf_why(&session->why, -EPROTO, "the source spoke out of turn (%s)",
                      pf_message_name(message.type));
    if (got > 0)
        return pf_session_lose_rail(session, &message);
    if (got == 0 && pf_now_ns() - destination->told_ns > session->options->progress_ms * 1000000ull)
        got = pf_destination_tell_progress(destination);
    if (got == 0)
        got = pf_destination_attend_rails(destination);
    return got < 0 ? got : pf_session_step(session);
}

static void stop_placers(struct pf_destination *destination)
{
    for (unsigned i = 0; i < destination->session.rail_count; i++)
        pf_worker_stop(&destination->placers[i].worker);
    pf_destination_stop_pull(destination);
}

/*
 * The link broke. If the last page had come by then it broke too late to matter: threads finish
 * what is in their hands first, the placers while the fault thread still reads events.
 */
static bool has_all(struct pf_destination *destination)
{
    stop_placers(destination);
    pf_worker_stop(&destination->faults.worker);
    return atomic_load(&destination->arrival.missing_bytes) == 0;
}

static int receive_pages(struct pf_destination *destination)
{
    while (atomic_load(&destination->arrival.missing_bytes) > 0) {
        int error = attend(destination);
        if (error && !has_all(destination))
            return error;
    }
    /*
     * Nothing is missing: ranges go back to being plain memory, which wakes whoever still waits.
     * The fault thread serves until then.
     */
    pf_arrival_disarm(&destination->arrival);
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_END);
    pf_memory_locks_restore(&destination->locks, &destination->job->regions);
    pf_worker_stop(&destination->faults.worker);
    stop_placers(destination);
    pf_clients_detach(destination->job->clients, true);
    pf_count_set(&destination->job->counters.total_us,
                 (pf_now_ns() - destination->began_ns) / 1000);
    return 0;
}

/* The source's last word on what its guesses were worth. */
static void take_verdict(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_counters *counters = &destination->job->counters;
    uint64_t useful = pf_get_u64(&message->payload);
    uint64_t useless = pf_get_u64(&message->payload);
    if (message->payload.bad)
        return;
    pf_count_set(&counters->prefetch_useful_pages, useful);
    pf_count_set(&counters->prefetch_useless_pages, useless);
}

static void part(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    /* The job has all it needs: a source that is gone by now changes nothing here. */
    if (pf_destination_tell_complete(destination) != 0)
        return;
    /* Nor does a rail that broke as the last page came. */
    do
        if (pf_session_next(session, &message) != 0)
            return;
    while (message.type == PF_MSG_RAIL_BROKE);
    if (message.type != PF_MSG_BYE)
        return;
    take_verdict(destination, &message);
    pf_session_linger(session);
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct step {
    int (*run)(struct pf_destination *destination);
    enum pf_phase phase; /* entered before it */
};

static int run_steps(struct pf_destination *destination)
{
    static const struct step steps[] = {
        {probe, PF_PHASE_WAITING},
        {wait_for_source, PF_PHASE_WAITING},
        {pf_destination_compare, PF_PHASE_ADVISE},
        {open_lanes, PF_PHASE_ADVISE},
        {tell_arena, PF_PHASE_ADVISE},
        {pf_destination_take_switch, PF_PHASE_ADVISE},
        {pf_destination_start_listen, PF_PHASE_DISCARD},
        {pf_destination_run_job, PF_PHASE_LISTENING},
        {receive_pages, PF_PHASE_POSTCOPY},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        pf_job_set_phase(destination->job, steps[i].phase);
        int error = steps[i].run(destination);
        if (error)
            return error;
    }
    return 0;
}

/* What one session needs; the last one's is closed. */
static int prepare(struct pf_destination *destination)
{
    struct ferry_job *job = destination->job;
    pf_counters_reset(&job->counters);
    pf_blocked_reset(&job->blocked);
    atomic_store(&job->began_ns, 0);
    pf_count_set(&job->counters.total_bytes, pf_regions_bytes(&job->regions));
    pf_job_uncommit(job);
    destination->arrival.uffd.fd = -1;
    destination->greeted = destination->ending = destination->lanes_ready = false;
    destination->rounds = false;
    destination->offers = (struct pf_offers){.list = NULL};
    destination->blob_filled = 0;
    destination->blob = malloc(job->state.bytes ? job->state.bytes : 1);
    if (!destination->blob)
        return pf_why(&destination->session.why, -ENOMEM, "no memory for the job's state");
    pf_destination_take_waiting(destination);
    return 0;
}

/*
 * Faults first: ranges are unregistered while the fault thread still serves. Then the threads, the
 * connections, and the memory that the source could write to as long as these were open.
 */
static void clean_up(struct pf_destination *destination)
{
    pf_arrival_disarm(&destination->arrival);
    pf_worker_stop(&destination->faults.worker);
    stop_placers(destination);
    pf_clients_detach(destination->job->clients, false);
    pf_session_hang_up(&destination->session);
    pf_fault_thread_close(&destination->faults);
    for (unsigned i = 0; i < destination->session.rail_count; i++)
        pf_placer_close(&destination->placers[i]);
    pf_squeeze_pool_close(&destination->pool);
    pf_destination_close_pull(destination);
    pf_destination_close_told(destination);
    pf_populator_stop(&destination->populator);
    pf_offers_close(&destination->offers);
    pf_landings_close(&destination->arrival);
    if (!destination->ran)
        pf_arrival_abandon(&destination->arrival);
    /* What is locked could not have been emptied. */
    pf_memory_locks_restore(&destination->locks, &destination->job->regions);
    pf_arrival_close(&destination->arrival);
    free(destination->blob);
    destination->blob = NULL;
}

/* One session. 0: it brought the job and all of its memory. */
static int serve(struct pf_destination *destination, struct pf_why *why)
{
    struct ferry_job *job = destination->job;
    struct pf_session *session = &destination->session;
    int error = prepare(destination);
    if (!error)
        error = run_steps(destination);
    destination->ending = error != 0;
    if (!error)
        part(destination);
    else
        pf_session_tell_error(session, error);
    *why = session->why;
    if (error && destination->ran) {
        pf_job_attach_session(job, NULL);
        pf_job_lost(job, error, PF_EXIT_ARRIVAL, why);
    }
    clean_up(destination);
    pf_job_notify(job, FERRY_EVENT_END, NULL);
    return error;
}

/* A failure that another try can't cure: this host can't be a destination, or it was given up. */
static bool is_final(const struct pf_destination *destination)
{
    const struct ferry_job *job = destination->job;
    return job->once || atomic_load(&job->cancel) || !destination->greeted ||
           pf_clients_failure(job->clients, NULL);
}

/* Serve until a job is here, or none can come. */
static int serve_all(struct pf_destination *destination, struct pf_why *why)
{
    for (;;) {
        int error = serve(destination, why);
        if (!error || is_final(destination))
            return error;
        pf_error("a migration to here failed, waiting for another: %s", why->text);
        error = pf_session_renew(&destination->session);
        if (error) {
            *why = destination->session.why;
            return error;
        }
    }
}

static int open_and_serve(struct pf_destination *destination, struct pf_why *why)
{
    struct ferry_job *job = destination->job;
    struct pf_session *session = &destination->session;
    pf_job_attach_session(job, session);
    int error = pf_destination_listen(destination);
    if (!error)
        error = serve_all(destination, why);
    else
        *why = session->why;
    pf_job_attach_session(job, NULL);
    pf_destination_stop_listening(destination);
    pf_session_close(session);
    return error;
}

void *pf_destination_thread(void *arg)
{
    struct ferry_job *job = arg;
    struct pf_why why = {"no memory for a migration"};
    struct pf_destination *destination = calloc(1, sizeof *destination);
    int error = -ENOMEM;
    if (destination) {
        destination->job = job;
        destination->session = (struct pf_session){
            .options = &job->options,
            .counters = &job->counters,
            .cancel = &job->cancel,
            .bandwidth = &job->knobs.bandwidth,
            .wake_fd = -1,
        };
        error = open_and_serve(destination, &why);
    }
    free(destination);
    pf_job_set_phase(job, error ? PF_PHASE_FAILED : PF_PHASE_RUNNING);
    pf_job_end_migration(job, error, error ? PF_EXIT_FAILED : PF_EXIT_OK, &why,
                         PF_VERDICT_CONTINUE);
    return NULL;
}
