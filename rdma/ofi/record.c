/* SPDX-License-Identifier: BSD-2-Clause */
/* Records of posted operations: taken, handed to the provider, waiting for room there, done. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>

int pf_ofi_record_open(struct pf_ofi_endpoint *endpoint)
{
    endpoint->records = calloc(endpoint->send_depth, sizeof *endpoint->records);
    if (!endpoint->records)
        return -ENOMEM;
    for (unsigned i = 0; i < endpoint->send_depth; i++)
        pf_list_append(&endpoint->free_records, &endpoint->records[i].link);
    return 0;
}

/* NULL when send_depth operations are posted. */
struct pf_ofi_record *pf_ofi_record_take(struct pf_ofi_endpoint *endpoint, enum pf_ofi_kind kind,
                                         struct pf_op *op)
{
    if (endpoint->sends >= endpoint->send_depth)
        return NULL;
    struct pf_ofi_record *record =
        pf_container_of(pf_list_pop(&endpoint->free_records), struct pf_ofi_record, link);
    record->kind = kind;
    record->op = op;
    record->flags = 0;
    record->bytes = 0;
    op->endpoint = &endpoint->endpoint;
    endpoint->sends++;
    return record;
}

static void give_back(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record)
{
    pf_list_remove(&record->link);
    pf_list_append(&endpoint->free_records, &record->link);
    endpoint->sends--;
}

static ssize_t hand_send(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record)
{
    struct fi_msg message = {
        .msg_iov = record->iov,
        .desc = record->desc,
        .iov_count = record->count,
        .addr = endpoint->peer,
        .context = &record->context,
    };
    ssize_t error = fi_sendmsg(endpoint->ep, &message, FI_COMPLETION);
    endpoint->spoken += error == 0;
    return error;
}

/*
 * Without FI_DELIVERY_COMPLETE a completion means that the local memory may be reused, which is
 * what done() promises. It is asked for only where flush has nothing else to go by.
 */
static ssize_t hand_access(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record)
{
    struct fi_rma_iov remote = {
        .addr = record->remote,
        .len = record->bytes,
        .key = record->key,
    };
    struct fi_msg_rma message = {
        .msg_iov = record->iov,
        .desc = record->desc,
        .iov_count = record->count,
        .addr = endpoint->peer,
        .rma_iov = &remote,
        .rma_iov_count = 1,
        .context = &record->context,
        .data = record->imm,
    };
    if (record->kind == PF_OFI_READ)
        return fi_readmsg(endpoint->ep, &message, FI_COMPLETION);
    uint64_t delivery = endpoint->device->orders_sends ? 0 : FI_DELIVERY_COMPLETE;
    ssize_t error = fi_writemsg(endpoint->ep, &message, FI_COMPLETION | record->flags | delivery);
    endpoint->spoken += error == 0 && record->flags;
    return error;
}

/*
 * Where a message can't overtake a write, the peer's answer to a message sent after the writes
 * proves that they have landed; on verbs too, where a write's own completion proves only that the
 * peer's NIC has it. Elsewhere (efa: sends are ordered among themselves only) every write asks for
 * FI_DELIVERY_COMPLETE, and a flush is done when nothing posted before it is left.
 */
static ssize_t hand_flush(struct pf_ofi_endpoint *endpoint)
{
    if (!endpoint->device->orders_sends)
        return 0;
    if (endpoint->flushes >= PF_OFI_FLUSHES)
        return -FI_EAGAIN;
    int error = pf_ofi_control_send(endpoint, PF_OFI_FLUSH_ASK, 0);
    if (!error)
        endpoint->flushes++;
    return error;
}

static ssize_t hand_over(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record)
{
    switch (record->kind) {
    case PF_OFI_SEND:
        return hand_send(endpoint, record);
    case PF_OFI_FLUSH:
        return hand_flush(endpoint);
    default:
        return hand_access(endpoint, record);
    }
}

/*
 * 0, or the endpoint is dead and the record given back. What the provider has no room for now
 * waits here, in order, and counts as posted: send_depth is the only limit the caller sees.
 */
int pf_ofi_record_start(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record)
{
    ssize_t error = pf_list_empty(&endpoint->waiting) ? hand_over(endpoint, record) : -FI_EAGAIN;
    if (error == -FI_EAGAIN) {
        pf_list_append(&endpoint->waiting, &record->link);
        return 0;
    }
    if (error) {
        give_back(endpoint, record);
        pf_ofi_endpoint_fail(endpoint, pf_ofi_error(error));
        return pf_ofi_error(error);
    }
    pf_list_append(&endpoint->posted, &record->link);
    return 0;
}

void pf_ofi_record_retry(struct pf_ofi_endpoint *endpoint)
{
    while (!pf_list_empty(&endpoint->waiting)) {
        struct pf_ofi_record *record =
            pf_container_of(endpoint->waiting.next, struct pf_ofi_record, link);
        ssize_t error = hand_over(endpoint, record);
        if (error == -FI_EAGAIN)
            return;
        pf_list_remove(&record->link);
        pf_list_append(&endpoint->posted, &record->link);
        if (error) {
            pf_ofi_endpoint_fail(endpoint, pf_ofi_error(error));
            return;
        }
    }
}

/* Returns the callbacks made: one. */
unsigned pf_ofi_record_done(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record,
                            int status)
{
    struct pf_op *op = record->op;
    size_t bytes = record->bytes;
    give_back(endpoint, record);
    op->done(op, status, bytes);
    return 1;
}

/* A flush at the head of what is posted has nothing left to wait for (unordered providers). */
unsigned pf_ofi_record_flushed(struct pf_ofi_endpoint *endpoint)
{
    unsigned made = 0;
    while (!endpoint->device->orders_sends && endpoint->cq && !pf_list_empty(&endpoint->posted)) {
        struct pf_ofi_record *head =
            pf_container_of(endpoint->posted.next, struct pf_ofi_record, link);
        if (head->kind != PF_OFI_FLUSH)
            break;
        made += pf_ofi_record_done(endpoint, head, 0);
    }
    return made;
}

static void cancel(struct pf_ofi_endpoint *endpoint, struct pf_list *list, int status)
{
    while (!pf_list_empty(list)) {
        struct pf_ofi_record *record = pf_container_of(list->next, struct pf_ofi_record, link);
        pf_ofi_finish(endpoint, record->op, status, 0);
        give_back(endpoint, record);
    }
}

/* After the provider's endpoint and queue are closed: nothing can complete a record twice. */
void pf_ofi_record_cancel(struct pf_ofi_endpoint *endpoint, int status)
{
    cancel(endpoint, &endpoint->posted, status);
    cancel(endpoint, &endpoint->waiting, status);
}
