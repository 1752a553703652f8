/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's bulk thread: takes stages as the source fills them, places their pages run by
 * run, gives the credit back.
 */
#ifndef PF_CORE_ARRIVAL_PLACER_H
#define PF_CORE_ARRIVAL_PLACER_H

#include "core/arrival/arrival.h"
#include "core/arrival/assembly.h"
#include "core/arrival/unpack.h"
#include "core/session/session.h"
#include "core/session/worker.h"

struct pf_placer;

/* The destination's half of a stage. */
struct pf_incoming {
    struct pf_op op; /* of the credit's send */
    struct pf_placer *placer;
    struct pf_list link; /* on `complete` */
    unsigned index;
    uint16_t generation; /* of the filling that is due */
    unsigned parts;      /* of it, how many have arrived */
    struct pf_stage_imm imm;
    bool sending;    /* op is posted */
    uint8_t *memory; /* PF_STAGE_PAGES for the header, then the pages */
    uint8_t *credit;
};

struct pf_part_receive {
    struct pf_op op;
    struct pf_placer *placer;
    uint8_t *bytes;
};

struct pf_placer {
    struct pf_worker worker;
    struct pf_session *session;
    struct pf_port *port; /* the bulk lane of its rail */
    struct pf_arrival *arrival;
    struct pf_idle idle;
    atomic_bool drained; /* its rail has broken, what had come whole is placed, it has ended */
    unsigned stages;
    size_t stage_size;
    unsigned receive_count;
    struct pf_incoming *incoming;
    struct pf_part_receive *receives;
    struct pf_assembly assembly;
    struct pf_unpacker unpacker; /* pre-copy */
    struct pf_list complete;     /* stages whose parts are all here, in order of completion */
    uint8_t *memory, *buffers;
    size_t memory_bytes, buffer_bytes;
    struct pf_mr *memory_mr, *buffers_mr;
};

int pf_placer_open(struct pf_placer *placer, struct pf_session *session, unsigned rail,
                   struct pf_arrival *arrival, struct pf_squeeze_pool *pool);
int pf_placer_post_receives(struct pf_placer *placer);
int pf_placer_start(struct pf_placer *placer);
/* Of a drained one: the filling that would have been next, of each stage. */
void pf_placer_report(const struct pf_placer *placer, struct pf_wire *due);
/* After the bulk endpoint is closed. */
void pf_placer_close(struct pf_placer *placer);

#endif
