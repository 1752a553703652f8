/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/rounds.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/source.h"

#include <stdlib.h>

/* So much is collected at once: the job may wait for the memory map meanwhile. */
enum { COLLECT_BYTES = 64 << 20, ATTEND_EVERY_MS = 20 };

/* While the job is on its way to the pause: how soon it is looked what it has written. */
enum { KEEP_UP_FIRST_MS = 2, KEEP_UP_MS = 10, KEEP_UP_PART = 4 };

/* ---- meanwhile ------------------------------------------------------------------------------- */

static void wake_movers(struct pf_source *source)
{
    for (unsigned i = 0; i < source->session.rail_count; i++)
        pf_worker_nudge(&source->movers[i].worker);
}

static bool all_sent(struct pf_source *source)
{
    for (unsigned i = 0; i < source->session.rail_count; i++)
        if (atomic_load(&source->movers[i].round.done) != source->rounds.passes)
            return false;
    return true;
}

static int attend(struct pf_source *source, unsigned most_ms)
{
    struct pf_session *session = &source->session;
    struct pf_message message;
    int got = pf_session_poll(session, &message);
    if (got > 0 && message.type != PF_MSG_WINDOW)
        return pf_why(&session->why, -EPROTO, "the destination spoke out of turn (%s)",
                      pf_message_name(message.type));
    if (got > 0) {
        got = pf_windows_take(&source->rounds.windows, &source->job->regions, session, &message);
        wake_movers(source);
    } else if (got == 0) {
        got = pf_session_step_within(session, most_ms);
    }
    return got ? got : pf_windows_ask(&source->rounds.windows, &source->memory, session);
}

/* ---- collecting ------------------------------------------------------------------------------ */

/*
 * Looking at a large memory takes its time: the peer wants to hear of us, the user may cancel, and
 * movers send already what has been found. Windows are asked for in a round only: between rounds no
 * answer may be due.
 */
static int attend_at_times(struct pf_source *source)
{
    uint64_t now = pf_now_ns();
    if (now - source->rounds.attended_ns < ATTEND_EVERY_MS * 1000000ull)
        return 0;
    source->rounds.attended_ns = now;
    if (!all_sent(source)) {
        pf_windows_look(&source->rounds.windows);
        wake_movers(source);
    }
    return attend(source, 0);
}

static int collect_region(struct pf_source *source, unsigned id)
{
    struct pf_source_region *own = &source->memory.regions[id];
    size_t each = (size_t)COLLECT_BYTES >> own->region->page_shift;
    if (each == 0)
        each = 1;
    for (size_t at = 0; at < own->unsent.pages; at += each) {
        size_t left = own->unsent.pages - at;
        struct pf_run range = {at, left < each ? left : each};
        int error = pf_tracker_collect(source->rounds.tracker, id, range, &own->unsent,
                                       &source->session.why);
        if (!error)
            error = attend_at_times(source);
        if (error)
            return error;
    }
    return 0;
}

/* Is all of the job's memory still where it was? Who reads what isn't ends the job. */
static int check_regions(struct pf_source *source)
{
    struct pf_why *why = &source->session.why;
    int error = pf_tracker_failure(source->rounds.tracker, why);
    for (unsigned id = 0; id < source->memory.count && !error; id++)
        error = pf_region_check_file(source->memory.regions[id].region, why);
    return error;
}

static int collect_all(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    uint64_t began = pf_now_ns();
    int error = check_regions(source);
    for (unsigned id = 0; id < source->memory.count && !error; id++)
        if (!source->memory.regions[id].late)
            error = collect_region(source, id);
    rounds->collect_ns = pf_now_ns() - began;
    rounds->collected_ns = began;
    pf_count_set(&source->job->counters.remaining_bytes, pf_source_memory_unsent(&source->memory));
    return error;
}

/* Where the tracker can't look and watch again in one step the job has to stand still. */
static int collect_running(struct pf_source *source)
{
    if (!pf_tracker_needs_pause(source->rounds.tracker))
        return collect_all(source);
    int error = pf_source_pause(source);
    if (!error)
        error = collect_all(source);
    pf_source_unpause(source);
    return error;
}

/* ---- one round ------------------------------------------------------------------------------- */

static void begin_pass(struct pf_source *source, bool collected)
{
    source->rounds.passes++;
    if (source->encoder.open)
        pf_encoder_round(&source->encoder, source->rounds.passes);
    pf_count_set(&source->job->counters.round, source->rounds.number);
    atomic_fetch_add(&source->memory.returns, 1); /* each rail begins with its own stripes again */
    for (unsigned i = 0; i < source->session.rail_count; i++) {
        struct pf_round_sender *round = &source->movers[i].round;
        atomic_store(&round->collected, collected);
        atomic_store(&round->halt, false);
        atomic_store(&round->wanted, source->rounds.passes);
    }
    wake_movers(source);
}

static void end_collecting(struct pf_source *source)
{
    for (unsigned i = 0; i < source->session.rail_count; i++)
        atomic_store(&source->movers[i].round.collected, true);
    wake_movers(source);
}

/*
 * What has not been taken yet is left to post-copy, by the user's word; or to the last round, since
 * the job stands.
 */
static void heed_end(struct pf_source *source)
{
    bool switched = atomic_load(&source->job->switch_now) && !source->rounds.finish;
    if (!switched && !(source->rounds.keeping_up && pf_source_paused(source)))
        return;
    for (unsigned i = 0; i < source->session.rail_count; i++)
        atomic_store(&source->movers[i].round.halt, true);
    source->rounds.windows.region = source->rounds.windows.count;
    wake_movers(source);
}

static void tell_progress(struct pf_source *source)
{
    struct pf_counters *counters = &source->job->counters;
    uint64_t left = pf_source_memory_unsent(&source->memory);
    pf_count_set(&counters->remaining_bytes, left);
    pf_count_set(&counters->precopy_bytes, pf_count_get(&counters->sent_bytes));
    if (source->rounds.pacing.job)
        pf_pacing_heed(&source->rounds.pacing, left);
    pf_job_report_rails(source->job, &source->session);
}

/* Until the round is at the destination and no answer is due any more. */
static int wait_sent(struct pf_source *source)
{
    while (!all_sent(source) || source->rounds.windows.asked > 0) {
        heed_end(source);
        int error = attend(source, source->session.options->progress_ms);
        if (!error)
            error = pf_source_weigh(source, false);
        if (error)
            return error;
        tell_progress(source);
    }
    return 0;
}

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
    const struct pf_counters *counters = &source->job->counters;
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
    pf_job_end_round(source->job, &record);
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
    enum pf_pace_next next = pf_pacing_round(&rounds->pacing, &round);
    log_round(source, measured, took_ns, false);
    return atomic_load(&source->job->switch_now) ? PF_PACE_POSTCOPY : next;
}

/* ---- the rounds ------------------------------------------------------------------------------ */

/* The first one: pages leave while others are still being found and put under watch. */
static int first_round(struct pf_source *source)
{
    begin_pass(source, false);
    int error = collect_running(source);
    pf_windows_look(&source->rounds.windows);
    end_collecting(source);
    if (!error)
        error = wait_sent(source);
    return error ? error : pf_source_weigh(source, true);
}

static int later_round(struct pf_source *source)
{
    int error = check_regions(source);
    pf_windows_look(&source->rounds.windows);
    if (error)
        return error;
    begin_pass(source, true);
    return wait_sent(source);
}

static int make_rounds(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    enum pf_pace_next next = pf_pacing_first(&rounds->pacing);
    while (next == PF_PACE_ROUND) {
        struct measured measured = begin_measuring(source);
        bool first = rounds->number++ == 0;
        uint64_t collected_before = first ? measured.began_ns : rounds->collected_ns;
        int error = first ? first_round(source) : later_round(source);
        if (first) {
            measured.dirty = pf_count_get(&source->job->counters.sent_bytes) +
                             pf_count_get(&source->job->counters.saved_bytes);
            measured.collect_ns = rounds->collect_ns;
        }
        uint64_t took_ns = pf_now_ns() - measured.began_ns;
        if (!error)
            error = collect_running(source);
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
        error = attend(source, ms);
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
        error = later_round(source);
        if (!error)
            error = wait_paused(source, between_ms(source));
        if (!error && !pf_source_paused(source))
            error = collect_all(source);
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
        error = attend(source, session->options->progress_ms);
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
    uint64_t mode = pf_knob(&source->job->knobs.mode);
    if (session->pull && mode == PF_MODE_PRECOPY)
        return pf_why(&session->why, -EINVAL,
                      "--mode precopy does not go with --fetch read, where the destination reads "
                      "the pages after the switch: leave one of them out");
    source->rounds.wanted = mode != PF_MODE_POSTCOPY && !session->pull;
    return 0;
}

static void replaced(void *ctx, unsigned region, struct pf_run run)
{
    struct pf_source *source = ctx;
    pf_source_memory_distrust(&source->memory, region, run);
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
    int error = pf_tracker_open(&rounds->tracker, &attr, &source->session.why);
    if (!error)
        pf_job_note(source->job, PF_NOTE_TRACKER, "%s", pf_tracker_name(rounds->tracker));
    return error;
}

int pf_rounds_run(struct pf_source *source)
{
    if (!source->rounds.wanted)
        return 0;
    int error = pf_source_open_memory(source);
    if (!error)
        error = open_rounds(source);
    if (!error)
        error = pf_source_start_threads(source);
    if (!error)
        error = make_rounds(source);
    if (!error && source->rounds.finish && !pf_tracker_needs_pause(source->rounds.tracker))
        error = keep_up(source);
    if (!error && !source->rounds.finish)
        error = close_windows(source);
    return error;
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
    int error = later_round(source);
    uint64_t took_ns = pf_now_ns() - measured.began_ns;
    pf_count_set(&source->job->counters.rest_us, took_ns / 1000);
    log_round(source, &measured, took_ns, true);
    return error;
}

int pf_rounds_end(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    int error = collect_all(source);
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
}
