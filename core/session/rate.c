/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/rate.h"

static const uint64_t second_ns = 1000000000;

/* a * b / c, at most UINT64_MAX. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
    unsigned __int128 result = (unsigned __int128)a * b / c;
    return result < UINT64_MAX ? (uint64_t)result : UINT64_MAX;
}

static uint64_t later(uint64_t ns, uint64_t by)
{
    return ns < UINT64_MAX - by ? ns + by : UINT64_MAX;
}

static uint64_t earlier(uint64_t ns, uint64_t by)
{
    return ns > by ? ns - by : 0;
}

static void move(struct pf_rate *rate, uint64_t by, uint64_t (*to)(uint64_t, uint64_t))
{
    uint64_t paid = atomic_load(&rate->paid_until_ns);
    while (!atomic_compare_exchange_weak(&rate->paid_until_ns, &paid, to(paid, by)))
        continue;
}

/*
 * A debt is a time that was reckoned at the old limit. What is left of it counts as one slice, or a
 * huge page that was sent at 64 KiB/s would be waited for at 1 GiB/s, too.
 */
static void heed_change(struct pf_rate *rate, uint64_t limit, uint64_t now_ns)
{
    uint64_t before = atomic_load(&rate->limit);
    if (before == limit || !atomic_compare_exchange_strong(&rate->limit, &before, limit))
        return;
    uint64_t most = later(now_ns, PF_RATE_SLICE_NS);
    uint64_t paid = atomic_load(&rate->paid_until_ns);
    while (paid > most && !atomic_compare_exchange_weak(&rate->paid_until_ns, &paid, most))
        continue;
}

/* How many of `most` bytes can be had: enough of them to be worth a message, or none. */
static size_t given(uint64_t limit, uint64_t slack_ns, size_t most)
{
    uint64_t there = scale(slack_ns, limit, second_ns);
    uint64_t full = scale(PF_RATE_SLICE_NS, limit, second_ns);
    uint64_t worth = full < most ? full : most;
    if (there < worth)
        return 0;
    if (there < PF_RATE_LEAST)
        there = PF_RATE_LEAST;
    return there < most ? (size_t)there : most;
}

/* Never later than a slice from now: the limit may be another one by then. */
static uint64_t when_again(uint64_t limit, uint64_t paid, uint64_t now_ns, size_t most)
{
    uint64_t whole = earlier(later(paid, scale(most, second_ns, limit)), PF_RATE_SLICE_NS);
    uint64_t again = whole < paid ? whole : paid;
    uint64_t last = later(now_ns, PF_RATE_SLICE_NS);
    if (again <= now_ns)
        again = later(now_ns, 1);
    return again < last ? again : last;
}

size_t pf_rate_take_limited(struct pf_rate *rate, uint64_t limit, uint64_t now_ns, size_t most,
                            uint64_t *again_ns)
{
    heed_change(rate, limit, now_ns);
    uint64_t paid = atomic_load(&rate->paid_until_ns);
    for (;;) {
        uint64_t from = paid > now_ns ? paid : now_ns;
        size_t bytes = given(limit, earlier(later(now_ns, PF_RATE_SLICE_NS), from), most);
        if (bytes == 0) {
            *again_ns = when_again(limit, paid, now_ns, most);
            return 0;
        }
        uint64_t to = later(from, scale(bytes, second_ns, limit));
        if (atomic_compare_exchange_weak(&rate->paid_until_ns, &paid, to))
            return bytes;
    }
}

void pf_rate_settle(struct pf_rate *rate, uint64_t limit, size_t taken, size_t spent)
{
    if (limit == 0 || taken == spent)
        return;
    if (spent > taken)
        move(rate, scale(spent - taken, second_ns, limit), later);
    else
        move(rate, scale(taken - spent, second_ns, limit), earlier);
}

/* ---- one stream of several ------------------------------------------------------------------- */

static void let_go(struct pf_rate_user *user, uint64_t now_ns)
{
    if (user->held_since_ns && now_ns > user->held_since_ns)
        atomic_fetch_add(&user->held_ns, now_ns - user->held_since_ns);
    user->held_since_ns = 0;
}

size_t pf_rate_ask_limited(struct pf_rate_user *user, uint64_t limit, uint64_t now_ns, size_t most,
                           bool idle)
{
    uint64_t again = 0;
    user->asked = limit;
    user->taken = pf_rate_take(user->rate, limit, now_ns, most, &again);
    user->again_ns = again;
    if (user->taken > 0)
        let_go(user, now_ns);
    else if (idle && user->held_since_ns == 0)
        user->held_since_ns = now_ns;
    return user->taken;
}

int pf_rate_ms_until(uint64_t again_ns, uint64_t now_ns)
{
    uint64_t ms = earlier(again_ns, now_ns) / 1000000 + 1;
    return ms < PF_RATE_SLICE_NS / 1000000 ? (int)ms : PF_RATE_SLICE_NS / 1000000;
}
