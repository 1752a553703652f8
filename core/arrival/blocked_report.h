/* SPDX-License-Identifier: BSD-2-Clause */
/* How long threads were blocked, told: to the source over the control channel, to people in JSON.
 */
#ifndef PF_CORE_ARRIVAL_BLOCKED_REPORT_H
#define PF_CORE_ARRIVAL_BLOCKED_REPORT_H

#include "core/arrival/blocked.h"
#include "core/session/wire.h"

#include <json-c/json.h>

/*
 * The payload of a PF_MSG_THREADS: as many rows as fit, from *at on, which starts as 0. False when
 * that were the last ones.
 */
bool pf_blocked_put_threads(struct pf_wire *payload, const struct pf_blocked *blocked,
                            unsigned *at);
/* Take it over; what can't be marks the payload as bad. */
void pf_blocked_get_threads(struct pf_wire *payload, struct pf_blocked *blocked);

/* The payload of PF_MSG_LATENCY: all cells fit in one message. */
void pf_blocked_put_latency(struct pf_wire *payload, const struct pf_blocked *blocked);
void pf_blocked_get_latency(struct pf_wire *payload, struct pf_blocked *blocked);

/* Add the keys "threads", "all_blocked_us" and "latency" if anything has been counted. */
void pf_blocked_add_json(struct json_object *record, const struct pf_blocked *blocked);

#endif
