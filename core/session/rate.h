/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The limit on bytes of pages per second, for all movers of a session together. Numbers only: the
 * caller says what time it is, and sleeps.
 *
 * A bucket of tokens that fills at the limit and holds what 50 ms bring (PF_RATE_SLICE_NS): who has
 * sent nothing for long may send that much at once and no more, and who waits asks again after 50
 * ms at the latest, so that a command or another limit is heeded by then. It is kept as one atomic
 * moment, the time that all bytes taken so far pay for; so there are no locks, and several threads
 * may take at once without ever getting more than one would.
 *
 * The limit is given with each call, and may be another one each time. 0 is none: nothing is looked
 * at then.
 */
#ifndef PF_CORE_SESSION_RATE_H
#define PF_CORE_SESSION_RATE_H

#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PF_RATE_SLICE_NS = 50 * 1000000,
    PF_RATE_LEAST = 4096, /* bytes that are given at once, however little 50 ms bring: one page */
};

/* Starts as zero. */
struct pf_rate {
    _Atomic uint64_t paid_until_ns;
    _Atomic uint64_t limit; /* of the latest call */
};

/* pf_rate_take() where there is a limit. */
size_t pf_rate_take_limited(struct pf_rate *rate, uint64_t limit, uint64_t now_ns, size_t most,
                            uint64_t *again_ns);

/*
 * Take the right to send up to `most` bytes (more than 0). What is returned may be less; 0: not
 * yet, ask again at *again_ns, which is set only then. Of several pages that can't be cut the first
 * may be larger than what was given: settle says so, and the rest is owed.
 */
static inline size_t pf_rate_take(struct pf_rate *rate, uint64_t limit, uint64_t now_ns,
                                  size_t most, uint64_t *again_ns)
{
    return limit == 0 ? most : pf_rate_take_limited(rate, limit, now_ns, most, again_ns);
}

/* Of `taken` bytes `spent` went on the wire: fewer, or more. */
void pf_rate_settle(struct pf_rate *rate, uint64_t limit, size_t taken, size_t spent);

/* ---- one stream of several ------------------------------------------------------------------- */

/* Starts as zero but for the first two. All but held_ns is the stream's own thread's. */
struct pf_rate_user {
    struct pf_rate *rate;
    const _Atomic uint64_t *limit; /* changes at any time; NULL: none */
    uint64_t asked;                /* the limit at which it was given its latest bytes */
    size_t taken;                  /* these */
    uint64_t again_ns;             /* refused: when to ask again; 0: it isn't */
    uint64_t held_since_ns;        /* refused with nothing under way; 0: it isn't */
    _Atomic uint64_t held_ns;      /* how long that was, in all */
};

/* pf_rate_ask() where there is a limit, or was. */
size_t pf_rate_ask_limited(struct pf_rate_user *user, uint64_t limit, uint64_t now_ns, size_t most,
                           bool idle);

/* Instead of asking, where the limit does not hold. */
static inline size_t pf_rate_ignore(struct pf_rate_user *user, size_t most)
{
    user->asked = 0;
    user->again_ns = 0;
    return most;
}

/*
 * How many of `most` bytes may go now; 0: wait for pf_rate_wait_ms(). idle: nothing is under way,
 * so the limit, and nothing else, holds this stream. Whoever was given bytes says
 * pf_rate_used() before it asks again.
 */
static inline size_t pf_rate_ask(struct pf_rate_user *user, size_t most, bool idle)
{
    uint64_t limit = user->limit ? atomic_load_explicit(user->limit, memory_order_relaxed) : 0;
    if (limit == 0 && user->again_ns == 0)
        return pf_rate_ignore(user, most);
    return pf_rate_ask_limited(user, limit, pf_now_ns(), most, idle);
}

/* So many of them were used. */
static inline void pf_rate_used(struct pf_rate_user *user, size_t bytes)
{
    pf_rate_settle(user->rate, user->asked, user->taken, bytes);
}

/* Milliseconds from now until then: 1 to 50. */
int pf_rate_ms_until(uint64_t again_ns, uint64_t now_ns);

/* For how long to sleep at most, in ms; -1 when it isn't refused. */
static inline int pf_rate_wait_ms(const struct pf_rate_user *user)
{
    return user->again_ns == 0 ? -1 : pf_rate_ms_until(user->again_ns, pf_now_ns());
}

#endif
