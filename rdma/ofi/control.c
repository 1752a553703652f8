/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of the back end's own. A caller's message never carries completion data, so one that
 * does is ours. They travel in the same stream as the callers' messages and so behind them:
 *
 *   hello         the first message over an unconnected endpoint: makes the provider find its peer
 *   flush ask     sent after writes; the answer proves that they have landed
 *   flush answer
 *   bye           the sender hangs up, in order (status 0) or because of an error; whoever gets one
 *                 while he is not hanging up himself answers with his own
 */
#include "rdma/ofi/internal.h"

#include <string.h>
#include <sys/mman.h>

enum { MAGIC = 0x7066 };

struct body {
    uint32_t magic;
    int32_t status; /* of a bye: 0 or a negative errno */
};

bool pf_ofi_control_is(const struct fi_cq_data_entry *entry)
{
    return (entry->flags & FI_REMOTE_CQ_DATA) != 0;
}

/* 0, -FI_EAGAIN or another error of libfabric's. */
int pf_ofi_control_send(struct pf_ofi_endpoint *endpoint, enum pf_ofi_control what, int status)
{
    struct body body = {.magic = MAGIC, .status = status};
    ssize_t error = fi_injectdata(endpoint->ep, &body, sizeof body, what, endpoint->peer);
    endpoint->spoken += error == 0;
    return (int)error;
}

/* Send what is due. A real error shows by itself, as the end of the connection. */
void pf_ofi_control_owed(struct pf_ofi_endpoint *endpoint)
{
    while (endpoint->answers_owed) {
        if (pf_ofi_control_send(endpoint, PF_OFI_FLUSH_ANSWER, 0))
            return;
        endpoint->answers_owed--;
    }
    if (endpoint->bye_owed &&
        pf_ofi_control_send(endpoint, PF_OFI_BYE, endpoint->status) != -FI_EAGAIN)
        endpoint->bye_owed = false;
}

static unsigned flushed(struct pf_ofi_endpoint *endpoint)
{
    pf_list_for_each (item, &endpoint->posted) {
        struct pf_ofi_record *record = pf_container_of(item, struct pf_ofi_record, link);
        if (record->kind == PF_OFI_FLUSH) {
            endpoint->flushes--;
            return pf_ofi_record_done(endpoint, record, 0);
        }
    }
    return 0;
}

/*
 * The peer has our region mapped: its name in /dev/shm has done its work, and without it nothing
 * stays behind if both processes are killed. (fi_ns://NAME is the shm provider's way to write a
 * name that it takes as it is.)
 */
static void forget_name(const struct pf_ofi_endpoint *endpoint)
{
    const char *name = strstr(endpoint->name, "://");
    if (name)
        shm_unlink(name + 3);
}

static void peer_hung_up(struct pf_ofi_endpoint *endpoint, int status)
{
    if (endpoint->state < PF_OFI_CLOSING) {
        endpoint->status = 0;
        endpoint->bye_owed = true;
        pf_ofi_control_owed(endpoint);
        endpoint->status = status < 0 ? status : 0;
    }
    pf_ofi_endpoint_end(endpoint, endpoint->status);
}

static unsigned act(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_arrival *arrival)
{
    struct body body = {0};
    if (arrival->bytes == sizeof body)
        memcpy(&body, arrival->buffer, sizeof body);
    if (body.magic != MAGIC) {
        pf_ofi_endpoint_fail(endpoint, -EPROTO);
        return 0;
    }
    switch (arrival->imm) {
    case PF_OFI_HELLO:
        forget_name(endpoint);
        return 0;
    case PF_OFI_FLUSH_ASK:
        endpoint->answers_owed++;
        return 0;
    case PF_OFI_FLUSH_ANSWER:
        return flushed(endpoint);
    case PF_OFI_BYE:
        peer_hung_up(endpoint, body.status);
        return 0;
    default:
        pf_ofi_endpoint_fail(endpoint, -EPROTO);
        return 0;
    }
}

/* Returns the callbacks made. Takes the arrival. */
unsigned pf_ofi_control_arrived(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival)
{
    arrival->flush_ask = arrival->imm == PF_OFI_FLUSH_ASK;
    if (arrival->flush_ask && !pf_list_empty(&endpoint->held)) {
        pf_list_append(&endpoint->held, &arrival->link);
        return 0;
    }
    unsigned made = act(endpoint, arrival);
    if (endpoint->cq)
        pf_ofi_receive_recycle(endpoint, arrival);
    return made;
}
