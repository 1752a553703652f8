/* SPDX-License-Identifier: BSD-2-Clause */
/* The part of a round that goes by the stages: see round_send.h. */
#ifndef PF_CORE_SEND_ROUND_STAGE_H
#define PF_CORE_SEND_ROUND_STAGE_H

#include "core/send/mover.h"

/* How a run of dirty pages travels. */
enum pf_way {
    PF_WAY_NOTHING, /* all zero, and so it is at the destination */
    PF_WAY_DIRECT,  /* written into a window */
    PF_WAY_ZERO,    /* a mark in a stage */
    PF_WAY_STAGED,  /* whole in a stage */
    PF_WAY_PACKED,  /* made shorter on its way, in a stage: core/send/round_pack.h */
    PF_WAY_WAIT,    /* its window is being asked for */
    PF_WAY_LOST,    /* it can't be read */
};

struct pf_route {
    enum pf_way way;
    unsigned region;
    struct pf_run run; /* as far as it holds; never empty */
    struct pf_mr *mr;  /* of the job's memory; NULL: not registered */
    const struct pf_window *window;
    size_t window_first; /* page */
};

/*
 * Find out about the run of dirty pages at the mover's cursor. False if there is none. One that is
 * lost is not to be claimed.
 */
bool pf_route_find(struct pf_mover *mover, struct pf_route *route);

/* Claim it; how many pages it was. */
size_t pf_route_claim(struct pf_mover *mover, const struct pf_route *route);

/*
 * Fill a stage from the given route on, for as long as pages go this way and there is room. At
 * least one run is added, unless all were claimed by others.
 */
void pf_round_stage_fill(struct pf_outgoing *stage, struct pf_route route);

/* Fill a stage with the next part of a claimed page that is larger than a stage. */
void pf_round_stage_part(struct pf_outgoing *stage, struct pf_claimed *claimed);

#endif
