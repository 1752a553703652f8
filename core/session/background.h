/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the background stream of pages carries next, and how much of it may be under way. The same
 * for who pushes it (the source's mover) and who pulls it (the destination's puller).
 *
 * A page that is under way on the bulk lane can't be had sooner by asking for it: the fault waits
 * for what is before it. While the job is faulting only little is kept under way, so that such a
 * wait is short; while it isn't, as much as there are stages.
 */
#ifndef PF_CORE_SESSION_BACKGROUND_H
#define PF_CORE_SESSION_BACKGROUND_H

#include "core/memory/pageset.h"

#include <stdint.h>

/* Where the cursor is to go, told by who serves requests to who sends the rest. Starts as zero. */
struct pf_hint {
    _Atomic uint64_t place; /* region << 44 | page + 1; 0: stay */
    atomic_bool faulting;
};

/* A page of a region was asked for. Any thread. */
void pf_hint_give(struct pf_hint *hint, unsigned region, size_t page);

/* A page was asked for that is another stream's: go on, but carefully. Any thread. */
void pf_hint_warn(struct pf_hint *hint);

/* The rest belongs to the stream's own thread. Starts as zero but for the hint. */
struct pf_background {
    struct pf_hint *hint;
    unsigned region; /* the cursor */
    size_t page;
    uint64_t careful_until; /* the job is faulting: keep little under way until then */
};

/*
 * A page that was asked for is likely followed by requests for its neighbours: go on there. True if
 * the cursor was moved.
 */
bool pf_background_follow(struct pf_background *background);

/* How many bytes to put under way at once, of `most` that fit. */
size_t pf_background_bytes(const struct pf_background *background, size_t most);

/* May another batch join `under_way` that are? */
bool pf_background_may_add(const struct pf_background *background, unsigned under_way);

/* Move the cursor to the beginning of the next of `count` regions. */
void pf_background_next_region(struct pf_background *background, unsigned count);

#endif
