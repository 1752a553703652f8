/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/pacing.h"

#include "base/log.h"
#include "core/job/job.h"

static struct pf_pace_limits limits_of(const struct pf_pacing *pacing, const struct ferry_job *job)
{
    const struct pf_knobs *knobs = &job->knobs;
    return (struct pf_pace_limits){
        .mode = (unsigned)pf_knob(&knobs->mode),
        .downtime_us = pf_knob(&knobs->downtime) * 1000,
        .max_rounds = (unsigned)pf_knob(&knobs->max_rounds),
        .bandwidth = pf_knob(&knobs->bandwidth),
        .throttle = pf_throttle_works(&pacing->throttle, (unsigned)pf_knob(&knobs->throttle)),
        .throttle_initial = (unsigned)pf_knob(&knobs->throttle_initial),
        .throttle_step = (unsigned)pf_knob(&knobs->throttle_step),
        .throttle_max = (unsigned)pf_knob(&knobs->throttle_max),
    };
}

static uint64_t known(uint64_t value)
{
    return value == PF_PACE_UNKNOWN ? 0 : value;
}

static void tell_eta(struct pf_pacing *pacing, uint64_t left_bytes)
{
    const struct pf_knobs *knobs = &pacing->job->knobs;
    uint64_t rate = pf_pace_limited_rate(&pacing->pace, pf_knob(&knobs->bandwidth));
    pacing->pace.eta_ms =
        pf_pace_eta_ms((unsigned)pf_knob(&knobs->mode), left_bytes, rate, pacing->pace.dirty_rate);
    pf_count_set(&pacing->job->counters.eta_ms, known(pacing->pace.eta_ms));
}

static void tell(struct pf_pacing *pacing)
{
    struct pf_counters *counters = &pacing->job->counters;
    const struct pf_pace *pace = &pacing->pace;
    pf_count_set(&counters->dirty_bytes_per_s, pace->dirty_rate);
    pf_count_set(&counters->bandwidth_bytes_per_s, pace->bandwidth);
    pf_count_set(&counters->expected_downtime_us, known(pace->downtime_us));
    pf_count_set(&counters->eta_ms, known(pace->eta_ms));
}

/* In the option's words. */
static const char *name_of(unsigned how)
{
    return pf_option_table[pf_options_find("throttle")].choices[how];
}

/* What can't be had is said once; then the job runs at full speed. */
static void slow_down(struct pf_pacing *pacing, unsigned percent)
{
    struct pf_why why = {""};
    unsigned how = (unsigned)pf_knob(&pacing->job->knobs.throttle);
    if (pf_throttle_set(&pacing->throttle, how, percent, &why)) {
        pf_warn("the job can't be slowed down: %s", why.text);
        pf_job_note(pacing->job, PF_NOTE_THROTTLED, "not: %s", why.text);
    }
    if (pacing->throttle.percent > 0)
        pf_job_note(pacing->job, PF_NOTE_THROTTLED, "by %s", name_of(pacing->throttle.how));
    pacing->pace.throttle = pacing->throttle.percent;
    pf_count_set(&pacing->job->counters.throttle_percent, pacing->throttle.percent);
}

void pf_pacing_begin(struct pf_pacing *pacing, struct ferry_job *job)
{
    *pacing = (struct pf_pacing){.job = job};
    pf_throttle_begin(&pacing->throttle, job);
}

enum pf_pace_next pf_pacing_first(const struct pf_pacing *pacing)
{
    struct pf_pace_limits limits = limits_of(pacing, pacing->job);
    return pf_pace_begin(&limits).next;
}

enum pf_pace_next pf_pacing_round(struct pf_pacing *pacing, struct pf_pace_round *round)
{
    struct pf_pace_limits limits = limits_of(pacing, pacing->job);
    uint64_t pause_ns = pf_throttle_pause_ns(&pacing->throttle);
    if (round->pause_ns > pause_ns)
        round->pause_ns = pause_ns;
    struct pf_pace_verdict verdict = pf_pace_round(&pacing->pace, &limits, round);
    slow_down(pacing, pacing->pace.throttle);
    tell(pacing);
    pacing->reason = verdict.reason;
    pf_info("round %u: %s", round->number, verdict.reason);
    return verdict.next;
}

/* As people would reckon: at the rate that it went so far. */
static void guess(struct pf_pacing *pacing, uint64_t left_bytes, const struct pf_pace_round *round)
{
    struct pf_counters *counters = &pacing->job->counters;
    double seconds = (double)round->duration_ns / 1e9;
    uint64_t pages = (uint64_t)((double)round->page_bytes / seconds);
    uint64_t wire = (uint64_t)((double)round->sent_bytes / seconds);
    unsigned mode = (unsigned)pf_knob(&pacing->job->knobs.mode);
    pf_count_set(&counters->bandwidth_bytes_per_s, wire);
    pf_count_set(&counters->eta_ms, known(pf_pace_eta_ms(mode, left_bytes, pages, 0)));
}

void pf_pacing_guess(struct pf_pacing *pacing, uint64_t left_bytes,
                     const struct pf_pace_round *round)
{
    enum { TOO_SHORT_NS = 100 * 1000000 };
    if (pacing->pace.page_rate == 0 && round->sent_bytes > 0 && round->duration_ns > TOO_SHORT_NS)
        guess(pacing, left_bytes, round);
}

void pf_pacing_heed(struct pf_pacing *pacing, uint64_t left_bytes)
{
    uint64_t most = pf_knob(&pacing->job->knobs.throttle_max);
    if (pacing->pace.page_rate > 0)
        tell_eta(pacing, left_bytes);
    if (pacing->throttle.percent > 0)
        slow_down(pacing, most < pacing->pace.throttle ? (unsigned)most : pacing->pace.throttle);
}

enum pf_pace_next pf_pacing_paused(const struct pf_pacing *pacing, struct ferry_job *job,
                                   uint64_t left_bytes)
{
    struct pf_pace_limits limits = limits_of(pacing, job);
    return pf_pace_paused(&pacing->pace, &limits, left_bytes).next;
}

void pf_pacing_end(struct pf_pacing *pacing)
{
    if (!pacing->job)
        return;
    pf_throttle_end(&pacing->throttle);
    pf_count_set(&pacing->job->counters.eta_ms, 0);
    pf_count_set(&pacing->job->counters.throttle_percent, 0);
    pacing->job = NULL;
}
