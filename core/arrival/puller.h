/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rail's thread at the destination in pull mode: reads runs of unsent pages from the source ahead
 * of a cursor into pieces of its own memory, several at once, and places them run by run.
 */
#ifndef PF_CORE_ARRIVAL_PULLER_H
#define PF_CORE_ARRIVAL_PULLER_H

#include "core/arrival/fetch.h"
#include "core/session/background.h"
#include "core/session/knock.h"
#include "core/session/rate.h"
#include "core/session/session.h"
#include "core/session/worker.h"

struct pf_puller;

/* One read. */
struct pf_pull {
    struct pf_op op;
    struct pf_puller *puller;
    struct pf_list link; /* on `free`, or on `arrived` */
    char *memory;
    bool posted;
    unsigned region;
    struct pf_run run;
};

struct pf_puller {
    struct pf_worker worker;
    struct pf_session *session;
    struct pf_port *port; /* the rail's bulk lane */
    struct pf_arrival *arrival;
    struct pf_fetch *fetch;
    struct pf_background background;
    struct pf_rate_user rate;
    size_t allowed; /* bytes of one read, by the rate limit */
    bool wanted;    /* the source wants pages to come in the background */
    struct pf_idle idle;
    atomic_bool drained; /* its rail has broken, what was read is placed, it has ended */
    unsigned count;
    size_t piece_bytes;
    struct pf_pull *pulls;
    struct pf_list free, arrived;
    struct pf_knock knock;
    unsigned under_way; /* read or being read, and not placed yet */
    unsigned reading;
    _Atomic uint64_t waits_since; /* for the end of a read, in ns; 0: for none. Others may look */
    char *memory;
    size_t memory_bytes;
    struct pf_mr *mr;
};

/* wanted: false serves requests only. */
int pf_puller_open(struct pf_puller *puller, struct pf_session *session, unsigned rail,
                   struct pf_fetch *fetch, bool wanted);
int pf_puller_start(struct pf_puller *puller);
/* After the bulk endpoint is closed. */
void pf_puller_close(struct pf_puller *puller);

#endif
