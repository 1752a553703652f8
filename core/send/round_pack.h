/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part of a round whose pages are made shorter (core/encode/encoder.h): they go by the stages,
 * packed (core/encode/pack.h). While the pool compresses for one stage another is filled, and those
 * before are on their way.
 */
#ifndef PF_CORE_SEND_ROUND_PACK_H
#define PF_CORE_SEND_ROUND_PACK_H

#include "core/encode/encoder.h"

struct pf_mover;
struct pf_outgoing;
struct pf_pack;

enum { PF_PACKS = 2 };

struct pf_round_packing {
    struct pf_encoder *encoder;           /* NULL: nothing is ever packed */
    struct pf_pack *packs;                /* PF_PACKS of them */
    struct pf_outgoing *stages[PF_PACKS]; /* whose they are */
    unsigned first, count;                /* those in use, one after the other */
    atomic_bool ready;                    /* the pool has done one of them, and */
    int ready_fd;                         /* this eventfd says so, too */
    /* Claimed pages that are yet to be packed, in base pages. */
    unsigned region;
    size_t next, left;
};

/* A mover that may have to pack. -errno and the sentence. */
int pf_round_packing_open(struct pf_mover *mover, struct pf_encoder *encoder);
/* After the encoder is closed. Harmless if it was not opened. */
void pf_round_packing_close(struct pf_mover *mover);

/* Whether pages that are found now are to be packed; and whether there is anything to pack or send.
 */
bool pf_route_packs(const struct pf_mover *mover);
bool pf_round_packs(const struct pf_mover *mover);

/*
 * Pack the next dirty pages, or send what is packed. 1 something was done, 0 it has to wait, 2
 * there is nothing any more, or -errno. The mover's thread.
 */
int pf_round_pack(struct pf_mover *mover);

#endif
