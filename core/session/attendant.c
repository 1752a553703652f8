/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/attendant.h"

#include "core/session/knock.h"
#include "pageferry.h"

#include <stdlib.h>

enum { BUDGET = 32 };

/* ---- being knocked at ------------------------------------------------------------------------ */

static int post_receive(struct pf_knock_receive *receive)
{
    struct pf_attendant *attendant = receive->attendant;
    struct pf_sge sge = {attendant->mr, attendant->bytes, sizeof attendant->bytes};
    return pf_recv(attendant->port->endpoint, &sge, &receive->op);
}

static void knocked(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_knock_receive *receive = pf_container_of(op, struct pf_knock_receive, op);
    bool hung_up = !receive->attendant->port->endpoint;
    int error = status || hung_up ? status : post_receive(receive);
    if (error && error != -ECANCELED)
        pf_port_lose(receive->attendant->port, error);
}

/* ---- the thread ------------------------------------------------------------------------------ */

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

/* ---- setting up ------------------------------------------------------------------------------ */

bool pf_attendants_needed(const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (session->rails[i].device->caps.remote_cpu)
            return true;
    return false;
}

int pf_attendant_open(struct pf_attendant *attendant, struct pf_port *port, unsigned reads)
{
    struct pf_session *session = port->session;
    struct pf_device *device = port->lane->device;
    *attendant = (struct pf_attendant){.port = port};
    int error = pf_worker_init(&attendant->worker, session, port->rail);
    if (error || !pf_knock_needed(&device->caps))
        return error;
    attendant->receive_count = reads < device->caps.max_depth ? reads + 1 : device->caps.max_depth;
    attendant->receives = calloc(attendant->receive_count, sizeof *attendant->receives);
    if (!attendant->receives)
        return pf_why(&session->why, -ENOMEM, "no memory for %u receives",
                      attendant->receive_count);
    for (unsigned i = 0; i < attendant->receive_count; i++)
        attendant->receives[i] =
            (struct pf_knock_receive){.op.done = knocked, .attendant = attendant};
    return pf_mr_reg(device, attendant->bytes, sizeof attendant->bytes, PF_LOCAL_WRITE,
                     &attendant->mr, &session->why);
}

int pf_attendant_post_receives(struct pf_attendant *attendant)
{
    for (unsigned i = 0; i < attendant->receive_count; i++) {
        int error = post_receive(&attendant->receives[i]);
        if (error)
            return pf_why(&attendant->port->session->why, error, "cannot post receives: %s",
                          ferry_strerror(error));
    }
    return 0;
}

int pf_attendant_start(struct pf_attendant *attendant, const char *name)
{
    const struct pf_options *options = attendant->port->session->options;
    attendant->idle = (struct pf_idle){
        .lanes = {attendant->port->lane},
        .lane_count = 1,
        .fds = {attendant->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
        .nap_most_ns = attendant->port->role == PF_ROLE_BULK ? PF_IDLE_LONG_NAP_NS : 0,
    };
    return pf_worker_start(&attendant->worker, name, attendant_run, attendant);
}

void pf_attendant_close(struct pf_attendant *attendant)
{
    pf_worker_stop(&attendant->worker);
    if (attendant->mr)
        pf_mr_dereg(attendant->mr);
    free(attendant->receives);
    *attendant = (struct pf_attendant){.worker = {.stop_fd = -1}};
}
