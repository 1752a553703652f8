/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's half of prefetching: trays, the registered buffers that page requests grant to
 * the source for the neighbours of the page they ask for. All of it belongs to the fault thread,
 * which places a tray in small steps, so that no fault and no answer waits long for it.
 */
#ifndef PF_CORE_ARRIVAL_TRAYS_H
#define PF_CORE_ARRIVAL_TRAYS_H

#include "core/arrival/arrival.h"
#include "core/session/session.h"

enum { PF_TRAYS = 8 }; /* of a destination that prefetches */

enum pf_tray_state {
    PF_TRAY_FREE,
    PF_TRAY_GRANTED, /* the source may fill it */
    PF_TRAY_FULL,    /* being placed */
};

struct pf_tray {
    struct pf_list link; /* on `full` */
    enum pf_tray_state state;
    uint16_t generation; /* of the filling that is due */
    struct pf_tray_imm imm;
    unsigned runs_done;
    size_t used;               /* bytes of page data that these took */
    struct pf_placing placing; /* what is left of the run after them */
    uint8_t *memory;           /* PF_STAGE_PAGES for the header, then the pages */
};

struct pf_trays {
    struct pf_session *session;
    struct pf_arrival *arrival;
    unsigned count; /* 0: prefetching is off */
    size_t size;    /* bytes of pages in one */
    struct pf_tray list[PF_TRAYS_MAX];
    struct pf_list full; /* in order of arrival */
    uint16_t free_bits;  /* what the next request can grant */
    uint8_t *memory;
    size_t memory_bytes;
    struct pf_mr *mr;
};

/* As many as the options say. */
int pf_trays_open(struct pf_trays *trays, struct pf_session *session, struct pf_arrival *arrival);
/* After the urgent endpoint is closed. */
void pf_trays_close(struct pf_trays *trays);

/* A request has been posted that grants what free_bits said. */
void pf_trays_granted(struct pf_trays *trays);

/* The immediate of a filled tray. -EPROTO: it isn't the source's to fill. */
int pf_trays_take(struct pf_trays *trays, uint32_t imm);

/*
 * Place a step of what has come: 1, also when an event has to be read first and it is to be tried
 * again; 0 when there is nothing to do. -EPROTO: a run that fits no region; other -errno: it can't
 * be placed.
 */
int pf_trays_advance(struct pf_trays *trays);

#endif
