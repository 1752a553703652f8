/* SPDX-License-Identifier: BSD-2-Clause */
/* What the user has changed while rounds run (core/job/steer.h) and movers can't take up by
 * themselves.
 */
#ifndef PF_CORE_SOURCE_ROUND_HEED_H
#define PF_CORE_SOURCE_ROUND_HEED_H

struct pf_source;

/*
 * Between two passes, when no mover is at work: from here on pages are made shorter, and memory is
 * registered, as is wanted now. Memory that is registered already stays so. What can't be had is
 * said and left out. The control thread.
 */
void pf_round_heed(struct pf_source *source);

#endif
