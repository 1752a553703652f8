/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"

#include <string.h>

/* What a post function gathers before it asks for a place in the queue. */
struct posting {
    enum message_kind kind;
    const struct pf_sge *sgl;
    unsigned count;
    uint64_t remote;
    const struct pf_rkey *rkey;
    uint32_t imm;
};

/* Each entry is registered with this endpoint's device, and writable if asked for. */
static bool registered(const struct inproc_endpoint *self, const struct pf_sge *sgl, unsigned count,
                       bool writable)
{
    for (unsigned i = 0; i < count; i++) {
        const struct pf_mr *mr = sgl[i].mr;
        if (!mr || mr->device != self->base.lane->device)
            return false;
        if (writable && !(mr->access & (PF_LOCAL_WRITE | PF_REMOTE_WRITE)))
            return false;
    }
    return true;
}

static bool acceptable(const struct inproc_endpoint *self, const struct posting *posting,
                       size_t *len)
{
    const struct pf_caps *caps = &self->base.lane->device->caps;
    *len = 0;
    if (posting->kind == MESSAGE_FLUSH)
        return true;
    if (!pf_sgl_valid(caps, posting->sgl, posting->count, len))
        return false;
    if (posting->kind == MESSAGE_SEND && *len <= caps->inline_size)
        return true;
    return registered(self, posting->sgl, posting->count, posting->kind == MESSAGE_READ);
}

static void copy_inline(struct message *message)
{
    uint8_t *at = message->inline_data;
    for (unsigned i = 0; i < message->count; i++) {
        memcpy(at, message->sgl[i].addr, message->sgl[i].len);
        at += message->sgl[i].len;
    }
    message->sgl[0] = (struct pf_sge){NULL, message->inline_data, message->len};
    message->count = 1;
}

static void fill(struct message *message, const struct posting *posting, size_t len,
                 struct pf_op *op)
{
    message->kind = posting->kind;
    message->op = op;
    message->len = len;
    message->count = posting->count;
    message->remote = posting->remote;
    message->key = posting->rkey ? posting->rkey->key : 0;
    message->imm = posting->imm;
    if (posting->count)
        memcpy(message->sgl, posting->sgl, posting->count * sizeof posting->sgl[0]);
    if (posting->kind == MESSAGE_SEND && len <= sizeof message->inline_data)
        copy_inline(message);
}

/* Put the message on the peer's inbox. -ENOTCONN: nothing was done. */
static int hand_over(struct inproc_endpoint *self, struct message *message)
{
    struct link *link = self->link;
    struct side *peer = &link->sides[!self->me];
    pthread_mutex_lock(&link->lock);
    bool up = link->state == LINK_UP;
    if (up) {
        pf_list_append(&peer->inbox, &message->node);
        if (peer->lane)
            pf_inproc_lane_wake(peer->lane);
    }
    pthread_mutex_unlock(&link->lock);
    return up ? 0 : -ENOTCONN;
}

static int post(struct pf_endpoint *endpoint, const struct posting *posting, struct pf_op *op)
{
    struct inproc_endpoint *self = pf_container_of(endpoint, struct inproc_endpoint, base);
    size_t len;
    if (!acceptable(self, posting, &len))
        return -EINVAL;
    if (!self->connected || self->hung_up)
        return -ENOTCONN;
    if (self->sends_left == 0)
        return -EAGAIN;
    /* Not empty: a message is free again before sends_left is counted up. */
    struct message *message =
        pf_container_of(pf_list_pop(&self->free_messages), struct message, node);
    fill(message, posting, len, op);
    op->endpoint = endpoint;
    op->scratch[ROOM_IS_RECEIVE] = false;
    int err = hand_over(self, message);
    if (err)
        pf_list_append(&self->free_messages, &message->node);
    else
        self->sends_left--;
    return err;
}

int pf_inproc_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   struct pf_op *op)
{
    struct posting posting = {.kind = MESSAGE_SEND, .sgl = sgl, .count = count};
    return post(endpoint, &posting, op);
}

int pf_inproc_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                    uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct posting posting = {MESSAGE_WRITE, sgl, count, remote, rkey, 0};
    return post(endpoint, &posting, op);
}

int pf_inproc_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                        uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op)
{
    struct posting posting = {MESSAGE_WRITE_IMM, sgl, count, remote, rkey, imm};
    return post(endpoint, &posting, op);
}

int pf_inproc_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    struct posting posting = {MESSAGE_READ, sgl, count, remote, rkey, 0};
    return post(endpoint, &posting, op);
}

int pf_inproc_flush(struct pf_endpoint *endpoint, struct pf_op *op)
{
    struct posting posting = {.kind = MESSAGE_FLUSH};
    return post(endpoint, &posting, op);
}

int pf_inproc_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op)
{
    struct inproc_endpoint *self = pf_container_of(endpoint, struct inproc_endpoint, base);
    size_t len;
    if (!pf_sgl_valid(&endpoint->lane->device->caps, sge, 1, &len) ||
        !registered(self, sge, 1, true))
        return -EINVAL;
    if (self->ended || self->hung_up)
        return -ENOTCONN;
    if (self->receives_left == 0)
        return -EAGAIN;
    op->has_imm = false;
    op->imm = 0;
    op->endpoint = endpoint;
    op->scratch[ROOM_IS_RECEIVE] = true;
    memcpy(&op->scratch[ROOM_ADDR], &sge->addr, sizeof sge->addr);
    op->scratch[ROOM_LEN] = sge->len;
    pf_list_append(&self->receives, &op->link);
    self->receives_left--;
    return 0;
}
