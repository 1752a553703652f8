/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receives. The caller's are on a list of ours; the provider gets buffers of ours, from which a
 * message is copied. Most providers use up none of their receives for an immediate, and the
 * contract wants one used up: this way both kinds of arrival meet the caller's oldest receive, in
 * the order in which they came. Messages are short (requests and credits), so the copy is cheap.
 */
#include "rdma/ofi/internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { BUFFER_ALIGN = 64, CONTROL_BYTES = 64 };

/* Kept in pf_op.scratch of a posted receive. */
struct room {
    char *at;
    size_t size;
};

static size_t buffer_size(const struct pf_ofi_endpoint *endpoint)
{
    size_t size = endpoint->recv_size > CONTROL_BYTES ? endpoint->recv_size : CONTROL_BYTES;
    return (size + BUFFER_ALIGN - 1) / BUFFER_ALIGN * BUFFER_ALIGN;
}

/* Where immediates use up receives all are needed; elsewhere the provider holds the sender back. */
static unsigned buffer_count(const struct pf_ofi_endpoint *endpoint)
{
    size_t limit = endpoint->device->info->rx_attr->size;
    unsigned wanted = endpoint->recv_depth + PF_OFI_SPARE;
    return wanted < limit ? wanted : (unsigned)limit;
}

/* Buffers first, then as many bufferless arrivals for immediates. */
int pf_ofi_receive_open(struct pf_ofi_endpoint *endpoint)
{
    unsigned buffers = buffer_count(endpoint);
    unsigned spare = endpoint->device->imm_takes_rx ? 0 : endpoint->recv_depth + 2 * PF_OFI_SPARE;
    size_t size = buffer_size(endpoint);
    endpoint->arrivals = calloc(buffers + spare, sizeof *endpoint->arrivals);
    endpoint->buffers = aligned_alloc(BUFFER_ALIGN, buffers * size);
    if (!endpoint->arrivals || !endpoint->buffers)
        return -ENOMEM;
    if (endpoint->device->info->domain_attr->mr_mode & FI_MR_LOCAL) {
        int error = pf_ofi_mr_open(endpoint->device, endpoint->buffers, buffers * size, FI_RECV,
                                   &endpoint->buffers_mr);
        if (error)
            return pf_ofi_error(error);
    }
    for (unsigned i = 0; i < buffers; i++) {
        endpoint->arrivals[i].buffer = endpoint->buffers + i * size;
        pf_list_append(&endpoint->idle, &endpoint->arrivals[i].link);
    }
    for (unsigned i = 0; i < spare; i++)
        pf_list_append(&endpoint->spare, &endpoint->arrivals[buffers + i].link);
    endpoint->spare_count = spare;
    return 0;
}

void pf_ofi_receive_post(struct pf_ofi_endpoint *endpoint)
{
    void *desc = endpoint->buffers_mr ? fi_mr_desc(endpoint->buffers_mr) : NULL;
    size_t size = buffer_size(endpoint);
    while (!pf_list_empty(&endpoint->idle)) {
        struct pf_ofi_arrival *arrival =
            pf_container_of(endpoint->idle.next, struct pf_ofi_arrival, link);
        ssize_t error =
            fi_recv(endpoint->ep, arrival->buffer, size, desc, endpoint->peer, &arrival->context);
        if (error)
            return;
        pf_list_remove(&arrival->link);
    }
}

/* Its content was used: back to the provider, or for the next immediate. */
void pf_ofi_receive_recycle(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival)
{
    if (!arrival->buffer) {
        pf_list_append(&endpoint->spare, &arrival->link);
        endpoint->spare_count++;
        return;
    }
    pf_list_append(&endpoint->idle, &arrival->link);
    pf_ofi_receive_post(endpoint);
}

int pf_ofi_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op)
{
    struct pf_ofi_endpoint *at = pf_ofi_endpoint_of(endpoint);
    size_t total;
    if (at->state >= PF_OFI_DRAINING)
        return -ENOTCONN;
    if (!sge->mr || !(sge->mr->access & (PF_LOCAL_WRITE | PF_REMOTE_WRITE)) ||
        !pf_sgl_valid(&at->device->device.caps, sge, 1, &total))
        return -EINVAL;
    if (at->receives >= at->recv_depth)
        return -EAGAIN;
    op->endpoint = endpoint;
    struct room room = {.at = sge->addr, .size = sge->len};
    memcpy(op->scratch, &room, sizeof room);
    at->receives++;
    pf_list_append(&at->wanted, &op->link);
    return 0;
}

/* An arrival meets the oldest receive. Returns the callbacks made: one. */
static unsigned deliver(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival)
{
    struct pf_op *op = pf_container_of(endpoint->wanted.next, struct pf_op, link);
    pf_list_remove(&op->link);
    struct room room;
    memcpy(&room, op->scratch, sizeof room);
    bool fits = arrival->has_imm || arrival->bytes <= room.size;
    size_t bytes = arrival->has_imm ? 0 : arrival->bytes;
    endpoint->receives--;
    op->has_imm = arrival->has_imm;
    op->imm = arrival->imm;
    if (fits && bytes)
        memcpy(room.at, arrival->buffer, bytes);
    pf_ofi_receive_recycle(endpoint, arrival);
    if (!fits)
        pf_ofi_endpoint_fail(endpoint, -EMSGSIZE);
    op->done(op, fits ? 0 : -EMSGSIZE, bytes);
    return 1;
}

unsigned pf_ofi_receive_arrived(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival)
{
    if (endpoint->state >= PF_OFI_CLOSING) {
        pf_ofi_receive_recycle(endpoint, arrival);
        return 0;
    }
    if (pf_list_empty(&endpoint->held) && !pf_list_empty(&endpoint->wanted))
        return deliver(endpoint, arrival);
    if (pf_list_empty(&endpoint->held))
        endpoint->held_until = pf_now_ns() + PF_OFI_HOLD_NS;
    pf_list_append(&endpoint->held, &arrival->link);
    return 0;
}

/* The next of what was early: it meets a receive, or was the peer's flush and is answered. */
static unsigned deliver_held(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_arrival *arrival =
        pf_container_of(pf_list_pop(&endpoint->held), struct pf_ofi_arrival, link);
    endpoint->held_until = pf_now_ns() + PF_OFI_HOLD_NS;
    if (!arrival->flush_ask)
        return deliver(endpoint, arrival);
    endpoint->answers_owed++;
    pf_ofi_receive_recycle(endpoint, arrival);
    return 0;
}

/* Can the oldest held arrival go now? */
bool pf_ofi_receive_ready(const struct pf_ofi_endpoint *endpoint)
{
    if (pf_list_empty(&endpoint->held))
        return false;
    return !pf_list_empty(&endpoint->wanted) ||
           pf_container_of(endpoint->held.next, struct pf_ofi_arrival, link)->flush_ask;
}

/* Arrivals that were early; the endpoint fails if the oldest has waited too long. */
unsigned pf_ofi_receive_held(struct pf_ofi_endpoint *endpoint, unsigned budget)
{
    unsigned made = 0;
    while (made < budget && endpoint->state < PF_OFI_CLOSING && pf_ofi_receive_ready(endpoint))
        made += deliver_held(endpoint);
    if (endpoint->state < PF_OFI_CLOSING && !pf_list_empty(&endpoint->held) &&
        pf_now_ns() > endpoint->held_until)
        pf_ofi_endpoint_fail(endpoint, -ENOBUFS);
    return made;
}
