/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a work completion to done(), in two steps: reaping finds the operation and its result,
 * delivering calls back. Reaping alone may happen at any time, also while an endpoint is closed.
 */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <arpa/inet.h>

enum { BATCH = 16, NO_SLOT = UINT32_MAX };

/* ---- slots: wr_id is a slot's index and, in the upper half, its generation ---- */

void pf_verbs_slots_init(struct pf_verbs_lane *lane)
{
    for (uint32_t i = 0; i < lane->slots; i++)
        lane->slot[i].next_free = i + 1 < lane->slots ? i + 1 : NO_SLOT;
    lane->free_slot = 0;
}

/* There always is one: an endpoint's depths were taken off the lane's when it was made. */
uint32_t pf_verbs_slot_take(struct pf_verbs_lane *lane, struct pf_op *op, size_t length)
{
    uint32_t index = lane->free_slot;
    struct pf_verbs_slot *slot = &lane->slot[index];
    lane->free_slot = slot->next_free;
    *slot = (struct pf_verbs_slot){.op = op, .length = length, .generation = slot->generation + 1};
    return index;
}

uint64_t pf_verbs_slot_id(const struct pf_verbs_lane *lane, uint32_t index)
{
    return (uint64_t)lane->slot[index].generation << 32 | index;
}

void pf_verbs_slot_put(struct pf_verbs_lane *lane, uint32_t index)
{
    lane->slot[index].op = NULL;
    lane->slot[index].next_free = lane->free_slot;
    lane->free_slot = index;
}

/* NULL for a completion of an endpoint that is closed: its operations were cancelled then. */
static struct pf_verbs_slot *find_slot(struct pf_verbs_lane *lane, uint64_t wr_id)
{
    struct pf_verbs_slot *slot = &lane->slot[(uint32_t)wr_id];
    return slot->op && slot->generation == wr_id >> 32 ? slot : NULL;
}

/* ---- results ---- */

static const int status_table[] = {
    [IBV_WC_SUCCESS] = 0,
    [IBV_WC_LOC_LEN_ERR] = -EMSGSIZE,
    [IBV_WC_WR_FLUSH_ERR] = -ECANCELED,
    [IBV_WC_REM_ACCESS_ERR] = -EACCES,
    [IBV_WC_REM_INV_REQ_ERR] = -EACCES,
    [IBV_WC_REM_OP_ERR] = -ECONNRESET,
    [IBV_WC_REM_ABORT_ERR] = -ECONNRESET,
    [IBV_WC_RETRY_EXC_ERR] = -ETIMEDOUT,
    [IBV_WC_RESP_TIMEOUT_ERR] = -ETIMEDOUT,
    [IBV_WC_RNR_RETRY_EXC_ERR] = -ENOBUFS,
};

/*
 * A message larger than its receive. The specification has "local length error" at the receiver
 * and "invalid request" at the sender; rxe (Linux 6.1) says "local operation error" and "remote
 * operation error", which mean that the receive was malformed, and ours are not.
 */
static bool message_too_large(enum ibv_wc_status status, const struct pf_verbs_slot *slot)
{
    if (slot->receive)
        return status == IBV_WC_LOC_QP_OP_ERR || status == IBV_WC_REM_INV_REQ_ERR;
    return slot->message && (status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_OP_ERR);
}

static int status_of(const struct ibv_wc *wc, const struct pf_verbs_slot *slot)
{
    if (wc->status == IBV_WC_SUCCESS)
        return 0;
    if (message_too_large(wc->status, slot))
        return -EMSGSIZE;
    if (wc->status >= sizeof status_table / sizeof status_table[0] || !status_table[wc->status])
        return -EIO;
    return status_table[wc->status];
}

static void note_failure(struct pf_verbs_endpoint *endpoint, const struct ibv_wc *wc, int status)
{
    if (wc->status == IBV_WC_WR_FLUSH_ERR) {
        pf_verbs_fail_unknown(endpoint);
        return;
    }
    pf_debug("verbs: queue pair %u: %s (vendor error 0x%x)", wc->qp_num,
             ibv_wc_status_str(wc->status), wc->vendor_err);
    pf_verbs_fail(endpoint, status);
}

static void take_receive(struct pf_op *op, const struct ibv_wc *wc, size_t *bytes)
{
    op->has_imm = wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM;
    op->imm = op->has_imm ? ntohl(wc->imm_data) : 0;
    *bytes = op->has_imm ? 0 : wc->byte_len;
}

static void make_ready(struct pf_verbs_lane *lane, struct pf_op *op, int status, size_t bytes)
{
    pf_verbs_op_set_result(op, status, bytes);
    pf_list_append(&lane->ready, &op->link);
}

static void complete(struct pf_verbs_lane *lane, const struct ibv_wc *wc)
{
    struct pf_verbs_slot *slot = find_slot(lane, wc->wr_id);
    if (!slot)
        return;
    struct pf_op *op = slot->op;
    struct pf_verbs_endpoint *endpoint = pf_verbs_endpoint(op->endpoint);
    int status = status_of(wc, slot);
    size_t bytes = slot->length;
    bool receive = slot->receive;
    if (receive && status == 0)
        take_receive(op, wc, &bytes);
    pf_list_remove(&op->link);
    pf_verbs_slot_put(lane, (uint32_t)wc->wr_id);
    if (receive)
        endpoint->recvs--;
    else if (op != &endpoint->own)
        endpoint->sends--;
    if (status != 0)
        note_failure(endpoint, wc, status);

    if (op == &endpoint->own)
        pf_verbs_own_done(endpoint, status);
    else
        make_ready(lane, op, status, bytes);
    pf_verbs_ended_one(endpoint);
}

bool pf_verbs_reap(struct pf_verbs_lane *lane, unsigned budget)
{
    struct ibv_wc wc[BATCH];
    unsigned reaped = 0;
    int found;
    do {
        found = ibv_poll_cq(lane->cq, BATCH, wc);
        for (int i = 0; i < found; i++)
            complete(lane, &wc[i]);
        reaped += found > 0 ? (unsigned)found : 0;
    } while (found == BATCH && reaped < budget);
    if (found < 0)
        pf_verbs_lane_broken(lane);
    return found < BATCH;
}

/* ---- delivery ---- */

/*
 * A receive can complete before the event that the connection is up has been read, or without
 * it: then connected() comes first all the same.
 */
static bool owes_connected(struct pf_verbs_endpoint *endpoint, const struct pf_op *op)
{
    if (endpoint->state == PF_VERBS_ACCEPTING && pf_verbs_op_status(op) == 0)
        pf_verbs_established(endpoint);
    return endpoint->owes_connected;
}

unsigned pf_verbs_deliver(struct pf_verbs_lane *lane, unsigned budget)
{
    unsigned calls = 0;
    while (calls < budget && !pf_list_empty(&lane->ready)) {
        struct pf_op *op = pf_container_of(lane->ready.next, struct pf_op, link);
        if (op->endpoint && owes_connected(pf_verbs_endpoint(op->endpoint), op)) {
            calls += pf_verbs_report(pf_verbs_endpoint(op->endpoint), false);
            continue; /* the callback may have closed the endpoint: look at op again */
        }
        pf_list_remove(&op->link);
        op->done(op, pf_verbs_op_status(op), pf_verbs_op_bytes(op));
        calls++;
    }
    return calls;
}

void pf_verbs_cancel(struct pf_verbs_endpoint *endpoint)
{
    struct pf_verbs_lane *lane = pf_verbs_lane_of(endpoint);
    struct pf_list *item;
    while ((item = pf_list_pop(&endpoint->posted))) {
        struct pf_op *op = pf_container_of(item, struct pf_op, link);
        pf_verbs_slot_put(lane, pf_verbs_op_slot(op));
        if (op != &endpoint->own)
            make_ready(lane, op, -ECANCELED, 0);
    }
    pf_list_for_each (ready, &lane->ready) {
        struct pf_op *op = pf_container_of(ready, struct pf_op, link);
        if (op->endpoint != &endpoint->base)
            continue;
        op->endpoint = NULL;
        pf_verbs_op_set_result(op, -ECANCELED, 0);
    }
}
