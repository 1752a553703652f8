/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the destination tells the source of how it goes: the payload of PF_MSG_PROGRESS and
 * PF_MSG_COMPLETE. Both sides go by one list, so that a counter is added in one place.
 */
#ifndef PF_CORE_SESSION_PROGRESS_H
#define PF_CORE_SESSION_PROGRESS_H

#include "core/counters.h"
#include "core/session/wire.h"

/* Write the destination's counters; the payload has room for them. */
void pf_progress_put(struct pf_wire *payload, const struct pf_counters *counters);

/* Take them over at the source; pulled: also what only the destination can count then. */
void pf_progress_get(struct pf_wire *payload, struct pf_counters *counters, bool pulled);

#endif
