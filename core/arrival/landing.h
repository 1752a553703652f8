/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Placing in place: the source writes the pages of a shared region straight into its file, through
 * a second mapping that is registered, and a page is placed by mapping it (UFFDIO_CONTINUE). No
 * copy is made, and nothing catches a second write: a page has exactly one writer. In pull mode it
 * is the destination that reads into that mapping, and nobody is told of it.
 */
#ifndef PF_CORE_ARRIVAL_LANDING_H
#define PF_CORE_ARRIVAL_LANDING_H

#include "core/arrival/arrival.h"
#include "core/session/session.h"

/* What the source knows: where in the destination's memory a region is. */
struct pf_landing {
    bool in_place; /* else pages go to slots and stages */
    uint64_t addr;
    struct pf_rkey urgent;
    struct pf_rkey bulk[PF_RAILS_MAX];
};

/*
 * At the destination, once the jobs have been compared: decide by --place which regions are placed
 * in place, empty their files, map and register them. watched: other processes wait for pages of
 * shared regions. -errno if that is wanted and can't be.
 */
int pf_landings_open(struct pf_arrival *arrival, struct pf_session *session, bool watched);

/* Tell the source, when all lanes are connected. */
int pf_landings_tell(struct pf_arrival *arrival, struct pf_session *session);

/* After the endpoints that write there are closed. */
void pf_landings_close(struct pf_arrival *arrival);

/* At the source: take one PF_MSG_LANDING. */
int pf_landing_take(struct pf_landing *landings, unsigned count, struct pf_session *session,
                    struct pf_message *message);

#endif
