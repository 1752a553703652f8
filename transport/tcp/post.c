/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/post.h"

#include "transport/tcp/endpoint.h"

/* 0 if operations of ours can be sent. */
static int check_open(const struct pf_tcp_endpoint *ep)
{
    if (ep->state == PF_TCP_OPEN)
        return 0;
    /* REFUSING and DEAD know a reason, except when the peer hung up in order. */
    return ep->status ? ep->status : -ENOTCONN;
}

/* With these rights; gathering from a registration needs none. */
static bool all_registered(const struct pf_sge *sgl, unsigned count, unsigned right)
{
    for (unsigned i = 0; i < count; i++)
        if (!sgl[i].mr || (sgl[i].mr->access & right) != right)
            return false;
    return true;
}

/* A frame with its header, and still without payload. */
static int start(struct pf_tcp_endpoint *ep, struct pf_tcp_header *header, struct pf_op *op,
                 struct pf_tcp_frame **out)
{
    struct pf_tcp_frame *frame = pf_tcp_pool_take(&ep->tx.own);
    if (!frame)
        return -EAGAIN;
    header->version = PF_TCP_VERSION;
    pf_tcp_frame_start(frame, header);
    frame->op = op;
    frame->length = header->length;
    op->endpoint = &ep->base;
    *out = frame;
    return 0;
}

static void queue(struct pf_tcp_endpoint *ep, struct pf_tcp_frame *frame)
{
    pf_list_append(&ep->tx.queue, &frame->link);
    pf_tcp_lane_busy(pf_tcp_lane_of(ep), ep);
}

static void gather(struct pf_tcp_frame *frame, const struct pf_sge *sgl, unsigned count)
{
    bool copy = frame->length <= PF_TCP_INLINE;
    for (unsigned i = 0; i < count; i++) {
        if (copy)
            pf_tcp_frame_copy(frame, sgl[i].addr, sgl[i].len);
        else
            pf_tcp_frame_add(frame, sgl[i].addr, sgl[i].len);
    }
}

static int post_gather(struct pf_tcp_endpoint *ep, struct pf_tcp_header *header,
                       const struct pf_sge *sgl, unsigned count, struct pf_op *op)
{
    struct pf_tcp_frame *frame;
    int status = start(ep, header, op, &frame);
    if (status)
        return status;
    gather(frame, sgl, count);
    queue(ep, frame);
    return 0;
}

static int check_sgl(const struct pf_tcp_endpoint *ep, const struct pf_sge *sgl, unsigned count,
                     size_t *total)
{
    int status = check_open(ep);
    if (status)
        return status;
    return pf_sgl_valid(&ep->base.lane->device->caps, sgl, count, total) ? 0 : -EINVAL;
}

int pf_tcp_send(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                struct pf_op *op)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    size_t total;
    int status = check_sgl(ep, sgl, count, &total);
    if (status)
        return status;
    struct pf_tcp_header header = {.type = PF_TCP_SEND, .length = (uint32_t)total};
    return post_gather(ep, &header, sgl, count, op);
}

static int post_write(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                      struct pf_tcp_header *header, struct pf_op *op)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    size_t total;
    int status = check_sgl(ep, sgl, count, &total);
    if (status)
        return status;
    if (!all_registered(sgl, count, 0))
        return -EINVAL;
    header->length = (uint32_t)total;
    return post_gather(ep, header, sgl, count, op);
}

int pf_tcp_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                 uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct pf_tcp_header header = {.type = PF_TCP_WRITE, .addr = remote, .key = rkey->key};
    return post_write(endpoint, sgl, count, &header, op);
}

int pf_tcp_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op)
{
    struct pf_tcp_header header = {
        .type = PF_TCP_WRITE_IMM, .addr = remote, .key = rkey->key, .imm = imm};
    return post_write(endpoint, sgl, count, &header, op);
}

int pf_tcp_read(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count, uint64_t remote,
                const struct pf_rkey *rkey, struct pf_op *op)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    size_t total;
    int status = check_sgl(ep, sgl, count, &total);
    if (status)
        return status;
    if (!all_registered(sgl, count, PF_LOCAL_WRITE))
        return -EINVAL;
    struct pf_tcp_header header = {
        .type = PF_TCP_READ, .addr = remote, .key = rkey->key, .length = (uint32_t)total};
    struct pf_tcp_frame *frame;
    status = start(ep, &header, op, &frame);
    if (status)
        return status;
    for (unsigned i = 0; i < count; i++)
        frame->iov[1 + i] = (struct iovec){sgl[i].addr, sgl[i].len};
    frame->scatter = count;
    queue(ep, frame);
    return 0;
}

int pf_tcp_flush(struct pf_endpoint *base, struct pf_op *op)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    struct pf_tcp_header header = {.type = PF_TCP_FLUSH};
    struct pf_tcp_frame *frame;
    int status = check_open(ep);
    if (status == 0)
        status = start(ep, &header, op, &frame);
    if (status == 0)
        queue(ep, frame);
    return status;
}

int pf_tcp_recv(struct pf_endpoint *base, const struct pf_sge *sge, struct pf_op *op)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    size_t total;
    if (ep->state > PF_TCP_OPEN)
        return ep->status ? ep->status : -ENOTCONN;
    if (!pf_sgl_valid(&base->lane->device->caps, sge, 1, &total) ||
        !all_registered(sge, 1, PF_LOCAL_WRITE))
        return -EINVAL;
    if (ep->receives_posted == ep->recv_depth)
        return -EAGAIN;
    ep->receives_posted++;
    op->endpoint = base;
    op->scratch[0] = (uintptr_t)sge->addr;
    op->scratch[1] = sge->len;
    pf_list_append(&ep->receives, &op->link);
    if (ep->rx.stalled)
        pf_tcp_lane_busy(pf_tcp_lane_of(ep), ep);
    return 0;
}
