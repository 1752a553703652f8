/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's page requests: slots, the waiting list, posting a request, and what comes back.
 * All of it belongs to the fault thread.
 */
#ifndef PF_CORE_ARRIVAL_REQUESTS_H
#define PF_CORE_ARRIVAL_REQUESTS_H

#include "core/arrival/arrival.h"
#include "core/arrival/fetch.h"
#include "core/arrival/trays.h"
#include "core/histogram.h"
#include "core/session/knock.h"
#include "core/session/session.h"

struct pf_requests;

enum pf_slot_state {
    PF_SLOT_FREE,
    PF_SLOT_ASKED,  /* the answer is due */
    PF_SLOT_FILLED, /* the page is here, placing it has to wait for an event to be read */
};

struct pf_slot {
    struct pf_op op; /* of the request's send */
    struct pf_requests *requests;
    struct pf_list link; /* on `free`, or on `filled` */
    enum pf_slot_state state;
    bool sending; /* op is posted: the slot can't be used again yet */
    uint16_t index, generation;
    uint8_t *message; /* the request's bytes */
    char *page;       /* where the answer is written */
    struct pf_placing placing;
    uint64_t read_ns, asked_ns, answered_ns;
};

struct pf_answer_receive {
    struct pf_op op;
    struct pf_requests *requests;
    uint8_t *bytes;
};

struct pf_wish {
    unsigned region;
    size_t page;
    uint64_t read_ns;
    bool claimed; /* pull mode: ours to read */
};

enum { PF_WISHES_MAX = 4096 };

struct pf_requests {
    struct pf_session *session;
    struct pf_arrival *arrival;
    struct pf_fetch *fetch; /* pull mode: pages are read, not asked for; else NULL */
    unsigned count, receive_count;
    struct pf_knock knock;
    struct pf_slot *slots;
    struct pf_answer_receive *receives;
    struct pf_list free, filled;
    struct pf_trays trays;
    unsigned busy;
    /* First come, first served; a ring. */
    struct pf_wish wishes[PF_WISHES_MAX];
    unsigned wish_head, wish_count;
    unsigned wish_room; /* how many may wait: PF_WISHES_MAX, or less */
    char *pages;        /* the slots */
    size_t slot_size;
    uint8_t *buffers;
    size_t buffer_bytes;
    struct pf_mr *pages_mr, *buffers_mr;
    struct pf_histogram service, read, request, answer, place;
    int status; /* first failure */
    struct pf_why why;
};

int pf_requests_open(struct pf_requests *requests, struct pf_session *session,
                     struct pf_arrival *arrival);
int pf_requests_post_receives(struct pf_requests *requests);
/* After the urgent endpoint is closed. */
void pf_requests_close(struct pf_requests *requests);

/* A fault on a page that is missing and was not asked for: ask, or put it on the waiting list,
 * where there has to be room. */
void pf_requests_wish(struct pf_requests *requests, const struct pf_wish *wish);

/* How many more the waiting list has room for. */
static inline unsigned pf_requests_room(const struct pf_requests *requests)
{
    return requests->wish_room - requests->wish_count;
}

/* Place what had to wait, ask what had to wait. Returns how many it settled. */
unsigned pf_requests_advance(struct pf_requests *requests);

#endif
