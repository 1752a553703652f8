/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/handlers.h"

#include "transport/tcp/device.h"
#include "transport/tcp/transmit.h"

static void payload_to(struct pf_tcp_endpoint *ep, void *data)
{
    ep->rx.one = (struct iovec){data, ep->rx.header.length};
    ep->rx.iov = &ep->rx.one;
    ep->rx.iov_count = 1;
}

static int nothing(struct pf_tcp_endpoint *ep)
{
    (void)ep;
    return 0;
}

/* ---- greeting -------------------------------------------------------------------------------- */

static int begin_private(struct pf_tcp_endpoint *ep)
{
    payload_to(ep, ep->private_data);
    return 0;
}

static int end_accept(struct pf_tcp_endpoint *ep)
{
    ep->private_len = ep->rx.header.length;
    return pf_tcp_endpoint_opened(ep, ep->rx.header.imm);
}

static int end_reject(struct pf_tcp_endpoint *ep)
{
    ep->private_len = ep->rx.header.length;
    pf_tcp_endpoint_end(ep, -ECONNREFUSED);
    return 0;
}

/* ---- messages and immediates ------------------------------------------------------------------
 */

/* In CLOSING no receive can be posted any more, and what the peer still sends is nobody's. */
static int no_receive(const struct pf_tcp_endpoint *ep)
{
    return ep->state == PF_TCP_CLOSING ? 0 : -EAGAIN;
}

static void complete_receive(struct pf_tcp_endpoint *ep, size_t bytes, bool has_imm)
{
    struct pf_op *op = pf_container_of(pf_list_pop(&ep->receives), struct pf_op, link);
    ep->receives_posted--;
    op->has_imm = has_imm;
    op->imm = has_imm ? ep->rx.header.imm : 0;
    (void)pf_tcp_lane_spend(pf_tcp_lane_of(ep));
    op->done(op, 0, bytes);
}

static int begin_send(struct pf_tcp_endpoint *ep)
{
    if (pf_list_empty(&ep->receives))
        return no_receive(ep);
    struct pf_op *op = pf_container_of(ep->receives.next, struct pf_op, link);
    if (ep->rx.header.length > op->scratch[1]) {
        /* The one receive that ends for a reason of its own. */
        pf_list_remove(&op->link);
        pf_tcp_lane_finish(pf_tcp_lane_of(ep), op, -EMSGSIZE);
        return -EMSGSIZE;
    }
    payload_to(ep, pf_tcp_pointer(op->scratch[0]));
    return 0;
}

static int end_send(struct pf_tcp_endpoint *ep)
{
    if (!pf_list_empty(&ep->receives))
        complete_receive(ep, ep->rx.header.length, false);
    return 0;
}

/* ---- one-sided ---------------------------------------------------------------------------------
 */

/* Nothing is checked yet: it is when, and whenever, bytes are about to land. */
static int begin_write(struct pf_tcp_endpoint *ep)
{
    ep->rx.landing = true;
    payload_to(ep, pf_tcp_pointer(ep->rx.header.addr));
    return 0;
}

static int end_write_imm(struct pf_tcp_endpoint *ep)
{
    if (pf_list_empty(&ep->receives))
        return no_receive(ep);
    complete_receive(ep, 0, true);
    return 0;
}

/* Checked now, so that a bad request costs nothing more, and again whenever bytes leave. */
static int end_read(struct pf_tcp_endpoint *ep)
{
    const struct pf_tcp_header *header = &ep->rx.header;
    struct pf_tcp_slot *slot =
        pf_tcp_mr_hold(&pf_tcp_device(ep->base.lane->device)->table, header->key, header->addr,
                       header->length, PF_REMOTE_READ);
    if (!slot)
        return -EACCES;
    pf_tcp_mr_release(slot);
    return pf_tcp_tx_read_data(&ep->tx, header);
}

static int begin_read_data(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_frame *frame = pf_tcp_tx_awaiting(&ep->tx, PF_TCP_READ);
    if (!frame || frame->length != ep->rx.header.length)
        return -EPROTO;
    ep->rx.iov = frame->iov + 1;
    ep->rx.iov_count = frame->scatter;
    return 0;
}

static int end_request(struct pf_tcp_endpoint *ep, uint8_t type)
{
    struct pf_tcp_frame *frame = pf_tcp_tx_awaiting(&ep->tx, type);
    if (!frame)
        return -EPROTO;
    (void)pf_tcp_lane_spend(pf_tcp_lane_of(ep));
    pf_tcp_tx_complete(ep, frame);
    return 0;
}

static int end_read_data(struct pf_tcp_endpoint *ep)
{
    return end_request(ep, PF_TCP_READ);
}

static int end_flush(struct pf_tcp_endpoint *ep)
{
    return pf_tcp_tx_flush_ack(&ep->tx);
}

static int end_flush_ack(struct pf_tcp_endpoint *ep)
{
    return end_request(ep, PF_TCP_FLUSH);
}

/* ---- endings ----------------------------------------------------------------------------------
 */

/* Only what a peer of ours says; anything else a stranger could put into the owner's hands. */
static int nak_status(uint32_t code)
{
    static const int known[] = {EACCES, ENOBUFS, EMSGSIZE, EPROTO};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (code == (uint32_t)known[i])
            return -known[i];
    return -EIO;
}

static int end_nak(struct pf_tcp_endpoint *ep)
{
    pf_tcp_endpoint_end(ep, nak_status(ep->rx.header.imm));
    return 0;
}

static int end_bye(struct pf_tcp_endpoint *ep)
{
    ep->bye_received = true;
    if (ep->state == PF_TCP_OPEN)
        pf_tcp_endpoint_refuse(ep, 0);
    return 0;
}

enum { GREETING = 1 << PF_TCP_GREETING, WORKING = 1 << PF_TCP_OPEN | 1 << PF_TCP_CLOSING };

/* states, min_length, max_length, payload, needs_call, begin, end */
static const struct pf_tcp_handler handlers[PF_TCP_TYPES] = {
    [PF_TCP_ACCEPT] = {GREETING, 0, PF_PRIVATE_DATA_MAX, true, true, begin_private, end_accept},
    [PF_TCP_REJECT] = {GREETING, 0, PF_PRIVATE_DATA_MAX, true, false, begin_private, end_reject},
    [PF_TCP_SEND] = {WORKING, 1, PF_TCP_MAX_MESSAGE, true, true, begin_send, end_send},
    [PF_TCP_WRITE] = {WORKING, 1, PF_TCP_MAX_MESSAGE, true, false, begin_write, nothing},
    [PF_TCP_WRITE_IMM] = {WORKING, 1, PF_TCP_MAX_MESSAGE, true, true, begin_write, end_write_imm},
    [PF_TCP_READ] = {WORKING, 1, PF_TCP_MAX_MESSAGE, false, false, nothing, end_read},
    [PF_TCP_READ_DATA] = {WORKING, 1, PF_TCP_MAX_MESSAGE, true, true, begin_read_data,
                          end_read_data},
    [PF_TCP_FLUSH] = {WORKING, 0, 0, false, false, nothing, end_flush},
    [PF_TCP_FLUSH_ACK] = {WORKING, 0, 0, false, true, nothing, end_flush_ack},
    [PF_TCP_NAK] = {WORKING, 0, 0, false, false, nothing, end_nak},
    [PF_TCP_BYE] = {WORKING, 0, 0, false, false, nothing, end_bye},
};

const struct pf_tcp_handler *pf_tcp_handler(uint8_t type)
{
    return type < PF_TCP_TYPES && handlers[type].end ? &handlers[type] : NULL;
}
