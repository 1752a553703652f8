/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations that ended outside pf_progress(), or because their endpoint did: done() comes from the
 * next pf_progress() or pf_lane_close(). They count as posted until then.
 */
#include "rdma/ofi/internal.h"

/* Places in pf_op.scratch of a finished operation. */
enum { STATUS, BYTES };

void pf_ofi_finish(struct pf_ofi_endpoint *endpoint, struct pf_op *op, int status, size_t bytes)
{
    op->scratch[STATUS] = (uint64_t)(int64_t)status;
    op->scratch[BYTES] = bytes;
    op->endpoint = &endpoint->endpoint;
    endpoint->sends++;
    pf_list_append(&endpoint->finished, &op->link);
}

unsigned pf_ofi_finished_report(struct pf_list *finished, unsigned budget)
{
    unsigned made = 0;
    while (made < budget && !pf_list_empty(finished)) {
        struct pf_op *op = pf_container_of(pf_list_pop(finished), struct pf_op, link);
        if (op->endpoint)
            pf_ofi_endpoint_of(op->endpoint)->sends--;
        made++;
        op->done(op, (int)(int64_t)op->scratch[STATUS], op->scratch[BYTES]);
    }
    return made;
}

/* The endpoint goes; its lane reports what is left. */
void pf_ofi_finished_orphan(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(endpoint->endpoint.lane);
    while (!pf_list_empty(&endpoint->finished)) {
        struct pf_op *op = pf_container_of(pf_list_pop(&endpoint->finished), struct pf_op, link);
        op->endpoint = NULL;
        pf_list_append(&lane->orphans, &op->link);
    }
}
