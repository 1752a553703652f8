/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's thread for a lane in pull mode where the peer's reads need our CPU
 * (caps.remote_cpu): it moves the lane along and does nothing else. Elsewhere the NIC serves the
 * reads by itself, and there is no such thread.
 */
#ifndef PF_CORE_ATTENDANT_H
#define PF_CORE_ATTENDANT_H

#include "core/session.h"
#include "core/worker.h"

struct pf_attendant {
    struct pf_worker worker;
    struct pf_port *port;
    struct pf_idle idle;
};

/* Take the port's lane over. Stopped by pf_worker_stop(&attendant->worker). */
int pf_attendant_start(struct pf_attendant *attendant, struct pf_port *port, const char *name);

#endif
