/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's answering thread: takes page requests from the urgent lane, answers each with a
 * one-sided write of the page into the slot it names.
 */
#ifndef PF_CORE_SEND_RESPONDER_H
#define PF_CORE_SEND_RESPONDER_H

#include "core/arrival/landing.h"
#include "core/send/prefetch.h"
#include "core/send/source_memory.h"
#include "core/session/background.h"
#include "core/session/session.h"
#include "core/session/worker.h"

struct pf_responder;

/* Receives of requests: one for each slot of the destination. */
struct pf_request_receive {
    struct pf_op op;
    struct pf_responder *responder;
    uint8_t *bytes;
};

/* An answer under way. There are as many as slots; each slot has one request open at a time. */
struct pf_answer_send {
    struct pf_op op;
    struct pf_responder *responder;
    struct pf_list link; /* on `free`, or on `unposted` while the queue is full */
    struct pf_page_request request;
    uint8_t status;   /* enum pf_answer_status */
    unsigned reader;  /* what pf_source_memory_enter() said */
    uint8_t *message; /* for those that are sends */
    uint8_t *bounce;  /* one base page */
    size_t sent;      /* bytes of the page that are written; a large one goes in several writes */
    bool flushed;     /* and where writes are not ordered, are known to have landed */
};

struct pf_responder {
    struct pf_worker worker;
    struct pf_session *session;
    struct pf_source_memory *memory;
    struct pf_idle idle;
    unsigned slots;
    size_t slot_size;
    uint64_t slots_addr;
    const struct pf_landing *landings; /* one for each region */
    struct pf_rkey slots_key;
    uint8_t *buffers; /* receives, messages and bounce pages */
    size_t buffer_bytes;
    struct pf_mr *mr;
    struct pf_request_receive *receives;
    struct pf_answer_send *answers;
    struct pf_list free, unposted;
    struct pf_prefetch prefetch;
    struct pf_hint hints[PF_RAILS_MAX]; /* taken by the movers */
};

/* Buffers for `slots` requests; receives are posted once the endpoint is there. */
int pf_responder_open(struct pf_responder *responder, struct pf_session *session, unsigned slots);
int pf_responder_post_receives(struct pf_responder *responder);

/* The destination's word where the slots are. */
void pf_responder_aim(struct pf_responder *responder, uint64_t addr, const struct pf_rkey *key,
                      size_t slot_size, const struct pf_landing *landings);

/* Take the urgent lane over and answer until stopped or failed. */
int pf_responder_start(struct pf_responder *responder, struct pf_source_memory *memory);

/* After the urgent endpoint is closed. */
void pf_responder_close(struct pf_responder *responder);

#endif
