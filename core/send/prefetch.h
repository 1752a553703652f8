/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's half of prefetching: likely next pages, written into a tray of the destination
 * behind the answer to a page request. All of it belongs to the responder's thread.
 *
 * A tray may be filled when a request has granted it; the grant is kept until it is used, so that
 * nothing has to be said about those that aren't. Pages are claimed as the mover claims them:
 * exactly one lane carries each.
 */
#ifndef PF_CORE_SEND_PREFETCH_H
#define PF_CORE_SEND_PREFETCH_H

#include "core/arrival/landing.h"
#include "core/send/predictor.h"
#include "core/send/source_memory.h"
#include "core/session/session.h"
#include "core/session/worker.h"

struct pf_prefetch;
struct pf_tray_send;

enum { PF_TRAY_WRITES_MAX = 64 };

/* A write of pages to their place in a region in place; its tray follows. */
struct pf_tray_write {
    struct pf_op op;
    struct pf_tray_send *tray;
    struct pf_sge sge;
    uint64_t remote;
    const struct pf_rkey *key;
};

/* The source's half of a tray. */
struct pf_tray_send {
    struct pf_op op;
    struct pf_prefetch *prefetch;
    struct pf_list link; /* on `unposted` while the queue is full */
    unsigned index;
    uint16_t generation;
    bool granted;    /* ours to fill */
    unsigned posted; /* operations of it whose memory may still be read, or that wait for room */
    unsigned reader; /* what pf_source_memory_enter() said */
    unsigned run_count, sge_count, write_count;
    unsigned written;      /* of the writes beside it, how many were posted */
    size_t bytes, bounced; /* of page data; and how much of it lies in bounce */
    struct pf_stage_run runs[PF_TRAY_RUNS_MAX];
    struct pf_sge sges[PF_TRAY_RUNS_MAX + 1]; /* the header first */
    struct pf_tray_write writes[PF_TRAY_WRITES_MAX];
    uint8_t *header; /* PF_STAGE_PAGES bytes, registered */
    uint8_t *bounce; /* a tray's worth */
};

enum { PF_NOTES_MAX = 64 };

struct pf_prefetch {
    struct pf_session *session;
    struct pf_worker *worker; /* whose failure ours is */
    struct pf_source_memory *memory;
    const struct pf_landing *landings;
    unsigned trays; /* 0: the destination offers none, or we are not to */
    size_t tray_size;
    uint64_t trays_addr;
    struct pf_rkey trays_key;
    struct pf_tray_send *sends;
    struct pf_list unposted;
    struct pf_predictor *predictors; /* one for each region, once started */
    uint8_t *buffers;
    size_t buffer_bytes;
    struct pf_mr *mr;
    /* Requests that were answered and not yet learned from; a ring. The oldest are lost first. */
    struct pf_page_request notes[PF_NOTES_MAX];
    unsigned note_count, note_next;
};

int pf_prefetch_open(struct pf_prefetch *prefetch, struct pf_session *session,
                     struct pf_worker *worker, unsigned trays, size_t tray_size);

/* The destination's word where the trays are. */
void pf_prefetch_aim(struct pf_prefetch *prefetch, uint64_t addr, const struct pf_rkey *key);

/* Before the responder's thread starts. -ENOMEM */
int pf_prefetch_start(struct pf_prefetch *prefetch, struct pf_source_memory *memory,
                      const struct pf_landing *landings);

/* What a request grants, a bit for each tray. False: it isn't the destination's to grant. */
bool pf_prefetch_grant(struct pf_prefetch *prefetch, uint16_t trays);

/* A request has been answered: to be looked at when there is time. */
void pf_prefetch_note(struct pf_prefetch *prefetch, const struct pf_page_request *request);

/*
 * Learn from the oldest such request, and send what it makes likely; post what found the queue full
 * before. Returns how much it did.
 */
unsigned pf_prefetch_advance(struct pf_prefetch *prefetch);

/* No request will come any more: settle what was useful. After the thread has ended. */
void pf_prefetch_end(struct pf_prefetch *prefetch);

/* After the urgent endpoint is closed. */
void pf_prefetch_close(struct pf_prefetch *prefetch);

#endif
