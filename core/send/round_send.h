/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a mover does in a round of pre-copy: it claims dirty pages and writes them straight into the
 * destination's region, as long as there is a window (core/send/window.h) and the job's memory is
 * registered here; what can't go so, or is to be made shorter, goes by the stages. At the
 * end of a round everything is flushed, so that no page is under way twice.
 */
#ifndef PF_CORE_SEND_ROUND_SEND_H
#define PF_CORE_SEND_ROUND_SEND_H

#include "core/send/round_pack.h"
#include "core/send/window.h"

struct pf_mover;
struct pf_outgoing;

enum { PF_FLIGHTS_MAX = 64, PF_FLIGHTS_MEASURED = 8, PF_FLIGHT_BYTES = 1 << 20 };

/* A write into the destination's memory. */
struct pf_flight {
    struct pf_op op;
    struct pf_mover *mover;
    bool posted;
};

/* Claimed memory of which a part is still to be posted: a host page may be larger than a write. */
struct pf_claimed {
    unsigned region;
    size_t page;     /* the first */
    size_t at, left; /* bytes of the region */
    bool staged;     /* goes by the stages, in parts of one page */
    /* Else: its registration, kept even if the pages are replaced meanwhile, as they are dirty
     * again then; and where the region begins as the window has it. */
    struct pf_mr *mr;
    const struct pf_window *window;
    uint64_t remote;
};

struct pf_round_sender {
    /* The control thread's words. */
    atomic_uint wanted; /* the round to be sent: begins when it is raised */
    atomic_bool
        collected;      /* its pages are all among the unsent ones: it ends when there are none */
    atomic_bool halt;   /* take no more pages: end it with what has been taken */
    atomic_bool paused; /* the job stands: no limit makes it wait longer */
    /* The mover's answer: rounds that are at the destination. */
    atomic_uint done;
    const struct pf_windows *windows;
    struct pf_flight flights[PF_FLIGHTS_MAX];
    unsigned flying;
    size_t posted; /* bytes, since the rate limit was asked */
    struct pf_claimed claimed;
    struct pf_round_packing packing;
    struct pf_op flush;
    bool flushing, flushed;
};

void pf_round_sender_init(struct pf_mover *mover, const struct pf_windows *windows);

/*
 * Move the round along. 1 something was posted, 0 nothing can be at the moment, or -errno: the
 * connection is of no use. The mover's thread.
 */
int pf_round_send(struct pf_mover *mover);

#endif
