/* SPDX-License-Identifier: BSD-2-Clause */
/* What goes into a stage next: the mover's choice of pages, see mover.h. */
#ifndef PF_CORE_SEND_GATHER_H
#define PF_CORE_SEND_GATHER_H

#include "core/send/mover.h"

/*
 * Claim unsent pages for one filling of a stage and list them in its batch; no runs when nothing is
 * left. The mover's thread only.
 */
void pf_gather(struct pf_outgoing *stage);

/* The most bytes that one filling has now, but for the rate limit. */
size_t pf_gather_most(const struct pf_mover *mover);

/* An empty batch. */
void pf_batch_begin(struct pf_batch *batch);

/*
 * Put claimed memory of a region on a stage's gather list, from byte `at` of the region on: from
 * its registration, or without one (NULL) a copy of it, which has to fit the bounce buffer.
 */
void pf_batch_add(struct pf_outgoing *stage, struct pf_mr *mr, const struct pf_region *region,
                  size_t at, size_t bytes);

#endif
