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
#ifndef PF_CORE_RATE_H
#define PF_CORE_RATE_H

#include <stdatomic.h>
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

#endif
