/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's thread for a lane in pull mode where the peer's reads need our CPU
 * (caps.remote_cpu): it moves the lane along and does nothing else. Elsewhere the NIC serves the
 * reads by itself, and there is no such thread.
 */
#ifndef PF_CORE_SESSION_ATTENDANT_H
#define PF_CORE_SESSION_ATTENDANT_H

#include "core/session/session.h"
#include "core/session/worker.h"

struct pf_attendant;

struct pf_knock_receive {
    struct pf_op op;
    struct pf_attendant *attendant;
};

struct pf_attendant {
    struct pf_worker worker;
    struct pf_port *port;
    struct pf_idle idle;
    /* Where the peer knocks (core/session/knock.h); what it sends is of no interest. */
    struct pf_knock_receive *receives;
    unsigned receive_count;
    struct pf_mr *mr;
    uint8_t bytes[32];
};

/* Do the session's lanes get one each? If one NIC can't serve reads by itself, all do. */
bool pf_attendants_needed(const struct pf_session *session);

/* For a lane on which `reads` may be under way. Before the port is connected. */
int pf_attendant_open(struct pf_attendant *attendant, struct pf_port *port, unsigned reads);
int pf_attendant_post_receives(struct pf_attendant *attendant);
/* Take the port's lane over. */
int pf_attendant_start(struct pf_attendant *attendant, const char *name);
/* After the endpoint is closed. Harmless for one that was not opened. */
void pf_attendant_close(struct pf_attendant *attendant);

#endif
