/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/attendant.h"

enum { BUDGET = 32 };

static void *attendant_run(void *arg)
{
    struct pf_attendant *attendant = arg;
    pf_worker_be_quick();
    while (!pf_worker_stopping(&attendant->worker)) {
        int n = pf_progress(attendant->port->lane, BUDGET);
        if (n < 0) {
            pf_port_lose(attendant->port, n);
            break;
        }
        if (n > 0)
            pf_busy(&attendant->idle);
        else
            pf_idle(&attendant->idle, -1);
    }
    return NULL;
}

int pf_attendant_start(struct pf_attendant *attendant, struct pf_port *port, const char *name)
{
    const struct pf_options *options = port->session->options;
    int error = pf_worker_init(&attendant->worker, port->session, port->rail);
    if (error)
        return error;
    attendant->port = port;
    attendant->idle = (struct pf_idle){
        .lanes = {port->lane},
        .lane_count = 1,
        .fds = {attendant->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
    };
    return pf_worker_start(&attendant->worker, name, attendant_run, attendant);
}
