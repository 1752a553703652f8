/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A grace period: how one thread learns that nobody uses any more what it has made unreachable.
 *
 * Who uses something enters before looking for it and leaves when done. The one who gives things up
 * makes them unreachable, turns, and waits until those who had entered before are gone; who enters
 * later can't find them. A turn is taken only when those of the turn before are gone.
 */
#ifndef PF_CORE_SESSION_READERS_H
#define PF_CORE_SESSION_READERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pf_readers {
    _Atomic uint32_t turn;
    _Atomic uint32_t inside[2]; /* who entered in an even turn, in an odd one */
};

/* Returns what pf_readers_leave() wants. Any thread. */
static inline unsigned pf_readers_enter(struct pf_readers *readers)
{
    for (;;) {
        uint32_t turn = atomic_load(&readers->turn);
        atomic_fetch_add(&readers->inside[turn & 1], 1);
        /* If the turn was taken meanwhile, nobody may have seen us come in. */
        if (atomic_load(&readers->turn) == turn)
            return turn & 1;
        atomic_fetch_sub(&readers->inside[turn & 1], 1);
    }
}

static inline void pf_readers_leave(struct pf_readers *readers, unsigned entered)
{
    atomic_fetch_sub(&readers->inside[entered], 1);
}

/* One thread only, and only when pf_readers_gone(). */
static inline void pf_readers_turn(struct pf_readers *readers)
{
    atomic_fetch_add(&readers->turn, 1);
}

/* Have all left who entered before the last turn? */
static inline bool pf_readers_gone(struct pf_readers *readers)
{
    return atomic_load(&readers->inside[(atomic_load(&readers->turn) + 1) & 1]) == 0;
}

#endif
