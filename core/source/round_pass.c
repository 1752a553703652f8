/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/round_pass.h"

#include "base/clock.h"
#include "core/memory/mappings.h"
#include "core/source/round_heed.h"
#include "core/source/source.h"

#include <errno.h>

/* So much is collected at once: the job may wait for the memory map meanwhile. */
enum { COLLECT_BYTES = 64 << 20, ATTEND_EVERY_MS = 20 };

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

int pf_pass_attend(struct pf_source *source, unsigned most_ms)
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
    return pf_pass_attend(source, 0);
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

/* Is all of the job's memory still where it was? Else a sentence that names the region. */
static int check_regions(struct pf_source *source)
{
    struct pf_why *why = &source->session.why;
    int error = pf_tracker_failure(source->rounds.tracker, why);
    for (unsigned id = 0; id < source->memory.count && !error; id++)
        error = pf_region_check_file(source->memory.regions[id].region, why);
    return error;
}

/* How far each region is there, from its beginning. */
static void look_at_mappings(const struct pf_regions *regions, uintptr_t upto[PF_REGIONS_MAX])
{
    struct pf_mappings mappings;
    struct pf_mapping mapping;
    if (pf_mappings_open(&mappings))
        return;
    for (unsigned i = 0; i < regions->count; i++)
        upto[i] = (uintptr_t)regions->list[i].addr;
    while (pf_mappings_next(&mappings, &mapping))
        for (unsigned i = 0; i < regions->count; i++)
            if (mapping.readable && mapping.start <= upto[i] && mapping.end > upto[i])
                upto[i] = mapping.end;
    pf_mappings_close(&mappings);
}

static int check_mappings(struct pf_source *source)
{
    const struct pf_regions *regions = &source->job->regions;
    uintptr_t upto[PF_REGIONS_MAX] = {0};
    look_at_mappings(regions, upto);
    for (unsigned i = 0; i < regions->count; i++) {
        const struct pf_region *region = &regions->list[i];
        uintptr_t begin = (uintptr_t)region->addr;
        if (!region->foreign && upto[i] >= begin && upto[i] < begin + region->bytes)
            return pf_why(&source->session.why, -EFAULT,
                          "region \"%s\" is not there any more from byte %zu on, or must not be "
                          "read (munmap, mremap, mprotect), while its memory was being sent: a job "
                          "gives memory back by madvise()",
                          region->name, (size_t)(upto[i] - begin));
    }
    return 0;
}

int pf_pass_explain(struct pf_source *source, int error)
{
    if (!source->rounds.tracker || error == -ECANCELED)
        return error;
    int reason = check_regions(source);
    if (!reason)
        reason = check_mappings(source);
    /* A mover's own word on why its connection is of no use. */
    for (unsigned i = 0; i < source->session.rail_count && !reason; i++)
        reason = pf_worker_failure(&source->movers[i].worker);
    return reason ? reason : error;
}

int pf_pass_collect(struct pf_source *source)
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

int pf_pass_collect_last(struct pf_source *source)
{
    struct pf_rounds *rounds = &source->rounds;
    struct pf_pageset *unsent[PF_REGIONS_MAX] = {NULL};
    uint64_t began = pf_now_ns();
    int error = check_regions(source);
    for (unsigned id = 0; id < source->memory.count; id++)
        if (!source->memory.regions[id].late)
            unsent[id] = &source->memory.regions[id].unsent;
    if (!error)
        error = pf_tracker_collect_last(rounds->tracker, unsent, &source->session.why);
    rounds->collect_ns = pf_now_ns() - began;
    rounds->collected_ns = began;
    return error;
}

/* Where the tracker can't look and watch again in one step the job has to stand still. */
int pf_pass_collect_running(struct pf_source *source)
{
    if (!pf_tracker_needs_pause(source->rounds.tracker))
        return pf_pass_collect(source);
    int error = pf_source_pause(source);
    if (!error)
        error = pf_pass_collect(source);
    pf_source_unpause(source);
    return error;
}

/* ---- one round ------------------------------------------------------------------------------- */

/* For people who look there. Never waited for: what has no room in the conversation goes untold. */
static int tell_round(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    struct pf_rounds *rounds = &source->rounds;
    struct pf_wire payload;
    if (rounds->told == rounds->number || source->paused_ns > 0 ||
        !pf_channel_room(&session->channel))
        return 0;
    int error = pf_session_begin(session, &payload);
    if (error)
        return error;
    rounds->told = rounds->number;
    pf_put_u32(&payload, rounds->number);
    pf_put_u64(&payload, pf_count_get(&session->counters->remaining_bytes));
    return pf_session_commit(session, PF_MSG_ROUND, &payload);
}

static int begin_pass(struct pf_source *source, bool collected)
{
    source->rounds.passes++;
    pf_round_heed(source);
    pf_count_set(&source->job->counters.round, source->rounds.number);
    int error = tell_round(source);
    if (error)
        return error;
    atomic_fetch_add(&source->memory.returns, 1); /* each rail begins with its own stripes again */
    for (unsigned i = 0; i < source->session.rail_count; i++) {
        struct pf_round_sender *round = &source->movers[i].round;
        atomic_store(&round->collected, collected);
        atomic_store(&round->halt, false);
        atomic_store(&round->wanted, source->rounds.passes);
    }
    wake_movers(source);
    return 0;
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

/* In the first round nothing else was sent before. */
static void guess(struct pf_source *source, uint64_t left)
{
    const struct pf_counters *counters = &source->job->counters;
    uint64_t sent = pf_count_get(&counters->sent_bytes);
    struct pf_pace_round so_far = {
        .number = 1,
        .duration_ns = pf_now_ns() - source->rounds.first_ns,
        .sent_bytes = sent,
        .page_bytes = sent + pf_count_get(&counters->saved_bytes),
    };
    pf_pacing_guess(&source->rounds.pacing, left, &so_far);
}

static void tell_progress(struct pf_source *source)
{
    struct pf_counters *counters = &source->job->counters;
    uint64_t left = pf_source_memory_unsent(&source->memory);
    pf_count_set(&counters->remaining_bytes, left);
    pf_count_set(&counters->precopy_bytes, pf_count_get(&counters->sent_bytes));
    if (source->rounds.pacing.job)
        pf_pacing_heed(&source->rounds.pacing, left);
    if (source->rounds.pacing.job && source->rounds.number == 1)
        guess(source, left);
    pf_job_report_rails(source->job, &source->session);
}

/* Until the round is at the destination and no answer is due any more. */
static int wait_sent(struct pf_source *source)
{
    while (!all_sent(source) || source->rounds.windows.asked > 0) {
        heed_end(source);
        int error = pf_pass_attend(source, source->session.options->progress_ms);
        if (!error)
            error = check_regions(source); /* a transport may try for ever */
        if (!error)
            error = pf_source_weigh(source, false);
        if (error)
            return error;
        tell_progress(source);
    }
    return 0;
}

/* The first one: pages leave while others are still being found and put under watch. */
int pf_pass_first(struct pf_source *source)
{
    source->rounds.first_ns = pf_now_ns();
    int error = begin_pass(source, false);
    if (!error)
        error = pf_pass_collect_running(source);
    pf_windows_look(&source->rounds.windows);
    end_collecting(source);
    if (!error)
        error = wait_sent(source);
    return error ? error : pf_source_weigh(source, true);
}

int pf_pass_send(struct pf_source *source)
{
    int error = check_regions(source);
    pf_windows_look(&source->rounds.windows);
    if (error)
        return error;
    /* A page that was given back is the system's again; not in the downtime, where it takes time.
     */
    if (!pf_source_paused(source))
        pf_source_memory_drop(&source->memory);
    error = begin_pass(source, true);
    return error ? error : wait_sent(source);
}
