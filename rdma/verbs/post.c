/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include <arpa/inet.h>

static int not_postable(const struct pf_verbs_endpoint *endpoint)
{
    return endpoint->error ? endpoint->error : -ENOTCONN;
}

static uint32_t local_key(const struct pf_sge *sge)
{
    return sge->mr ? pf_container_of(sge->mr, struct pf_verbs_mr, base)->mr->lkey : 0;
}

static void copy_list(const struct pf_sge *from, unsigned count, struct ibv_sge *to)
{
    for (unsigned i = 0; i < count; i++)
        to[i] = (struct ibv_sge){.addr = (uintptr_t)from[i].addr,
                                 .length = (uint32_t)from[i].len,
                                 .lkey = local_key(&from[i])};
}

/* Positive errno, as ibv_post_send() and ibv_post_recv() return it; ENOMEM is a full queue. */
static int post_failed(struct pf_verbs_endpoint *endpoint, uint32_t slot, int error)
{
    pf_verbs_slot_put(pf_verbs_lane_of(endpoint), slot);
    if (error == ENOMEM)
        return -EAGAIN;
    pf_verbs_fail(endpoint, -error);
    return -error;
}

static void own(struct pf_verbs_endpoint *endpoint, struct pf_op *op, uint32_t slot)
{
    op->endpoint = &endpoint->base;
    op->has_imm = false;
    pf_verbs_op_set_slot(op, slot);
    pf_list_append(&endpoint->posted, &op->link);
}

int pf_verbs_post_wr(struct pf_verbs_endpoint *endpoint, struct ibv_send_wr *wr, size_t length,
                     struct pf_op *op)
{
    struct pf_verbs_lane *lane = pf_verbs_lane_of(endpoint);
    struct ibv_send_wr *bad;
    uint32_t slot = pf_verbs_slot_take(lane, op, length);
    lane->slot[slot].message = wr->opcode == IBV_WR_SEND;
    wr->wr_id = pf_verbs_slot_id(lane, slot);
    wr->send_flags |= IBV_SEND_SIGNALED;
    int error = ibv_post_send(endpoint->id->qp, wr, &bad);
    if (error != 0)
        return post_failed(endpoint, slot, error);
    own(endpoint, op, slot);
    endpoint->busy = true;
    if (op != &endpoint->own)
        endpoint->sends++;
    return 0;
}

static bool registered(const struct pf_sge *sgl, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!sgl[i].mr)
            return false;
    return true;
}

/* Takes the gather list into wr; wr's opcode and addresses are the caller's. */
static int post_list(struct pf_verbs_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     struct ibv_send_wr *wr, struct pf_op *op)
{
    const struct pf_caps *caps = &endpoint->base.lane->device->caps;
    struct ibv_sge list[PF_VERBS_GATHER];
    size_t total;
    if (!pf_sgl_valid(caps, sgl, count, &total))
        return -EINVAL;
    if (wr->opcode != IBV_WR_SEND && !registered(sgl, count))
        return -EINVAL;
    if (endpoint->state != PF_VERBS_CONNECTED)
        return not_postable(endpoint);
    if (endpoint->sends >= endpoint->send_depth)
        return -EAGAIN;
    copy_list(sgl, count, list);
    wr->sg_list = list;
    wr->num_sge = (int)count;
    if (wr->opcode != IBV_WR_RDMA_READ && total <= caps->inline_size)
        wr->send_flags |= IBV_SEND_INLINE;
    return pf_verbs_post_wr(endpoint, wr, total, op);
}

int pf_verbs_send(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                  struct pf_op *op)
{
    struct ibv_send_wr wr = {.opcode = IBV_WR_SEND};
    return post_list(pf_verbs_endpoint(base), sgl, count, &wr, op);
}

int pf_verbs_write(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_RDMA_WRITE,
        .wr.rdma = {.remote_addr = remote - rkey->base, .rkey = (uint32_t)rkey->key}};
    return post_list(pf_verbs_endpoint(base), sgl, count, &wr, op);
}

int pf_verbs_write_imm(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                       uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op)
{
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
        .imm_data = htonl(imm),
        .wr.rdma = {.remote_addr = remote - rkey->base, .rkey = (uint32_t)rkey->key}};
    return post_list(pf_verbs_endpoint(base), sgl, count, &wr, op);
}

/* What is scattered into needs a registration that allows it; the NIC would fail the endpoint. */
static bool writable(const struct pf_sge *sgl, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!sgl[i].mr || !(sgl[i].mr->access & (PF_LOCAL_WRITE | PF_REMOTE_WRITE)))
            return false;
    return true;
}

int pf_verbs_read(struct pf_endpoint *base, const struct pf_sge *sgl, unsigned count,
                  uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_RDMA_READ,
        .wr.rdma = {.remote_addr = remote - rkey->base, .rkey = (uint32_t)rkey->key}};
    if (!writable(sgl, count))
        return -EINVAL;
    return post_list(pf_verbs_endpoint(base), sgl, count, &wr, op);
}

int pf_verbs_flush(struct pf_endpoint *base, struct pf_op *op)
{
    struct pf_verbs_endpoint *endpoint = pf_verbs_endpoint(base);
    if (endpoint->state != PF_VERBS_CONNECTED)
        return not_postable(endpoint);
    if (endpoint->sends >= endpoint->send_depth)
        return -EAGAIN;
    return pf_verbs_post_peek(endpoint, op);
}

int pf_verbs_recv(struct pf_endpoint *base, const struct pf_sge *sge, struct pf_op *op)
{
    struct pf_verbs_endpoint *endpoint = pf_verbs_endpoint(base);
    struct pf_verbs_lane *lane = pf_verbs_lane_of(endpoint);
    struct ibv_sge list;
    struct ibv_recv_wr wr = {.sg_list = &list, .num_sge = 1}, *bad;
    size_t total;
    if (!writable(sge, 1) || !pf_sgl_valid(&base->lane->device->caps, sge, 1, &total))
        return -EINVAL;
    if (endpoint->state > PF_VERBS_CONNECTED)
        return not_postable(endpoint);
    if (endpoint->recvs >= endpoint->recv_depth)
        return -EAGAIN;
    copy_list(sge, 1, &list);
    uint32_t slot = pf_verbs_slot_take(lane, op, total);
    lane->slot[slot].receive = true;
    wr.wr_id = pf_verbs_slot_id(lane, slot);
    int error = ibv_post_recv(endpoint->id->qp, &wr, &bad);
    if (error != 0)
        return post_failed(endpoint, slot, error);
    own(endpoint, op, slot);
    endpoint->recvs++;
    return 0;
}
