/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/fault/internal.h"

int pf_fault_forward_inner(struct fault_endpoint *endpoint, const struct fault_post *post,
                           const struct pf_sge *sgl, unsigned count, struct pf_op *op)
{
    struct pf_endpoint *inner = endpoint->inner;
    switch (post->kind) {
    case FAULT_SEND:
        return pf_send(inner, sgl, count, op);
    case FAULT_RECV:
        return pf_recv(inner, sgl, op);
    case FAULT_WRITE:
        return pf_write(inner, sgl, count, post->remote, &post->rkey, op);
    case FAULT_WRITE_IMM:
        return pf_write_imm(inner, sgl, count, post->remote, &post->rkey, post->imm, op);
    case FAULT_READ:
        return pf_read(inner, sgl, count, post->remote, &post->rkey, op);
    case FAULT_FLUSH:
        return pf_flush(inner, op);
    }
    return -EINVAL;
}

int pf_fault_forward(struct fault_endpoint *endpoint, const struct fault_post *post,
                     struct pf_op *op)
{
    struct pf_sge inner[FAULT_MAX_GATHER];
    if (!endpoint->inner)
        return -ENOTCONN;
    if (post->count > FAULT_MAX_GATHER)
        return -EINVAL;
    for (unsigned i = 0; i < post->count; i++) {
        inner[i] = post->sgl[i];
        if (inner[i].mr)
            inner[i].mr = pf_container_of(inner[i].mr, struct fault_mr, base)->inner;
    }
    return pf_fault_forward_inner(endpoint, post, inner, post->count, op);
}

bool pf_fault_valid(const struct fault_endpoint *endpoint, const struct fault_post *post,
                    size_t *len)
{
    *len = 0;
    return post->kind == FAULT_FLUSH ||
           pf_sgl_valid(&endpoint->base.lane->device->caps, post->sgl, post->count, len);
}

/* Posted as far as the caller can tell, and that is all. */
static int drop(struct fault_endpoint *endpoint, const struct fault_post *post, struct pf_op *op)
{
    struct fault_lane *lane = pf_container_of(endpoint->base.lane, struct fault_lane, base);
    size_t len;
    if (!pf_fault_valid(endpoint, post, &len))
        return -EINVAL;
    if (post->kind == FAULT_RECV) {
        pf_list_append(&endpoint->lost, &op->link);
        return 0;
    }
    pf_fault_event(lane, op, 0, len);
    pf_fault_wake_at(lane, 1);
    return 0;
}

static int cut(struct fault_endpoint *endpoint, struct pf_op *op)
{
    struct fault_lane *lane = pf_container_of(endpoint->base.lane, struct fault_lane, base);
    pf_fault_event(lane, op, -ECANCELED, 0);
    pf_fault_sever(endpoint, -ECONNRESET);
    return 0;
}

static int interfere(struct fault_endpoint *endpoint, enum fault_kind kind,
                     const struct fault_post *post, struct pf_op *op)
{
    struct fault_device *device =
        pf_container_of(endpoint->base.lane->device, struct fault_device, base);
    switch (kind) {
    case FAULT_FAIL:
        pf_fault_sever(endpoint, -EIO);
        return -EIO;
    case FAULT_CUT:
        return cut(endpoint, op);
    case FAULT_DROP:
        return drop(endpoint, post, op);
    case FAULT_DELAY:
        return pf_fault_wait(endpoint, post, op, pf_now_ns() + device->plan.ms * 1000000ull);
    case FAULT_CORRUPT:
        return pf_fault_corrupt(endpoint, post, op);
    case FAULT_NONE:
        break;
    }
    if (!pf_list_empty(&endpoint->waiting))
        return pf_fault_wait(endpoint, post, op, 0);
    return pf_fault_forward(endpoint, post, op);
}

static int post_one(struct pf_endpoint *endpoint, const struct fault_post *post, struct pf_op *op)
{
    struct fault_endpoint *self = pf_container_of(endpoint, struct fault_endpoint, base);
    struct fault_device *device =
        pf_container_of(endpoint->lane->device, struct fault_device, base);
    if (!self->inner || self->hung_up || (!self->connected && post->kind != FAULT_RECV))
        return -ENOTCONN;
    op->has_imm = false;
    enum fault_kind kind = pf_fault_next(device);
    int err = interfere(self, kind, post, op);
    if (err == -EAGAIN)
        pf_fault_uncount(device, kind);
    return err;
}

int pf_fault_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  struct pf_op *op)
{
    struct fault_post post = {.kind = FAULT_SEND, .sgl = sgl, .count = count};
    return post_one(endpoint, &post, op);
}

int pf_fault_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op)
{
    struct fault_post post = {.kind = FAULT_RECV, .sgl = sge, .count = 1};
    return post_one(endpoint, &post, op);
}

int pf_fault_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct fault_post post = {FAULT_WRITE, sgl, count, remote, *rkey, 0};
    return post_one(endpoint, &post, op);
}

int pf_fault_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                       uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op)
{
    struct fault_post post = {FAULT_WRITE_IMM, sgl, count, remote, *rkey, imm};
    return post_one(endpoint, &post, op);
}

int pf_fault_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct fault_post post = {FAULT_READ, sgl, count, remote, *rkey, 0};
    return post_one(endpoint, &post, op);
}

int pf_fault_flush(struct pf_endpoint *endpoint, struct pf_op *op)
{
    struct fault_post post = {.kind = FAULT_FLUSH};
    return post_one(endpoint, &post, op);
}
