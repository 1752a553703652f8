/* SPDX-License-Identifier: BSD-2-Clause */
/* pace.h: estimates and decisions from made-up rounds. */
#include "core/source/pace.h"

#include "core/options.h"
#include "tests/suite.h"

#define MB  1000000ull
#define GB  (1000 * MB)
#define TIB (1ull << 40)
#define MS  1000000ull
#define SEC (1000 * MS)

static struct pf_pace_limits limits_of(unsigned mode)
{
    return (struct pf_pace_limits){
        .mode = mode,
        .downtime_us = 300 * 1000,
        .max_rounds = 30,
        .throttle_initial = 20,
        .throttle_step = 10,
        .throttle_max = 99,
    };
}

/* A link of 1 GB/s, and nothing but pages. */
static struct pf_pace_round round_of(unsigned number, uint64_t sent, uint64_t left)
{
    uint64_t ns = sent ? sent * SEC / GB : 1;
    return (struct pf_pace_round){
        .number = number,
        .duration_ns = ns,
        .sent_bytes = sent,
        .left_bytes = left,
        .dirtied_ns = ns,
        .fixed_ns = 4 * MS,
    };
}

static enum pf_pace_next step(struct pf_pace *pace, const struct pf_pace_limits *limits,
                              unsigned number, uint64_t sent, uint64_t left)
{
    struct pf_pace_round round = round_of(number, sent, left);
    struct pf_pace_verdict verdict = pf_pace_round(pace, limits, &round);
    CU_ASSERT_PTR_NOT_NULL(verdict.reason);
    return verdict.next;
}

/* ---- estimates ------------------------------------------------------------------------------- */

static void rates_of_one_round(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    step(&pace, &limits, 1, 2 * GB, 500 * MB);
    CU_ASSERT_EQUAL(pace.bandwidth, GB);
    CU_ASSERT_EQUAL(pace.page_rate, GB);
    CU_ASSERT_EQUAL(pace.dirty_rate, 250 * MB);
    CU_ASSERT_EQUAL(pace.downtime_us, 504 * 1000);
    CU_ASSERT_EQUAL(pace.eta_ms, 666);
}

/* What the rate limit held back says nothing of the link: the pause is not limited. */
static void held_time_does_not_count(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round round = round_of(1, GB, 500 * MB);
    limits.bandwidth = GB / 10;
    round.duration_ns = round.dirtied_ns = 10 * SEC;
    round.held_ns = 9 * SEC;
    pf_pace_round(&pace, &limits, &round);
    CU_ASSERT_EQUAL(pace.bandwidth, GB);
    CU_ASSERT_EQUAL(pace.downtime_us, 504 * 1000);
    CU_ASSERT_EQUAL(pf_pace_limited_rate(&pace, limits.bandwidth), GB / 10);
    CU_ASSERT_EQUAL(pace.eta_ms, 10 * 1000); /* 500 MB at 100 MB/s, 50 MB/s of which are written */
}

/* A round that is hardly more than one round trip looks slow, and changes next to nothing. */
static void tiny_rounds_hardly_count(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round tiny = round_of(2, 4096, 4096);
    step(&pace, &limits, 1, GB, GB);
    tiny.duration_ns = MS;
    pf_pace_round(&pace, &limits, &tiny);
    CU_ASSERT(pace.bandwidth > 980 * MB && pace.bandwidth <= GB);
}

/* A long round at another speed counts for half, however long the ones before were. */
static void the_link_may_change(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round slow = round_of(2, GB / 10, GB);
    step(&pace, &limits, 1, 10 * GB, GB);
    slow.duration_ns = SEC;
    pf_pace_round(&pace, &limits, &slow);
    CU_ASSERT_EQUAL(pace.bandwidth, 550 * MB);
}

/* Pages that travel as a tenth of their size are gone ten times sooner. */
static void encoded_pages(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round round = round_of(1, GB, GB);
    round.page_bytes = 10 * GB;
    pf_pace_round(&pace, &limits, &round);
    CU_ASSERT_EQUAL(pace.bandwidth, GB);
    CU_ASSERT_EQUAL(pace.page_rate, 10 * GB);
    CU_ASSERT_EQUAL(pace.downtime_us, 104 * 1000);
    CU_ASSERT_EQUAL(pf_pace_limited_rate(&pace, GB / 2), 5 * GB);
}

/* The job goes on dirtying until it stands, but not more than it has memory that it writes. */
static void the_way_to_the_pause(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round round = round_of(1, GB, 100 * MB);
    round.pause_ns = SEC / 2;
    pf_pace_round(&pace, &limits, &round);
    CU_ASSERT_EQUAL(pace.downtime_us, 154 * 1000);
    round = round_of(2, 100 * MB, 100 * MB); /* at once what took a second: the same pages again */
    round.pause_ns = 10 * SEC;
    pf_pace_round(&pace, &limits, &round);
    CU_ASSERT_EQUAL(pace.downtime_us, 204 * 1000);
}

static void eta(void)
{
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_PRECOPY, 0, 0, 0), 0);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_PRECOPY, 1, 0, 0), PF_PACE_UNKNOWN);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_PRECOPY, GB, GB, GB), PF_PACE_UNKNOWN);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_PRECOPY, GB, GB, GB / 2), 2000);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_PRECOPY, UINT64_MAX, 1, 0), PF_PACE_UNKNOWN);
    /* In these modes it ends, however fast the job writes. */
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_HYBRID, GB, GB, GB / 2), 1500);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_HYBRID, GB, GB, 9 * GB), 2000);
    CU_ASSERT_EQUAL(pf_pace_eta_ms(PF_MODE_POSTCOPY, GB, 0, GB), PF_PACE_UNKNOWN);
}

/* Every field at its ends, in every mode: sanitizers watch, and the throttle stays a percentage. */
static void any_numbers(void)
{
    static const uint64_t ends[] = {0, 1, 16 * TIB, UINT64_MAX};
    for (unsigned i = 0; i < 4 * 4 * 4 * 4 * 4 * 4; i++) {
        struct pf_pace pace = {0};
        struct pf_pace_limits limits = limits_of(i % 5); /* no such mode is fine, too */
        struct pf_pace_round round = {
            .number = (unsigned)ends[i % 4],
            .duration_ns = ends[i % 4],
            .held_ns = ends[i / 4 % 4],
            .sent_bytes = ends[i / 16 % 4],
            .page_bytes = ends[i / 64 % 4],
            .left_bytes = ends[i / 256 % 4],
            .dirtied_ns = ends[i / 1024 % 4],
            .pause_ns = ends[i / 4 % 4],
            .fixed_ns = ends[i / 64 % 4],
        };
        limits.downtime_us = ends[i / 1024 % 4];
        limits.bandwidth = ends[i / 16 % 4];
        limits.max_rounds = (unsigned)ends[i / 64 % 4];
        limits.throttle = i % 2;
        limits.throttle_initial = (unsigned)ends[i / 256 % 4];
        limits.throttle_step = (unsigned)ends[i / 4 % 4];
        limits.throttle_max = (unsigned)ends[i / 16 % 4];
        for (unsigned again = 0; again < 6; again++) {
            pf_pace_round(&pace, &limits, &round);
            pf_pace_paused(&pace, &limits, round.left_bytes);
            CU_ASSERT(pace.throttle <= 99);
        }
    }
}

/* 64 TiB at 100 GB/s, rewritten at half of that. */
static void large_jobs(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    struct pf_pace_round round = {
        .number = 1,
        .duration_ns = 704 * SEC,
        .sent_bytes = 64 * TIB,
        .left_bytes = 32 * TIB,
        .dirtied_ns = 704 * SEC,
    };
    CU_ASSERT_EQUAL(pf_pace_round(&pace, &limits, &round).next, PF_PACE_ROUND);
    CU_ASSERT_EQUAL(pace.bandwidth / GB, 99);
    CU_ASSERT_EQUAL(pace.dirty_rate / GB, 49);
    CU_ASSERT_EQUAL(pace.downtime_us / 1000000, 352);
}

/* ---- pre-copy -------------------------------------------------------------------------------- */

static void precopy_ends_within_the_limit(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    CU_ASSERT_EQUAL(pf_pace_begin(&limits).next, PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 4 * GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, GB, 297 * MB), PF_PACE_ROUND); /* and 4 ms */
    CU_ASSERT_EQUAL(step(&pace, &limits, 3, 297 * MB, 295 * MB), PF_PACE_FINISH);
    limits.downtime_us *= 4;
    CU_ASSERT_EQUAL(step(&pace, &limits, 4, 295 * MB, GB), PF_PACE_FINISH);
}

static void precopy_ends_with_its_rounds(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    limits.max_rounds = 3;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 3, GB, GB), PF_PACE_FINISH);
    limits.max_rounds = 0;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1000000, GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(pace.throttle, 0);
    CU_ASSERT_EQUAL(pace.eta_ms, PF_PACE_UNKNOWN);
}

static void throttle_grows(void)
{
    static const unsigned after[] = {0, 0, 20, 20, 30, 30, 40, 40, 45, 45, 45};
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    limits.throttle = true;
    limits.throttle_max = 45;
    for (unsigned number = 1; number <= 10; number++) {
        CU_ASSERT_EQUAL(step(&pace, &limits, number, GB, GB * 51 / 100), PF_PACE_ROUND);
        CU_ASSERT_EQUAL(pace.throttle, after[number]);
    }
}

/* A round in which the job was slow enough: two more have to go wrong. */
static void throttle_needs_two_in_a_row(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    limits.throttle = true;
    for (unsigned number = 1; number <= 20; number++)
        step(&pace, &limits, number, 2 * GB, number % 2 ? 2 * GB : GB);
    CU_ASSERT_EQUAL(pace.throttle, 0);
}

static void throttle_follows_its_limits(void)
{
    struct pf_pace pace = {.throttle = 80};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    limits.throttle = true;
    limits.throttle_max = 60;
    step(&pace, &limits, 1, GB, GB);
    CU_ASSERT_EQUAL(pace.throttle, 60);
    limits.throttle = false;
    step(&pace, &limits, 2, GB, GB);
    CU_ASSERT_EQUAL(pace.throttle, 0);
    pace.throttle = 80;
    limits.throttle = true;
    limits.mode = PF_MODE_AUTO;
    step(&pace, &limits, 3, GB, 2 * GB);
    CU_ASSERT_EQUAL(pace.throttle, 0);
}

/* A switch alone takes longer than the limit: no round and no throttle can help. */
static void a_limit_that_cannot_be_kept(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_PRECOPY);
    limits.downtime_us = 1000;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 100 * MB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, 100 * MB, MB / 2), PF_PACE_FINISH);
}

/* ---- the other modes ------------------------------------------------------------------------- */

static void postcopy_has_no_rounds(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_POSTCOPY);
    CU_ASSERT_EQUAL(pf_pace_begin(&limits).next, PF_PACE_POSTCOPY);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 0), PF_PACE_POSTCOPY); /* changed in mid-round */
}

static void hybrid_takes_two_rounds(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_HYBRID);
    CU_ASSERT_EQUAL(pf_pace_begin(&limits).next, PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 4 * GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, GB, 250 * MB), PF_PACE_POSTCOPY);
}

static void hybrid_takes_one_if_the_next_is_as_large(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_HYBRID);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 600 * MB), PF_PACE_POSTCOPY);
    pace = (struct pf_pace){0};
    limits.bandwidth = GB / 4; /* the link could, but may not */
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 300 * MB), PF_PACE_POSTCOPY);
    pace = (struct pf_pace){0};
    limits = limits_of(PF_MODE_HYBRID);
    limits.max_rounds = 1;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 100 * MB), PF_PACE_POSTCOPY);
}

/* Within the downtime limit is not enough: post-copy's pause is shorter. */
static void hybrid_finishes_only_with_next_to_nothing(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_HYBRID);
    step(&pace, &limits, 1, GB, 100 * MB);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, 100 * MB, 10 * MB), PF_PACE_POSTCOPY);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, 100 * MB, MB / 2), PF_PACE_FINISH);
    pace = (struct pf_pace){0};
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 0, 0), PF_PACE_FINISH); /* nothing but zero pages */
}

static void auto_goes_on_while_it_converges(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_AUTO);
    limits.throttle = true;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 8 * GB, 6 * GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, 6 * GB, 3 * GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 3, 3 * GB, GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 4, GB, 200 * MB), PF_PACE_FINISH);
    CU_ASSERT_EQUAL(pace.throttle, 0);
}

static void auto_switches_when_it_does_not(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_AUTO);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 8 * GB, 6 * GB), PF_PACE_ROUND);
    CU_ASSERT_EQUAL(step(&pace, &limits, 2, 6 * GB, 4 * GB), PF_PACE_POSTCOPY);
    pace = (struct pf_pace){0};
    limits.max_rounds = 1;
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, 8 * GB, GB), PF_PACE_POSTCOPY);
}

/* The last look, when the job stands: twice as much as expected may be, but not any amount. */
static void more_than_expected_is_left(void)
{
    struct pf_pace pace = {0};
    struct pf_pace_limits limits = limits_of(PF_MODE_AUTO);
    CU_ASSERT_EQUAL(step(&pace, &limits, 1, GB, 290 * MB), PF_PACE_FINISH);
    CU_ASSERT_EQUAL(pf_pace_paused(&pace, &limits, 500 * MB).next, PF_PACE_FINISH);
    CU_ASSERT_EQUAL(pf_pace_paused(&pace, &limits, GB).next, PF_PACE_POSTCOPY);
    limits.mode = PF_MODE_HYBRID;
    CU_ASSERT_EQUAL(pf_pace_paused(&pace, &limits, 2 * MB).next, PF_PACE_FINISH);
    CU_ASSERT_EQUAL(pf_pace_paused(&pace, &limits, 10 * MB).next, PF_PACE_POSTCOPY);
    limits.mode = PF_MODE_PRECOPY;
    CU_ASSERT_EQUAL(pf_pace_paused(&pace, &limits, 100 * GB).next, PF_PACE_FINISH);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"rates_of_one_round", rates_of_one_round},
        {"held_time_does_not_count", held_time_does_not_count},
        {"tiny_rounds_hardly_count", tiny_rounds_hardly_count},
        {"the_link_may_change", the_link_may_change},
        {"encoded_pages", encoded_pages},
        {"the_way_to_the_pause", the_way_to_the_pause},
        {"eta", eta},
        {"any_numbers", any_numbers},
        {"large_jobs", large_jobs},
        {"precopy_ends_within_the_limit", precopy_ends_within_the_limit},
        {"precopy_ends_with_its_rounds", precopy_ends_with_its_rounds},
        {"throttle_grows", throttle_grows},
        {"throttle_needs_two_in_a_row", throttle_needs_two_in_a_row},
        {"throttle_follows_its_limits", throttle_follows_its_limits},
        {"a_limit_that_cannot_be_kept", a_limit_that_cannot_be_kept},
        {"postcopy_has_no_rounds", postcopy_has_no_rounds},
        {"hybrid_takes_two_rounds", hybrid_takes_two_rounds},
        {"hybrid_takes_one_if_the_next_is_as_large", hybrid_takes_one_if_the_next_is_as_large},
        {"hybrid_finishes_only_with_next_to_nothing", hybrid_finishes_only_with_next_to_nothing},
        {"auto_goes_on_while_it_converges", auto_goes_on_while_it_converges},
        {"auto_switches_when_it_does_not", auto_switches_when_it_does_not},
        {"more_than_expected_is_left", more_than_expected_is_left},
        {NULL, NULL},
    };
    return pf_suite_run("pace", tests, argc > 1 ? argv[1] : NULL);
}
