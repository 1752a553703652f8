/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's half of the switch: from the pause to the destination's word that the job runs. */
#include "core/source/source.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

static uint64_t since_us(uint64_t then)
{
    return (pf_now_ns() - then) / 1000;
}

void pf_source_ask_pause(struct pf_source *source)
{
    if (source->asked_ns > 0)
        return;
    source->asked_ns = pf_now_ns();
    pf_job_want_pause(source->job);
}

bool pf_source_paused(struct pf_source *source)
{
    if (source->paused_ns == 0 && pf_job_paused(source->job))
        source->paused_ns = pf_now_ns();
    return source->paused_ns > 0;
}

void pf_source_unpause(struct pf_source *source)
{
    source->asked_ns = source->paused_ns = 0;
    pf_job_unpause(source->job);
}

int pf_source_pause(struct pf_source *source)
{
    pf_source_ask_pause(source);
    while (!pf_source_paused(source)) {
        struct pf_message message;
        int got = pf_session_poll(&source->session, &message);
        if (got > 0)
            return pf_why(&source->session.why, -EPROTO, "the destination spoke out of turn (%s)",
                          pf_message_name(message.type));
        int error = got < 0 ? got : pf_session_step(&source->session);
        if (error)
            return error;
    }
    pf_count_set(&source->job->counters.pause_us, (source->paused_ns - source->asked_ns) / 1000);
    return 0;
}

int pf_source_pin(struct pf_source *source, unsigned pin)
{
    struct pf_session *session = &source->session;
    struct pf_source_memory *memory = &source->memory;
    atomic_store(&memory->unpinned, pin == PF_PIN_STAGE);
    int error = pf_source_memory_check(memory, source->populated, &session->why);
    if (!error || pin != PF_PIN_AUTO)
        return error;
    pf_warn("%s. Until then pages are copied on their way (as with --pin stage)",
            session->why.text);
    pf_job_note(source->job, PF_NOTE_PINNED, "nothing: %s", session->why.text);
    session->why = (struct pf_why){""};
    atomic_store(&memory->unpinned, true);
    return 0;
}

int pf_source_open_memory(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    struct pf_source_memory *memory = &source->memory;
    struct pf_source_rails rails = {.count = session->rail_count};
    for (unsigned i = 0; i < session->rail_count; i++) {
        rails.devices[i] = session->rails[i].device;
        rails.nodes[i] = session->rails[i].placement.node;
    }
    int error = pf_source_memory_open(memory, &rails, &source->job->regions, &session->why);
    return error || session->pull ? error : pf_source_pin(source, source->rounds.pin);
}

int pf_source_scan(struct pf_source *source)
{
    uint64_t before = pf_now_ns();
    struct pf_session *session = &source->session;
    int error = source->session.rounds ? pf_rounds_end(source) : pf_source_open_memory(source);
    if (!error && !source->session.rounds)
        error = pf_source_memory_scan(&source->memory, &session->why);
    if (!error && session->options->release_ram)
        error =
            pf_release_open(&source->release, &source->memory, session->counters, &session->why);
    if (error)
        return error;
    /* It is happening: nothing of it is expected any more. */
    pf_count_set(&source->job->counters.expected_downtime_us, 0);
    pf_count_set(&source->job->counters.eta_ms, 0);
    pf_count_set(&source->job->counters.remaining_bytes, pf_source_memory_unsent(&source->memory));
    pf_count_set(&source->job->counters.scan_us,
                 since_us(before) - pf_count_get(&source->job->counters.rest_us));
    return 0;
}

/* As many of a region's unsent runs as fit in one message, from page *at on. */
static int tell_unsent_batch(struct pf_source *source, unsigned id, size_t *at)
{
    struct pf_pageset *unsent = &source->memory.regions[id].unsent;
    struct pf_wire payload;
    int error = pf_session_begin(&source->session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, id);
    while (payload.end - payload.at >= PF_RUN_BYTES) {
        struct pf_run run = pf_pageset_next(unsent, *at);
        if (run.pages == 0) {
            *at = unsent->pages;
            break;
        }
        pf_put_u64(&payload, run.first);
        pf_put_u64(&payload, run.pages);
        *at = run.first + run.pages;
    }
    return pf_session_commit(&source->session, PF_MSG_UNSENT, &payload);
}

int pf_source_tell_unsent(struct pf_source *source)
{
    uint64_t before = pf_now_ns();
    for (unsigned id = 0; id < source->memory.count; id++) {
        size_t at = 0;
        while (at < source->memory.regions[id].unsent.pages) {
            int error = tell_unsent_batch(source, id, &at);
            if (error)
                return error;
        }
    }
    pf_count_set(&source->job->counters.discard_us, since_us(before));
    return 0;
}

int pf_source_tell_keys(struct pf_source *source)
{
    if (!source->session.pull)
        return 0;
    uint64_t before = pf_now_ns();
    int error = pf_source_keys_give(&source->keys, &source->session, &source->memory);
    pf_count_set(&source->job->counters.scan_us,
                 pf_count_get(&source->job->counters.scan_us) + since_us(before));
    return error;
}

static int send_blob(struct pf_source *source, const uint8_t *blob, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        struct pf_wire payload;
        int error = pf_session_begin(&source->session, &payload);
        if (error)
            return error;
        size_t room = (size_t)(payload.end - payload.at) - sizeof(uint64_t);
        size_t part = bytes - done < room ? bytes - done : room;
        pf_put_u64(&payload, done);
        pf_put_bytes(&payload, blob + done, part);
        error = pf_session_commit(&source->session, PF_MSG_STATE, &payload);
        if (error)
            return error;
        done += part;
    }
    return 0;
}

int pf_source_tell_state(struct pf_source *source)
{
    uint64_t before = pf_now_ns();
    const struct pf_state *state = &source->job->state;
    uint8_t *blob = malloc(state->bytes ? state->bytes : 1);
    if (!blob)
        return pf_why(&source->session.why, -ENOMEM, "no memory for the job's state");
    pf_state_save(state, blob);
    int error = send_blob(source, blob, state->bytes);
    free(blob);
    pf_count_set(&source->job->counters.state_us, since_us(before));
    return error;
}

/* In pull mode nobody works at the source, if the NIC serves reads by itself. */
static int start_pull(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    int error = 0;
    if (!pf_attendants_needed(session)) {
        pf_session_keep_lanes(session);
        return 0;
    }
    pf_session_hand_over(session);
    error = pf_attendant_start(&source->attendants[0], "pf-urgent");
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_attendant_start(&source->attendants[1 + i], "pf-bulk");
    return error;
}

int pf_source_start_threads(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    if (session->pull)
        return start_pull(source);
    pf_session_hand_over(session);
    int error = pf_responder_start(&source->responder, &source->memory);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_mover_start(&source->movers[i], &source->memory);
    return error;
}

int pf_source_listen_and_run(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    struct pf_message message;
    uint64_t asked = pf_now_ns();
    int error = pf_session_say(session, PF_MSG_LISTEN);
    if (!error)
        error = pf_session_expect(session, PF_MSG_LISTENING, &message);
    if (error)
        return error;
    pf_job_set_phase(source->job, PF_PHASE_LISTENING);
    if (!source->session.rounds)
        error = pf_source_start_threads(source);
    for (unsigned i = 0; i < session->rail_count && !session->pull && !error; i++)
        pf_mover_follow(&source->movers[i]);
    if (error)
        return error;
    pf_count_set(&source->job->counters.listen_us, since_us(asked));
    uint64_t before = pf_now_ns();
    struct pf_wire payload;
    error = pf_session_begin(session, &payload);
    if (error)
        return error;
    /* The last chance to stay: whatever has gone wrong up to here. */
    error = pf_session_failure(session);
    if (!error)
        error = pf_job_commit(source->job, &session->why);
    if (error)
        return error;
    pf_session_outlive_rails(session);
    error = pf_session_commit(session, PF_MSG_RUN, &payload);
    if (error)
        return error; /* it was not posted: the destination can't have heard it */
    /* Whether it arrives or not, the destination may run from here on. */
    source->run_sent = true;
    error = pf_session_expect(session, PF_MSG_RUNNING, &message);
    /* An error from there instead of RUNNING says that it does not run: what it says is in order.
     */
    if (error && session->peer_gave_up)
        source->run_sent = false;
    if (error)
        return error;
    pf_count_set(&source->job->counters.resume_us, since_us(before));
    pf_count_set(&source->job->counters.downtime_us, since_us(source->paused_ns));
    pf_job_set_phase(source->job, PF_PHASE_POSTCOPY);
    return 0;
}
