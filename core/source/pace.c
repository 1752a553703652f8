/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/pace.h"

#include "core/options.h"

enum {
    /* A shorter round tells more of latency than of bandwidth: it weighs less. */
    STEADY_NS = 100 * 1000000,
    /* So little is sent in the pause of a hybrid, which could have gone on demand: see barely(). */
    BARELY_NS = 1000000,
    BARELY_PART = 4,
    HOT_ROUNDS = 2,
    PERCENT_MOST = 99,
};

static const uint64_t second_ns = 1000000000;

/* a * b / c, at most UINT64_MAX, which is also what division by nothing gives. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
    if (a == 0 || b == 0)
        return 0;
    unsigned __int128 result = c ? (unsigned __int128)a * b / c : UINT64_MAX;
    return result < UINT64_MAX ? (uint64_t)result : UINT64_MAX;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a < UINT64_MAX - b ? a + b : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- estimates ------------------------------------------------------------------------------- */

/*
 * Rates are those of the latest round, mixed with what was known as if that had been of the same
 * length, or STEADY_NS: a round of a millisecond changes them by one part in a hundred.
 */
static void learn_bandwidth(struct pf_pace *pace, const struct pf_pace_round *round)
{
    uint64_t busy_ns = round->duration_ns - least(round->held_ns, round->duration_ns);
    uint64_t pages = round->page_bytes ? round->page_bytes : round->sent_bytes;
    if (busy_ns == 0 || round->sent_bytes == 0)
        return;
    uint64_t keep_ns = least(pace->known_ns, most(busy_ns, STEADY_NS));
    pace->known_wire = sum(scale(pace->known_wire, keep_ns, pace->known_ns), round->sent_bytes);
    pace->known_pages = sum(scale(pace->known_pages, keep_ns, pace->known_ns), pages);
    pace->known_ns = sum(keep_ns, busy_ns);
    pace->bandwidth = scale(pace->known_wire, second_ns, pace->known_ns);
    pace->page_rate = scale(pace->known_pages, second_ns, pace->known_ns);
}

static void learn_dirtying(struct pf_pace *pace, const struct pf_pace_round *round)
{
    if (round->dirtied_ns > 0)
        pace->dirty_rate = scale(round->left_bytes, second_ns, round->dirtied_ns);
    pace->most_dirty = most(pace->most_dirty, round->left_bytes);
    pace->fixed_ns = round->fixed_ns;
}

static uint64_t sending_ns(const struct pf_pace *pace, uint64_t pages)
{
    return scale(pages, second_ns, pace->page_rate);
}

/*
 * What is left when the job stands. A job that writes the same pages over and over dirties no more
 * than it ever did from one collect to the next, however long its pause is in coming.
 */
static uint64_t left_at_pause(const struct pf_pace *pace, const struct pf_pace_round *round)
{
    uint64_t more = scale(pace->dirty_rate, round->pause_ns, second_ns);
    return sum(round->left_bytes, least(more, pace->most_dirty));
}

uint64_t pf_pace_limited_rate(const struct pf_pace *pace, uint64_t bandwidth)
{
    if (bandwidth == 0 || bandwidth >= pace->bandwidth)
        return pace->page_rate;
    return scale(pace->page_rate, bandwidth, pace->bandwidth);
}

uint64_t pf_pace_eta_ms(unsigned mode, uint64_t left, uint64_t rate, uint64_t dirty_rate)
{
    if (left == 0)
        return 0;
    /* What is written meanwhile follows the job. */
    if (mode == PF_MODE_HYBRID || mode == PF_MODE_POSTCOPY)
        return scale(sum(left, least(scale(dirty_rate, left, rate), left)), 1000, rate);
    return rate > dirty_rate ? scale(left, 1000, rate - dirty_rate) : PF_PACE_UNKNOWN;
}

/* ---- decisions ------------------------------------------------------------------------------- */

struct outlook {
    uint64_t sending_ns; /* in the pause */
    uint64_t fixed_ns;
    uint64_t limit_ns;
};

static bool fits(const struct outlook *outlook)
{
    return sum(outlook->sending_ns, outlook->fixed_ns) <= outlook->limit_ns;
}

/*
 * So little is left that the pause is hardly longer for it. Each of these pages was written a
 * moment ago and is likely touched at once: as a fault it would cost the job ten times what sending
 * it costs here. More than this would make the pause of a hybrid depend on the job's dirtying.
 */
static bool barely(const struct outlook *outlook)
{
    return outlook->sending_ns <= most(BARELY_NS, outlook->fixed_ns / BARELY_PART);
}

/* No number of rounds makes the pause shorter than a switch without any page. */
static bool fits_as_well_as_can_be(const struct outlook *outlook)
{
    return outlook->fixed_ns >= outlook->limit_ns && barely(outlook);
}

static bool is_last(unsigned number, unsigned max_rounds)
{
    return max_rounds > 0 && number >= max_rounds;
}

static struct pf_pace_verdict verdict(enum pf_pace_next next, const char *reason)
{
    return (struct pf_pace_verdict){next, reason};
}

/* S8: twice in a row the job dirtied more than half of what was sent; then count anew. */
static bool overtaken(struct pf_pace *pace, const struct pf_pace_round *round)
{
    uint64_t pages = round->page_bytes ? round->page_bytes : round->sent_bytes;
    pace->hot_rounds = round->left_bytes > pages / 2 ? pace->hot_rounds + 1 : 0;
    if (pace->hot_rounds < HOT_ROUNDS)
        return false;
    pace->hot_rounds = 0;
    return true;
}

/* The limits may have been changed since the last step. */
static void keep_throttle_within(struct pf_pace *pace, const struct pf_pace_limits *limits)
{
    uint64_t allowed = least(limits->throttle_max, PERCENT_MOST);
    bool may = limits->throttle && limits->mode == PF_MODE_PRECOPY;
    pace->throttle = may ? (unsigned)least(pace->throttle, allowed) : 0;
}

static void throttle_more(struct pf_pace *pace, const struct pf_pace_limits *limits)
{
    uint64_t next =
        pace->throttle ? sum(pace->throttle, limits->throttle_step) : limits->throttle_initial;
    pace->throttle = (unsigned)least(next, PERCENT_MOST);
    keep_throttle_within(pace, limits);
}

static struct pf_pace_verdict precopy(struct pf_pace *pace, const struct pf_pace_limits *limits,
                                      const struct pf_pace_round *round)
{
    if (is_last(round->number, limits->max_rounds))
        return verdict(PF_PACE_FINISH, "max-rounds are over");
    if (!overtaken(pace, round))
        return verdict(PF_PACE_ROUND, "more is left than fits the downtime limit");
    unsigned before = pace->throttle;
    throttle_more(pace, limits);
    if (pace->throttle > before)
        return verdict(PF_PACE_ROUND, "the job dirties too fast: it is slowed down");
    return verdict(PF_PACE_ROUND, "the job dirties too fast");
}

static struct pf_pace_verdict automatic(struct pf_pace *pace, const struct pf_pace_limits *limits,
                                        const struct pf_pace_round *round)
{
    if (is_last(round->number, limits->max_rounds))
        return verdict(PF_PACE_POSTCOPY, "max-rounds are over");
    if (overtaken(pace, round))
        return verdict(PF_PACE_POSTCOPY, "the job dirties too fast");
    return verdict(PF_PACE_ROUND, "more is left than fits the downtime limit");
}

/* A second round is worth its time if about half of what is left, or less, is dirty after it. */
static bool shrinks(const struct pf_pace *pace, const struct pf_pace_limits *limits,
                    uint64_t left_bytes)
{
    uint64_t rate = pf_pace_limited_rate(pace, limits->bandwidth);
    return scale(pace->dirty_rate, left_bytes, rate) <= left_bytes / 2;
}

static struct pf_pace_verdict hybrid(const struct pf_pace *pace,
                                     const struct pf_pace_limits *limits,
                                     const struct pf_pace_round *round)
{
    if (is_last(round->number, limits->max_rounds) || round->number >= PF_PACE_HYBRID_ROUNDS)
        return verdict(PF_PACE_POSTCOPY, "the hybrid's rounds are over");
    if (!shrinks(pace, limits, round->left_bytes))
        return verdict(PF_PACE_POSTCOPY, "another round would leave about as much");
    return verdict(PF_PACE_ROUND, "another round is expected to leave half or less");
}

struct pf_pace_verdict pf_pace_begin(const struct pf_pace_limits *limits)
{
    if (limits->mode == PF_MODE_POSTCOPY)
        return verdict(PF_PACE_POSTCOPY, "asked for");
    return verdict(PF_PACE_ROUND, "everything is to be sent");
}

struct pf_pace_verdict pf_pace_round(struct pf_pace *pace, const struct pf_pace_limits *limits,
                                     const struct pf_pace_round *round)
{
    learn_bandwidth(pace, round);
    learn_dirtying(pace, round);
    keep_throttle_within(pace, limits);
    struct outlook outlook = {
        .sending_ns = sending_ns(pace, left_at_pause(pace, round)),
        .fixed_ns = round->fixed_ns,
        .limit_ns = scale(limits->downtime_us, 1000, 1),
    };
    uint64_t pause_ns = sum(outlook.sending_ns, outlook.fixed_ns);
    pace->downtime_us = pause_ns < UINT64_MAX ? pause_ns / 1000 : PF_PACE_UNKNOWN;
    pace->eta_ms = pf_pace_eta_ms(limits->mode, round->left_bytes,
                                  pf_pace_limited_rate(pace, limits->bandwidth), pace->dirty_rate);
    if (limits->mode == PF_MODE_POSTCOPY)
        return pf_pace_begin(limits);
    if (limits->mode == PF_MODE_HYBRID)
        return barely(&outlook) ? verdict(PF_PACE_FINISH, "next to nothing is left")
                                : hybrid(pace, limits, round);
    if (fits(&outlook))
        return verdict(PF_PACE_FINISH, "what is left fits the downtime limit");
    if (fits_as_well_as_can_be(&outlook))
        return verdict(PF_PACE_FINISH, "next to nothing is left, and a switch takes longer than "
                                       "the downtime limit");
    return limits->mode == PF_MODE_AUTO ? automatic(pace, limits, round)
                                        : precopy(pace, limits, round);
}

/* Twice what was expected is still as expected: who decides at a limit must not waver there. */
struct pf_pace_verdict pf_pace_paused(const struct pf_pace *pace,
                                      const struct pf_pace_limits *limits, uint64_t left_bytes)
{
    struct outlook outlook = {
        .sending_ns = sending_ns(pace, left_bytes / 2),
        .fixed_ns = pace->fixed_ns,
        .limit_ns = scale(limits->downtime_us, 1000, 1),
    };
    if (limits->mode == PF_MODE_PRECOPY)
        return verdict(PF_PACE_FINISH, "pre-copy alone was asked for");
    if (barely(&outlook) || (limits->mode == PF_MODE_AUTO && fits(&outlook)))
        return verdict(PF_PACE_FINISH, "as little is left as expected");
    return verdict(PF_PACE_POSTCOPY, "the job dirtied more before it paused");
}
