/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's half of the switch: what is yet to come, the state, arming, and running. */
#include "core/destination/destination.h"

#include "core/clients/clients.h"

/* ---- memory ---------------------------------------------------------------------------------- */

int pf_destination_prealloc(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    if (session->options->prealloc != PF_PREALLOC_ON)
        return 0;
    /* What is locked can't be emptied. */
    pf_memory_locks_release(&destination->locks, &destination->job->regions);
    int error = pf_arrival_freshen(&destination->arrival, &session->why);
    if (!error)
        pf_populator_start(&destination->populator, &destination->arrival, session, false);
    return error;
}

int pf_destination_empty(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    unsigned when = session->options->prealloc;
    bool ahead = when == PF_PREALLOC_ON || (when == PF_PREALLOC_AUTO && pf_populator_pays(session));
    if (!destination->rounds)
        return pf_arrival_unmake(&destination->arrival, &session->why);
    pf_memory_locks_release(&destination->locks, &destination->job->regions);
    int error = pf_arrival_prepare(&destination->arrival, ahead, &session->why);
    if (!error)
        pf_populator_start(&destination->populator, &destination->arrival, session, true);
    return error;
}

/* ---- pre-copy -------------------------------------------------------------------------------- */

static int start_placers(struct pf_destination *destination)
{
    int error = 0;
    for (unsigned i = 0; i < destination->session.rail_count && !error; i++)
        error = pf_placer_start(&destination->placers[i]);
    return error;
}

int pf_destination_open_rounds(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    if (!destination->rounds)
        return 0;
    int error = pf_offers_open(&destination->offers, &destination->arrival, session);
    if (error)
        return error;
    pf_session_hand_over(session);
    return start_placers(destination);
}

static int close_windows(struct pf_destination *destination, struct pf_message *message)
{
    int error = pf_session_check(&destination->session, message);
    pf_populator_stop(&destination->populator);
    pf_offers_close(&destination->offers);
    return error ? error : pf_session_say(&destination->session, PF_MSG_WINDOWS_CLOSED);
}

static int take_round(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_counters *counters = &destination->job->counters;
    uint32_t number = pf_get_u32(&message->payload);
    uint64_t left = pf_get_u64(&message->payload);
    int error = pf_session_check(&destination->session, message);
    if (error)
        return error;
    pf_count_set(&counters->round, number);
    pf_count_set(&counters->remaining_bytes, left);
    return 0;
}

/* ---- what is yet to come --------------------------------------------------------------------- */

static int take_unsent(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_wire *payload = &message->payload;
    uint32_t region = pf_get_u32(payload);
    while (!payload->bad && payload->at < payload->end) {
        struct pf_run run = {.first = pf_get_u64(payload)};
        run.pages = pf_get_u64(payload);
        if (!payload->bad && !pf_arrival_expect(&destination->arrival, region, run))
            payload->bad = true;
    }
    return pf_session_check(&destination->session, message);
}

static int take_state(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_wire *payload = &message->payload;
    size_t room = destination->job->state.bytes - destination->blob_filled;
    uint64_t at = pf_get_u64(payload);
    size_t part = payload->bad ? 0 : (size_t)(payload->end - payload->at);
    if (at != destination->blob_filled || part > room)
        payload->bad = true;
    if (!payload->bad) {
        pf_get_bytes(payload, destination->blob + destination->blob_filled, part);
        destination->blob_filled += part;
    }
    return pf_session_check(&destination->session, message);
}

/* One message before LISTEN. */
static int take_one(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_session *session = &destination->session;
    bool early = destination->blob_filled == 0;
    switch (message->type) {
    case PF_MSG_UNSENT:
        if (early)
            return take_unsent(destination, message);
        break;
    case PF_MSG_KEYS:
        if (early && session->pull)
            return pf_destination_take_keys(destination, message);
        break;
    case PF_MSG_WANT:
        if (early && destination->rounds)
            return pf_offers_take_want(&destination->offers, &destination->arrival, session,
                                       message);
        break;
    case PF_MSG_CLOSE_WINDOWS:
        if (early && pf_offers_are_open(&destination->offers))
            return close_windows(destination, message);
        break;
    case PF_MSG_ROUND:
        if (early && pf_offers_are_open(&destination->offers))
            return take_round(destination, message);
        break;
    case PF_MSG_STATE:
        return take_state(destination, message);
    default:
        break;
    }
    return pf_why(&session->why, -EPROTO, "the source sent %s out of turn",
                  pf_message_name(message->type));
}

/* What comes in rounds, then unsent runs, in pull mode their keys, then state. */
int pf_destination_take_switch(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_DISCARD);
    pf_job_set_phase(destination->job, destination->rounds ? PF_PHASE_PRECOPY : PF_PHASE_DISCARD);
    for (;;) {
        int error = pf_session_next(session, &message);
        /* The job stands at its source. */
        if (!error && (message.type == PF_MSG_UNSENT || message.type == PF_MSG_STATE))
            pf_job_set_phase(destination->job, PF_PHASE_DISCARD);
        if (!error && message.type == PF_MSG_LISTEN &&
            destination->blob_filled == destination->job->state.bytes)
            return pf_session_check(session, &message);
        if (!error)
            error = take_one(destination, &message);
        if (error)
            return error;
    }
}

/* ---- listening and running ------------------------------------------------------------------- */

int pf_destination_start_listen(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct ferry_job *job = destination->job;
    int error = session->pull ? pf_destination_ready_pull(destination) : 0;
    if (error)
        return error;
    /* No page may come to be by itself from here on. */
    pf_populator_stop(&destination->populator);
    if (!destination->rounds) {
        pf_memory_locks_release(&destination->locks, &job->regions);
        pf_session_hand_over(session);
    }
    /* What is pinned can't be dropped. */
    if (atomic_load(&destination->arrival.missing_bytes) > 0)
        pf_offers_close(&destination->offers);
    pf_job_notify(job, FERRY_EVENT_LISTEN, NULL);
    pf_clients_attach(job->clients, &destination->arrival);
    /* The fault thread runs before the first page can fault. */
    error = pf_fault_thread_start(&destination->faults);
    if (!error)
        error = pf_arrival_arm(&destination->arrival, &session->why);
    if (session->pull && !error)
        error = pf_destination_start_pull(destination);
    if (!session->pull && !destination->rounds && !error)
        error = start_placers(destination);
    if (error)
        return error;
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_LISTENING);
    error = pf_job_commit(job, &session->why);
    return error ? error : pf_session_say(session, PF_MSG_LISTENING);
}

int pf_destination_run_job(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    int error = pf_session_expect(session, PF_MSG_RUN, &message);
    if (!error)
        error = pf_session_check(session, &message);
    if (!error)
        error = pf_session_failure(session);
    if (error)
        return error;
    destination->ran = true;
    pf_session_outlive_rails(session);
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_RUNNING);
    pf_state_restore(&destination->job->state, destination->blob);
    pf_job_arrive(destination->job);
    return pf_session_say(session, PF_MSG_RUNNING);
}
