/* SPDX-License-Identifier: BSD-2-Clause */
/* rate.h, by a clock that the tests make up. */
#include "core/session/rate.h"

#include "tests/suite.h"

#include <pthread.h>
#include <stdbool.h>

#define MS    1000000ull
#define SEC   (1000 * MS)
#define MIB   (1ull << 20)
#define START (5 * SEC)

enum { THREADS = 4, PAGE = 4096, PIECE = 1 << 20 };

/* Send pieces as fast as the limit lets, until `until`; what was sent. */
static uint64_t send_until(struct pf_rate *rate, uint64_t limit, uint64_t from, uint64_t until,
                           size_t piece)
{
    uint64_t sent = 0;
    for (uint64_t now = from; now < until;) {
        uint64_t again = 0;
        size_t bytes = pf_rate_take(rate, limit, now, piece, &again);
        CU_ASSERT(bytes <= piece);
        sent += bytes;
        if (bytes == 0) {
            CU_ASSERT_FATAL(again > now);
            CU_ASSERT(again <= now + PF_RATE_SLICE_NS);
            now = again;
        }
    }
    return sent;
}

static void no_limit_costs_nothing(void)
{
    struct pf_rate rate = {0};
    uint64_t again = 7;
    for (unsigned i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(pf_rate_take(&rate, 0, START, PIECE, &again), PIECE);
    pf_rate_settle(&rate, 0, PIECE, 3 * (size_t)PIECE);
    CU_ASSERT_EQUAL(again, 7);
    CU_ASSERT_EQUAL(atomic_load(&rate.paid_until_ns), 0);
}

/* In any stretch of time: what it brings, and one slice. */
static void kept_at_any_limit(void)
{
    static const uint64_t limits[] = {64 << 10, 1 * MIB, 10 * MIB, 100 * MIB, 1000 * MIB};
    for (unsigned i = 0; i < 5; i++) {
        struct pf_rate rate = {0};
        uint64_t slice = limits[i] / 20 > PAGE ? limits[i] / 20 : PAGE;
        uint64_t sent = send_until(&rate, limits[i], START, START + 10 * SEC, PIECE);
        CU_ASSERT(sent <= 10 * limits[i] + slice);
        CU_ASSERT(sent + 2 * slice >= 10 * limits[i]);
    }
}

/* Each slice by itself, from the first on; who was idle gets no more for it. */
static void each_slice_is_kept(void)
{
    struct pf_rate rate = {0};
    uint64_t limit = 100 * MIB;
    uint64_t slice = limit / 20;
    uint64_t now = START;
    CU_ASSERT(send_until(&rate, limit, now, now + 1, PIECE) <= slice);
    now += PF_RATE_SLICE_NS;
    for (unsigned i = 0; i < 100; i++, now += PF_RATE_SLICE_NS)
        CU_ASSERT(send_until(&rate, limit, now, now + PF_RATE_SLICE_NS - 1, PIECE) <= 2 * slice);
    now += 60 * SEC;
    CU_ASSERT(send_until(&rate, limit, now, now + 1, PIECE) <= slice);
}

/* Pages that were taken for and travelled as nothing, or encoded, are given back. */
static void what_was_not_sent_comes_back(void)
{
    struct pf_rate rate = {0};
    uint64_t limit = 20 * MIB; /* a piece is a slice */
    uint64_t again;
    for (unsigned i = 0; i < 1000; i++) {
        CU_ASSERT_EQUAL(pf_rate_take(&rate, limit, START, PIECE, &again), PIECE);
        pf_rate_settle(&rate, limit, PIECE, 0);
    }
    CU_ASSERT_EQUAL(pf_rate_take(&rate, limit, START, PIECE, &again), PIECE);
    CU_ASSERT_EQUAL(pf_rate_take(&rate, limit, START, PIECE, &again), 0);
}

/* A huge page goes whole; then all wait until it is paid for. */
static void more_is_owed(void)
{
    struct pf_rate rate = {0};
    uint64_t limit = 20 * MIB;
    uint64_t again;
    size_t taken = pf_rate_take(&rate, limit, START, PIECE, &again);
    pf_rate_settle(&rate, limit, taken, 20 * (size_t)PIECE);
    uint64_t paid = START + SEC;
    CU_ASSERT_EQUAL(send_until(&rate, limit, START, paid - PF_RATE_SLICE_NS, PIECE), 0);
    CU_ASSERT(send_until(&rate, limit, paid - PF_RATE_SLICE_NS, paid + MS, PIECE) > 0);
}

/* Also from a debt of minutes. */
static void another_limit_holds_within_a_slice(void)
{
    struct pf_rate rate = {0};
    uint64_t slow = 64 << 10;
    uint64_t fast = 1000 * MIB;
    uint64_t again;
    size_t taken = pf_rate_take(&rate, slow, START, PIECE, &again);
    pf_rate_settle(&rate, slow, taken, 20 * (size_t)PIECE);
    CU_ASSERT_EQUAL(pf_rate_take(&rate, slow, START + SEC, PIECE, &again), 0);
    CU_ASSERT(again <= START + SEC + PF_RATE_SLICE_NS);
    uint64_t now = again;
    uint64_t sent = send_until(&rate, fast, now, now + SEC, PIECE);
    CU_ASSERT(sent >= fast - 3 * (fast / 20));
    now += SEC;
    sent = send_until(&rate, slow, now, now + 10 * SEC, PIECE);
    CU_ASSERT(sent <= 10 * slow + fast / 20);
    CU_ASSERT_EQUAL(pf_rate_take(&rate, 0, now, 64 * (size_t)PIECE, &again), 64 * (size_t)PIECE);
}

/* Sanitizers watch; whoever is refused hears of a time that comes. */
static void any_numbers(void)
{
    static const uint64_t ends[] = {0, 1, 1ull << 40, UINT64_MAX / 2, UINT64_MAX};
    for (unsigned i = 0; i < 5 * 5 * 5 * 5; i++) {
        struct pf_rate rate = {.paid_until_ns = ends[i % 5]};
        uint64_t limit = ends[i / 5 % 5];
        uint64_t now = ends[i / 25 % 5] / 2;
        uint64_t again = 0;
        size_t most = ends[i / 125] ? ends[i / 125] : PAGE;
        size_t taken = pf_rate_take(&rate, limit, now, most, &again);
        CU_ASSERT(taken <= most);
        CU_ASSERT(taken > 0 || (again > now && again <= now + PF_RATE_SLICE_NS));
        pf_rate_settle(&rate, limit, taken, ends[i % 5]);
        pf_rate_settle(&rate, limit, ends[i % 5], 0);
    }
}

/* ---- one stream ------------------------------------------------------------------------------ */

/* The time is counted in which the limit alone kept it from sending. */
static void held_time(void)
{
    struct pf_rate rate = {0};
    struct pf_rate_user user = {.rate = &rate};
    uint64_t limit = 20 * MIB;
    uint64_t now = START;
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now, PIECE, true), PIECE);
    pf_rate_used(&user, PIECE);
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now, PIECE, false), 0);
    CU_ASSERT_EQUAL(user.held_since_ns, 0); /* something is under way: not idle yet */
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now + 10 * MS, PIECE, true), 0);
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now + 20 * MS, PIECE, true), 0);
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now + 50 * MS, PIECE, true), PIECE);
    CU_ASSERT_EQUAL(atomic_load(&user.held_ns), 40 * MS);
    pf_rate_used(&user, 0); /* there was nothing to send after all */
    CU_ASSERT_EQUAL(pf_rate_ask_limited(&user, limit, now + 50 * MS, PIECE, true), PIECE);
}

/* The limit may go while a stream waits for it. */
static void let_go_when_the_limit_ends(void)
{
    struct pf_rate rate = {0};
    _Atomic uint64_t limit = 64 << 10;
    struct pf_rate_user user = {.rate = &rate, .limit = &limit};
    CU_ASSERT_EQUAL(pf_rate_wait_ms(&user), -1);
    CU_ASSERT_EQUAL(pf_rate_ask(&user, PIECE, true), PAGE);
    pf_rate_used(&user, 20 * (size_t)PIECE);
    CU_ASSERT_EQUAL(pf_rate_ask(&user, PIECE, true), 0);
    CU_ASSERT(pf_rate_wait_ms(&user) >= 1);
    atomic_store(&limit, 0);
    CU_ASSERT_EQUAL(pf_rate_ask(&user, PIECE, true), PIECE);
    CU_ASSERT_EQUAL(pf_rate_wait_ms(&user), -1);
    pf_rate_used(&user, PIECE);
    CU_ASSERT_EQUAL(pf_rate_ask(&user, PIECE, true), PIECE);
}

static void waits_of_at_most_a_slice(void)
{
    CU_ASSERT_EQUAL(pf_rate_ms_until(START, START + MS), 1);
    CU_ASSERT_EQUAL(pf_rate_ms_until(START + 10 * MS - 1, START), 10);
    CU_ASSERT_EQUAL(pf_rate_ms_until(UINT64_MAX, START), 50);
}

/* ---- several movers -------------------------------------------------------------------------- */

struct crowd {
    struct pf_rate rate;
    _Atomic uint64_t sent;
};

/* All at one moment that does not pass: together they get what one would. */
static void *take_all(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t again;
    size_t bytes;
    while ((bytes = pf_rate_take(&crowd->rate, 100 * MIB, START, PAGE, &again)) > 0) {
        pf_rate_settle(&crowd->rate, 100 * MIB, bytes, 0);
        if (pf_rate_take(&crowd->rate, 100 * MIB, START, PAGE, &again) == 0)
            break;
        atomic_fetch_add(&crowd->sent, PAGE);
    }
    return NULL;
}

static void movers_share(void)
{
    struct crowd crowd = {.sent = 0};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, take_all, &crowd), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t slice = 100 * MIB / 20;
    CU_ASSERT(atomic_load(&crowd.sent) <= slice);
    CU_ASSERT(atomic_load(&crowd.sent) >= slice - 2 * THREADS * (uint64_t)PAGE);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"no_limit_costs_nothing", no_limit_costs_nothing},
        {"kept_at_any_limit", kept_at_any_limit},
        {"each_slice_is_kept", each_slice_is_kept},
        {"what_was_not_sent_comes_back", what_was_not_sent_comes_back},
        {"more_is_owed", more_is_owed},
        {"another_limit_holds_within_a_slice", another_limit_holds_within_a_slice},
        {"any_numbers", any_numbers},
        {"held_time", held_time},
        {"let_go_when_the_limit_ends", let_go_when_the_limit_ends},
        {"waits_of_at_most_a_slice", waits_of_at_most_a_slice},
        {"movers_share", movers_share},
        {NULL, NULL},
    };
    return pf_suite_run("rate", tests, argc > 1 ? argv[1] : NULL);
}
