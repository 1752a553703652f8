/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/knock.h"

enum { EVERY_NS = 50000 }; /* a fraction of the time that an engine thread spins by default */

static void knock_done(struct pf_op *op, int status, size_t bytes)
{
    /* A failure is the endpoint's, and is reported by that. */
    (void)status;
    (void)bytes;
    pf_container_of(op, struct pf_knock, op)->posted = false;
}

void pf_knock_init(struct pf_knock *knock, struct pf_endpoint *endpoint)
{
    bool needed = pf_knock_needed(&endpoint->lane->device->caps);
    *knock = (struct pf_knock){.op.done = knock_done, .endpoint = needed ? endpoint : NULL};
}

void pf_knock(struct pf_knock *knock, uint64_t now)
{
    char nothing = 0;
    struct pf_sge sge = {NULL, &nothing, sizeof nothing};
    if (!knock->endpoint || knock->posted || now - knock->last_ns < EVERY_NS)
        return;
    knock->last_ns = now;
    knock->posted = pf_send(knock->endpoint, &sge, 1, &knock->op) == 0;
}
