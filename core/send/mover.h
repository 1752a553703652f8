/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's background thread: gathers runs of unsent pages into the destination's stages. A
 * stage may be filled when its credit is here; its runs are kept until the credit comes back,
 * which says that they have been placed.
 */
#ifndef PF_CORE_SEND_MOVER_H
#define PF_CORE_SEND_MOVER_H

#include "core/send/responder.h"
#include "core/send/round_send.h"
#include "core/send/supply.h"
#include "core/session/background.h"
#include "core/session/rate.h"

struct pf_mover;

enum { PF_DIRECTS_MAX = 64 };

/* A write of pages to their places, beside the stage. */
struct pf_direct {
    struct pf_sge sge;
    uint64_t remote;
    const struct pf_rkey *key;
};

/* What one filling of a stage consists of. */
struct pf_batch {
    struct pf_stage_run runs[PF_STAGE_RUNS_MAX];
    struct pf_sge sges[PF_STAGE_RUNS_MAX + 1]; /* the header first */
    struct pf_direct directs[PF_DIRECTS_MAX];
    unsigned run_count, sge_count, direct_count;
    size_t bytes; /* of page data in the stage */
    size_t direct_bytes;
    size_t bounced; /* of both, how many are in the bounce buffer */
    bool lost;      /* a part of it is not there any more: the filling is of no use */
};

struct pf_part {
    struct pf_op op;
    struct pf_outgoing *stage;
};

/* The source's half of a stage. */
struct pf_outgoing {
    struct pf_mover *mover;
    unsigned index;
    uint16_t generation;
    bool credit;     /* ours to fill */
    bool reading;    /* its pages may still be read here */
    unsigned reader; /* what pf_source_memory_enter() said */
    unsigned posted; /* parts whose memory is still being read */
    struct pf_batch batch;
    uint8_t *header; /* PF_STAGE_PAGES bytes, registered */
    uint8_t *bounce; /* a stage's worth for unregistered pages; NULL where none can be */
    struct pf_part parts[PF_STAGE_PARTS_MAX];
    struct pf_part direct_parts[PF_DIRECTS_MAX];
};

/* A claimed host page that is larger than a stage and goes out in parts. */
struct pf_large {
    bool begun;
    unsigned region;
    size_t page;
    uint32_t next; /* part */
};

struct pf_credit_receive {
    struct pf_op op;
    struct pf_mover *mover;
    uint8_t *bytes;
};

struct pf_mover {
    struct pf_worker worker;
    struct pf_session *session;
    struct pf_port *port; /* the bulk lane of its rail */
    struct pf_source_memory *memory;
    struct pf_background background;
    struct pf_supply supply;
    struct pf_rate_user rate;
    size_t allowed; /* bytes in one filling, by the rate limit */
    struct pf_large large;
    struct pf_round_sender round; /* pre-copy */
    atomic_bool follows;          /* post-copy: what is unsent goes to the stages */
    struct pf_idle idle;
    unsigned stages, parts_max, gather;
    size_t stage_size;
    uint64_t stages_addr;
    struct pf_rkey stages_key;
    const struct pf_landing *landings; /* one for each region */
    uint8_t *buffers;
    size_t buffer_bytes;
    struct pf_mr *mr;
    struct pf_outgoing *outgoing;
    struct pf_credit_receive *credits;
    /* Since when the destination owes a credit, in ns; 0: it owes none. For the control thread. */
    _Atomic uint64_t waits_since;
    unsigned under_way; /* stages whose credit is out */
};

int pf_mover_open(struct pf_mover *mover, struct pf_session *session, unsigned rail,
                  struct pf_responder *responder, unsigned stages, size_t stage_size);
int pf_mover_post_receives(struct pf_mover *mover);
void pf_mover_aim(struct pf_mover *mover, uint64_t addr, const struct pf_rkey *key,
                  const struct pf_landing *landings);
/* Take the bulk lane over. Pages leave in rounds (core/send/round_send.h), and after
 * pf_mover_follow().
 */
int pf_mover_start(struct pf_mover *mover, struct pf_source_memory *memory);
/* The destination listens: from here on send what is unsent. No round is under way. */
void pf_mover_follow(struct pf_mover *mover);

/* For the mover's thread: a stage that can be filled, or NULL; and to send what it was filled with.
 */
struct pf_outgoing *pf_mover_free_stage(struct pf_mover *mover);
int pf_mover_post(struct pf_outgoing *stage);

/* Memory of a region can't be read: unless it has failed already the mover does, with a sentence.
 * -EFAULT. Its thread. */
int pf_mover_lost(struct pf_mover *mover, unsigned region);

/*
 * Its rail has broken and its thread has ended. `due` says of each stage which filling the
 * destination would have placed next: what was filled and not placed becomes unsent. -EPROTO.
 */
int pf_mover_settle(struct pf_mover *mover, struct pf_wire *due);
/* After the bulk endpoint is closed. */
void pf_mover_close(struct pf_mover *mover);

#endif
