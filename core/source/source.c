/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's side of a migration, from the first connection to the destination's word that every
 * page is there. One function a step; pf_source_thread() runs them in order.
 */
#include "core/source/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/arrival/blocked_report.h"
#include "core/exit_status.h"
#include "core/job/steer.h"
#include "core/memory/populated.h"
#include "core/session/progress.h"

#include <stdlib.h>
#include <string.h>

static uint64_t since_us(uint64_t then)
{
    return (pf_now_ns() - then) / 1000;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int say_hello(struct pf_source *source)
{
    const struct ferry_job *job = source->job;
    struct pf_wire payload;
    int error = pf_session_begin(&source->session, &payload);
    if (error)
        return error;
    pf_put_string(&payload, job->name);
    pf_put_u32(&payload, PF_PAGE_SIZE);
    pf_put_u32(&payload, job->regions.count);
    pf_put_u32(&payload, job->state.count);
    pf_put_u64(&payload, pf_regions_bytes(&job->regions));
    pf_put_u32(&payload, source->session.rail_count);
    pf_put_u32(&payload, (source->session.pull ? PF_HELLO_PULL : 0) |
                             (source->session.options->background ? 0 : PF_HELLO_NO_BACKGROUND) |
                             (source->session.options->release_ram ? PF_HELLO_TELL_RECEIVED : 0) |
                             (source->session.rounds ? PF_HELLO_ROUNDS : 0));
    source->rounds.pin = (unsigned)pf_knob(&job->knobs.pin);
    pf_put_u32(&payload, source->rounds.pin);
    return pf_session_commit(&source->session, PF_MSG_HELLO, &payload);
}

static bool pins(const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (session->rails[i].device->caps.needs_pinning)
            return true;
    return false;
}

/*
 * How much of a region has content, and where: decides what is pinned, how shared regions are
 * placed, which pages the rest gets, and what of its memory the destination makes in advance.
 */
static int survey(struct pf_source *source, const struct pf_region *region, uint64_t *populated,
                  struct pf_pageset *full)
{
    struct pf_why *why = &source->session.why;
    *populated = 0;
    if (pf_pageset_init(full, pf_region_stretches(region)))
        return pf_why(why, -ENOMEM, "region \"%s\": no memory for its page set", region->name);
    if (!pf_region_shared(region) && !pins(&source->session) && !source->session.rounds)
        return 0;
    return pf_populated_survey(region, populated, full, why);
}

/* As many runs as there is room for: the others would be of use, but aren't needed. */
static void put_full(struct pf_wire *payload, const struct pf_region *region,
                     struct pf_pageset *full)
{
    struct pf_run run = pf_pageset_next(full, 0);
    while (!pf_region_late(region) && run.pages > 0 && payload->end - payload->at >= PF_RUN_BYTES) {
        pf_put_u64(payload, run.first);
        pf_put_u64(payload, run.pages);
        run = pf_pageset_next(full, run.first + run.pages);
    }
}

static int describe_region(struct pf_source *source, unsigned id)
{
    const struct pf_region *region = &source->job->regions.list[id];
    struct pf_pageset full = {.pages = 0};
    struct pf_wire payload;
    uint64_t populated;
    int error = pf_region_check_file(region, &source->session.why);
    if (!error)
        error = survey(source, region, &populated, &full);
    if (!error)
        error = pf_session_begin(&source->session, &payload);
    if (error) {
        pf_pageset_free(&full);
        return error;
    }
    source->populated += populated;
    pf_put_u32(&payload, id);
    pf_put_string(&payload, region->name);
    pf_put_u64(&payload, region->bytes);
    pf_put_u32(&payload, region->page_shift);
    pf_put_u32(&payload, region->flags);
    pf_put_u64(&payload, (uintptr_t)region->addr);
    pf_put_u64(&payload, populated);
    put_full(&payload, region, &full);
    pf_pageset_free(&full);
    return pf_session_commit(&source->session, PF_MSG_REGION, &payload);
}

static int describe_states(struct pf_source *source)
{
    const struct pf_state *state = &source->job->state;
    struct pf_wire payload;
    int error = pf_session_begin(&source->session, &payload);
    if (error)
        return error;
    for (unsigned i = 0; i < state->count; i++)
        pf_put_u64(&payload, state->pieces[i].bytes);
    return pf_session_commit(&source->session, PF_MSG_STATES, &payload);
}

/*
 * What the user asks for by name has to work at both ends. From here on a change that does not is
 * refused.
 */
static int take_squeezes(struct pf_source *source, unsigned squeezes)
{
    struct ferry_job *job = source->job;
    struct pf_why *why = &source->session.why;
    pthread_mutex_lock(&job->lock);
    job->peer_squeezes = squeezes;
    job->refused = false;
    int error = source->session.rounds ? pf_job_check_squeeze(job, &job->options, why) : 0;
    pthread_mutex_unlock(&job->lock);
    return error;
}

static int introduce(struct pf_source *source)
{
    struct pf_message message;
    int error = say_hello(source);
    for (unsigned i = 0; !error && i < source->job->regions.count; i++)
        error = describe_region(source, i);
    if (!error)
        error = describe_states(source);
    if (!error)
        error = pf_session_expect(&source->session, PF_MSG_ACCEPTED, &message);
    if (error)
        return error;
    source->responder.slots = pf_get_u32(&message.payload);
    source->stages = pf_get_u32(&message.payload);
    source->stage_size = pf_get_u64(&message.payload);
    source->rails_accepted = pf_get_u32(&message.payload);
    source->trays = pf_get_u32(&message.payload);
    source->tray_size = pf_get_u64(&message.payload);
    unsigned squeezes = pf_get_u32(&message.payload);
    error = pf_session_check(&source->session, &message);
    return error ? error : take_squeezes(source, squeezes);
}

/* ---- post-copy ------------------------------------------------------------------------------- */

static int take_progress(struct pf_source *source, struct pf_message *message)
{
    pf_job_report_rails(source->job, &source->session);
    pf_progress_get(&message->payload, &source->job->counters, source->session.pull);
    return pf_session_check(&source->session, message);
}

static int take_report(struct pf_source *source, struct pf_message *message)
{
    struct pf_session *session = &source->session;
    if (message->type == PF_MSG_PROGRESS)
        return take_progress(source, message);
    if (message->type == PF_MSG_RAIL_SETTLED)
        return pf_source_settle_rail(source, message);
    if (message->type == PF_MSG_THREADS)
        pf_blocked_get_threads(&message->payload, &source->job->blocked);
    else if (message->type == PF_MSG_LATENCY)
        pf_blocked_get_latency(&message->payload, &source->job->blocked);
    else if (message->type == PF_MSG_RECEIVED)
        pf_release_take(&source->release, &message->payload);
    else
        return pf_why(&session->why, -EPROTO, "the destination spoke out of turn (%s)",
                      pf_message_name(message->type));
    return pf_session_check(session, message);
}

/* Wait for the destination to have it all, while the responder and the mover work. */
static int follow(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    pf_rounds_part(source);
    for (;;) {
        struct pf_message message;
        int error;
        int got = pf_session_poll(session, &message);
        pf_release_advance(&source->release);
        if (got > 0 && message.type == PF_MSG_COMPLETE) {
            source->complete = true;
            return take_progress(source, &message);
        }
        if (got > 0)
            error = take_report(source, &message);
        else
            error = got < 0 ? got : pf_session_step(session);
        if (!error)
            error = pf_source_attend_rails(source);
        if (error)
            return error;
    }
}

/* No request will come any more: what the guesses were worth is known now. */
static int tell_verdict(struct pf_source *source)
{
    const struct pf_counters *counters = &source->job->counters;
    struct pf_wire payload;
    pf_worker_stop(&source->responder.worker);
    pf_prefetch_end(&source->responder.prefetch);
    int error = pf_session_begin(&source->session, &payload);
    if (error)
        return error;
    pf_put_u64(&payload, pf_count_get(&counters->prefetch_useful_pages));
    pf_put_u64(&payload, pf_count_get(&counters->prefetch_useless_pages));
    return pf_session_commit(&source->session, PF_MSG_BYE, &payload);
}

static void say_goodbye(struct pf_source *source)
{
    pf_count_set(&source->job->counters.total_us, since_us(source->began_ns));
    /* The destination is complete: what goes wrong from here on harms nobody. */
    if (tell_verdict(source) == 0)
        pf_session_linger(&source->session);
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct step {
    int (*run)(struct pf_source *source);
    enum pf_phase phase; /* entered before it */
};

/* The destination reads when it likes: nothing here could tell that a read is under way. */
static int check_options(struct pf_source *source)
{
    const struct pf_options *options = source->session.options;
    if (options->release_ram && source->session.pull)
        return pf_why(&source->session.why, -EINVAL,
                      "--release-ram on does not go with --fetch read, where the destination reads "
                      "the source's memory: leave one of them out");
    return pf_rounds_choose(source);
}

static int run_steps(struct pf_source *source)
{
    static const struct step steps[] = {
        {check_options, PF_PHASE_CONNECTING},
        {pf_source_connect, PF_PHASE_CONNECTING},
        {introduce, PF_PHASE_ADVISE},
        {pf_source_open_lanes, PF_PHASE_ADVISE},
        {pf_source_take_aim, PF_PHASE_ADVISE},
        {pf_rounds_run, PF_PHASE_PRECOPY},
        {pf_source_pause, PF_PHASE_PRECOPY},
        {pf_source_scan, PF_PHASE_DISCARD},
        {pf_source_tell_unsent, PF_PHASE_DISCARD},
        {pf_source_tell_keys, PF_PHASE_DISCARD},
        {pf_source_tell_state, PF_PHASE_DISCARD},
        {pf_source_listen_and_run, PF_PHASE_DISCARD},
        {follow, PF_PHASE_POSTCOPY},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        pf_job_set_phase(source->job, steps[i].phase);
        int error = steps[i].run(source);
        if (error)
            return error;
    }
    return 0;
}

/* Threads first, then the connections they used, then the memory these could reach. */
static void close_source(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    pf_worker_stop(&source->responder.worker);
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        pf_worker_stop(&source->movers[i].worker);
    for (unsigned i = 0; i <= PF_RAILS_MAX; i++)
        pf_worker_stop(&source->attendants[i].worker);
    pf_session_hang_up(session);
    pf_encoder_close(&source->encoder);
    pf_rounds_close(source);
    pf_responder_close(&source->responder);
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        pf_mover_close(&source->movers[i]);
    for (unsigned i = 0; i <= PF_RAILS_MAX; i++)
        pf_attendant_close(&source->attendants[i]);
    pf_source_keys_close(&source->keys);
    pf_release_close(&source->release);
    pf_source_memory_close(&source->memory);
    free(source->landings);
    source->landings = NULL;
    if (source->complete && session->options->release_ram)
        pf_release_rest(&source->job->regions, session->counters);
    pf_session_close(session);
}

static void prepare(struct pf_source *source, struct ferry_job *job)
{
    struct pf_counters *counters = &job->counters;
    pf_counters_reset(counters);
    pf_blocked_reset(&job->blocked);
    pf_count_set(&counters->total_bytes, pf_regions_bytes(&job->regions));
    source->job = job;
    source->began_ns = atomic_load(&job->began_ns);
    source->responder.worker.stop_fd = -1;
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        source->movers[i].worker.stop_fd = -1;
    source->session = (struct pf_session){
        .options = &job->options,
        .counters = counters,
        .pull = job->options.fetch == PF_FETCH_READ,
        .cancel = &job->cancel,
        .bandwidth = &job->knobs.bandwidth,
        .wake_fd = -1,
    };
}

void *pf_source_thread(void *arg)
{
    struct ferry_job *job = arg;
    struct pf_source *source = calloc(1, sizeof *source);
    struct pf_why why = {"no memory for a migration"};
    if (!source) {
        pf_job_end_migration(job, -ENOMEM, PF_EXIT_FAILED, &why, PF_VERDICT_CONTINUE);
        return NULL;
    }
    prepare(source, job);
    pf_job_attach_session(job, &source->session);
    int error = pf_job_notify(job, FERRY_EVENT_PROBE, &source->session.why);
    if (!error)
        error = run_steps(source);
    if (!error)
        say_goodbye(source);
    else
        pf_session_tell_error(&source->session, error);
    why = source->session.why;
    pf_job_attach_session(job, NULL);
    if (error && source->run_sent)
        pf_job_lost(job, error, PF_EXIT_SOURCE, &why);

    close_source(source);
    free(source);
    pf_job_set_phase(job, error ? PF_PHASE_RUNNING : PF_PHASE_COMPLETE);
    pf_job_notify(job, FERRY_EVENT_END, NULL);
    pf_job_end_migration(job, error, error ? PF_EXIT_FAILED : PF_EXIT_OK, &why,
                         error ? PF_VERDICT_CONTINUE : PF_VERDICT_MOVED);
    return NULL;
}
