/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/rounds.h"

#include "base/clock.h"
#include "core/job/steer.h"
#include "core/memory/guarded.h"
#include "core/source/round_pass.h"
#include "core/source/source.h"

#include <stdlib.h>

/* While the job is on its way to the pause: how soon it is looked what it has written. */
enum { KEEP_UP_FIRST_MS = 2, KEEP_UP_MS = 10, KEEP_UP_PART = 4 };

struct measured {
    uint64_t began_ns, sent, saved, zeros, collect_ns, dirty, held_ns;
};

/* For how long the rate limit alone kept the rails from sending, on average. */
static uint64_t held_ns(const struct pf_source *source)
{
    uint64_t ns = 0;
    unsigned rails = source->session.rail_count;
    for (unsigned i = 0; i < rails; i++)
        ns += atomic_load(&source->movers[i].rate.held_ns);
    return rails ? ns / rails : 0;
}

static struct measured begin_measuring(struct pf_source *source)
{
    return (struct measured){
        .began_ns = pf_now_ns(),
        .sent = pf_count_get(&source->job->counters.sent_bytes),
        .saved = pf_count_get(&source->job->counters.saved_bytes),
        .zeros = pf_count_get(&source->job->counters.zero_pages),
        .collect_ns = source->rounds.collect_ns,
        .dirty = pf_source_memory_unsent(&source->memory),
        .held_ns = held_ns(source),
    };
}

/* ---- how it goes ----------------------------------------------------------------------------- */

static void log_round(struct pf_source *source, const struct measured *measured, uint64_t took_ns,
                      bool paused)
{
    struct pf_counters *counters = &source->job->counters;
    const struct pf_pace *pace = &source->rounds.pacing.pace;
    struct pf_round_record record = {
        .number = source->rounds.number,
        .paused = paused,
        .began_us = (measured->began_ns - source->began_ns) / 1000,
        .duration_us = took_ns / 1000,
        .collect_us = measured->collect_ns / 1000,
        .dirty_bytes = measured->dirty,
        .sent_bytes = pf_count_get(&counters->sent_bytes) - measured->sent,
        .zero_pages = pf_count_get(&counters->zero_pages) - measured->zeros,
        .remaining_bytes = pf_source_memory_unsent(&source->memory),
        .bandwidth = pace->bandwidth,
        .dirty_rate = pace->dirty_rate,
        .expected_downtime_us = pace->downtime_us,
        .throttle = pace->throttle,
        .reason = paused ? NULL : source->rounds.pacing.reason,
    };
    pf_count_set(&counters->precopy_bytes, pf_count_get(&counters->sent_bytes));
    pf_job_end_round(source->job, &record);
}

/*
 * Whoever is told of the round may ask for something else. A switch needs nothing more; another
 * mode is decided on after another round.
 */
static enum pf_pace_next settle(struct pf_source *source, unsigned mode, enum pf_pace_next next)
{
    if (atomic_load(&source->job->switch_now))
        next = PF_PACE_POSTCOPY;
    if (next == PF_PACE_ROUND || pf_job_settle(source->job, mode, next == PF_PACE_FINISH))
        return next;
    return PF_PACE_ROUND;
}

static enum pf_pace_next decide_first(struct pf_source *source)
{
    unsigned mode = (unsigned)pf_knob(&source->job->knobs.mode);
    return settle(source, mode, pf_pacing_first(&source->rounds.pacing));
}

/* After a round and the collect behind it: what comes next? */
static enum pf_pace_next judge(struct pf_source *source, const struct measured *measured,
                               uint64_t took_ns, uint64_t collected_before)
{
    struct pf_rounds *rounds = &source->rounds;
    uint64_t sent = pf_count_get(&source->job->counters.sent_bytes) - measured->sent;
    bool keeps_up = !pf_tracker_needs_pause(rounds->tracker);
    struct pf_pace_round round = {
        .number = rounds->number,
        .duration_ns = took_ns,
        .held_ns = held_ns(source) - measured->held_ns,
        .sent_bytes = sent,
        .page_bytes = sent + pf_count_get(&source->job->counters.saved_bytes) - measured->saved,
        .pause_ns = keeps_up ? 2ull * KEEP_UP_MS * 1000000 : UINT64_MAX,
        .left_bytes = pf_source_memory_unsent(&source->memory),
        .dirtied_ns = rounds->collected_ns - collected_before,
        .fixed_ns = rounds->collect_ns,
    };
    unsigned mode = (unsigned)pf_knob(&source->job->knobs.mode);
    enum pf_pace_next next = pf_pacing_round(&rounds->pacing, &round);
    if (atomic_load(&source->job->switch_now))
        rounds->pacing.reason = "post-copy was asked for";
    log_round(source, measured, took_ns, false);
    return settle(source, mode, next);
}

/* ---- the rounds ------------------------------------------------------------------------------ */

static int make_rounds(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    enum pf_pace_next next = decide_first(source);
    while (next == PF_PACE_ROUND) {
        struct measured measured = begin_measuring(source);
        bool first = rounds->number++ == 0;
        uint64_t collected_before = first ? measured.began_ns : rounds->collected_ns;
        int error = first ? pf_pass_first(source) : pf_pass_send(source);
        if (first) {
            measured.dirty = pf_count_get(&source->job->counters.sent_bytes) +
                             pf_count_get(&source->job->counters.saved_bytes);
            measured.collect_ns = rounds->collect_ns;
        }
        uint64_t took_ns = pf_now_ns() - measured.began_ns;
        if (!error)
            error = pf_pass_collect_running(source);
        if (error)
            return error;
        next = judge(source, &measured, took_ns, collected_before);
    }
    rounds->finish = next == PF_PACE_FINISH;
    pf_pacing_end(&rounds->pacing); /* the sooner it comes to a safe point */
    return 0;
}

/* ---- on the way to the pause ----------------------------------------------------------------- */

static int wait_paused(struct pf_source *source, unsigned ms)
{
    uint64_t until_ns = pf_now_ns() + ms * 1000000ull;
    int error = 0;
    while (!error && !pf_source_paused(source) && pf_now_ns() < until_ns)
        error = pf_pass_attend(source, ms);
    return error;
}

/* Looking for dirty pages is not to take more than a part of the time. */
static unsigned between_ms(const struct pf_source *source)
{
    uint64_t ms = source->rounds.collect_ns / 1000000 * KEEP_UP_PART;
    return ms > KEEP_UP_MS ? (unsigned)ms : KEEP_UP_MS;
}

/*
 * The job may take its time to come to a safe point, and writes on. What it writes is sent
 * meanwhile, all in what counts as one round, so that next to nothing is left when it stands.
 */
static int keep_up(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    pf_source_ask_pause(source);
    int error = wait_paused(source, KEEP_UP_FIRST_MS);
    if (error || pf_source_paused(source))
        return error;
    struct measured measured = begin_measuring(source);
    rounds->keeping_up = true;
    rounds->number++;
    while (!error && !pf_source_paused(source)) {
        error = pf_pass_send(source);
        if (!error)
            error = wait_paused(source, between_ms(source));
        if (!error && !pf_source_paused(source))
            error = pf_pass_collect(source);
    }
    rounds->keeping_up = false;
    if (error)
        return error;
    log_round(source, &measured, pf_now_ns() - measured.began_ns, false);
    return 0;
}

/* ---- windows --------------------------------------------------------------------------------- */

/* Nothing is under way into the destination's regions, and nothing will be. */
static int close_windows(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    struct pf_message message;
    int error = 0;
    if (!source->rounds.windows_open)
        return 0;
    source->rounds.windows.region = source->rounds.windows.count;
    while (!error && source->rounds.windows.asked > 0)
        error = pf_pass_attend(source, session->options->progress_ms);
    if (!error)
        error = pf_session_say(session, PF_MSG_CLOSE_WINDOWS);
    if (!error)
        error = pf_session_expect(session, PF_MSG_WINDOWS_CLOSED, &message);
    source->rounds.windows_open = false;
    return error ? error : pf_session_check(session, &message);
}

/* ---- from outside ---------------------------------------------------------------------------- */

int pf_rounds_choose(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    if (session->pull && session->options->mode == PF_MODE_PRECOPY)
        return pf_why(&session->why, -EINVAL,
                      "--mode precopy does not go with --fetch read, where the destination reads "
                      "the pages after the switch: leave one of them out");
    source->session.rounds = source->job->course == PF_COURSE_ROUNDS;
    return 0;
}

static void replaced(void *ctx, unsigned region, struct pf_run run)
{
    struct pf_source *source = ctx;
    pf_source_memory_distrust(&source->memory, region, run);
}

static void renewed(void *ctx, unsigned region, struct pf_run run)
{
    struct pf_source *source = ctx;
    pf_source_memory_renew(&source->memory, region, run);
}

/* Nothing of it may be read; the next collect says why the migration ends. */
static void lost(void *ctx, unsigned region, struct pf_run run)
{
    struct pf_source *source = ctx;
    pf_pageset_remove_run(&source->memory.regions[region].unsent, run);
    for (unsigned i = 0; i < source->session.rail_count; i++)
        atomic_store(&source->movers[i].round.halt, true);
}

static int open_rounds(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    rounds->landed =
        calloc(source->memory.count ? source->memory.count : 1, sizeof(struct pf_pageset *));
    if (!rounds->landed)
        return pf_why(&source->session.why, -ENOMEM, "no memory for the region table");
    for (unsigned i = 0; i < source->memory.count; i++)
        rounds->landed[i] = &source->memory.regions[i].landed;
    struct pf_tracker_attr attr = {
        .regions = &source->job->regions,
        .sent = rounds->landed,
        .choice = source->session.options->tracker,
        .marked = atomic_load_explicit(&source->job->marked, memory_order_acquire),
        .replaced = replaced,
        .renewed = renewed,
        .lost = lost,
        .ctx = source,
    };
    rounds->windows_open = true;
    rounds->windows.told = true;
    /* Until it has been looked at, all of it is. */
    pf_count_set(&source->job->counters.remaining_bytes,
                 pf_count_get(&source->job->counters.total_bytes));
    pf_pacing_begin(&rounds->pacing, source->job);
    for (unsigned i = 0; i < source->memory.count; i++)
        source->memory.regions[i].late =
            rounds->windows.list[i].never || pf_region_late(source->memory.regions[i].region);
    int error = pf_guarded_begin(&source->session.why);
    rounds->guarded = error == 0;
    if (!error)
        error = pf_tracker_open(&rounds->tracker, &attr, &source->session.why);
    if (!error)
        pf_job_note(source->job, PF_NOTE_TRACKER, "%s", pf_tracker_name(rounds->tracker));
    return error;
}

int pf_rounds_run(struct pf_source *source)
{
    if (!source->session.rounds)
        return 0;
    int error = pf_source_open_memory(source);
    if (!error)
        error = open_rounds(source);
    if (!error)
        error = pf_source_start_threads(source);
    if (!error)
        error = make_rounds(source);
    if (!error)
        pf_tracker_ready(source->rounds.tracker);
    if (!error && source->rounds.finish && !pf_tracker_needs_pause(source->rounds.tracker))
        error = keep_up(source);
    if (!error && !source->rounds.finish)
        error = close_windows(source);
    return error ? pf_pass_explain(source, error) : 0;
}

static int scan_late(struct pf_source *source, bool writable)
{
    int error = 0;
    for (unsigned i = 0; i < source->memory.count && !error; i++)
        if (source->memory.regions[i].late && source->rounds.windows.list[i].never != writable)
            error = pf_source_memory_scan_region(&source->memory, i, &source->session.why);
    return error;
}

/* The last round; the job stands still. */
static int send_rest(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    struct measured measured = begin_measuring(source);
    pf_windows_look(&rounds->windows);
    for (unsigned i = 0; i < source->session.rail_count; i++)
        atomic_store(&source->movers[i].round.paused, true);
    rounds->number++;
    int error = pf_pass_send(source);
    uint64_t took_ns = pf_now_ns() - measured.began_ns;
    pf_count_set(&source->job->counters.rest_us, took_ns / 1000);
    log_round(source, &measured, took_ns, true);
    return error;
}

static int end_rounds(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    int error = pf_pass_collect_last(source);
    if (!error)
        error = scan_late(source, true);
    if (error)
        return error;
    uint64_t left = pf_source_memory_unsent(&source->memory);
    if (rounds->finish)
        rounds->finish = pf_pacing_paused(&rounds->pacing, source->job, left) == PF_PACE_FINISH;
    if (rounds->finish)
        error = send_rest(source);
    else
        error = close_windows(source);
    return error ? error : scan_late(source, false);
}

int pf_rounds_end(struct pf_source *source)
{
    int error = end_rounds(source);
    return error ? pf_pass_explain(source, error) : 0;
}

static void *close_tracker(void *tracker)
{
    pf_tracker_close(tracker);
    return NULL;
}

void pf_rounds_part(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    pf_pacing_end(&rounds->pacing);
    if (!rounds->tracker)
        return;
    rounds->closing = pthread_create(&rounds->closer, NULL, close_tracker, rounds->tracker) == 0;
    if (!rounds->closing)
        pf_tracker_close(rounds->tracker);
    rounds->tracker = NULL;
}

void pf_rounds_close(struct pf_source *source)
{
    pf_pacing_end(&source->rounds.pacing);
    if (source->rounds.closing)
        pthread_join(source->rounds.closer, NULL);
    source->rounds.closing = false;
    pf_tracker_close(source->rounds.tracker);
    source->rounds.tracker = NULL;
    free(source->rounds.landed);
    source->rounds.landed = NULL;
    pf_windows_free(&source->rounds.windows);
    if (source->rounds.guarded)
        pf_guarded_end();
    source->rounds.guarded = false;
}
