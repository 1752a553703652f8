/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/fault/internal.h"

#include <stdlib.h>
#include <string.h>

/* Posted in the place of the caller's operation, which it hands the outcome. */
struct twisted {
    struct pf_op op;
    struct pf_op *callers;
    struct pf_mr *copy_mr; /* the inner registration of copy */
    struct pf_sge sgl[FAULT_MAX_GATHER];
    unsigned count;
    uint8_t copy[]; /* what is sent or written instead of the caller's data */
};

static const uint8_t wrong_bit = 0x10;

static void free_twisted(struct twisted *self)
{
    if (self->copy_mr)
        pf_mr_dereg(self->copy_mr);
    free(self);
}

/* The byte at an offset into what a scatter list names. */
static void flip(const struct twisted *self, size_t offset)
{
    for (unsigned i = 0; i < self->count; i++) {
        if (offset < self->sgl[i].len) {
            ((uint8_t *)self->sgl[i].addr)[offset] ^= wrong_bit;
            return;
        }
        offset -= self->sgl[i].len;
    }
}

static void done_outgoing(struct pf_op *op, int status, size_t bytes)
{
    struct twisted *self = pf_container_of(op, struct twisted, op);
    struct pf_op *callers = self->callers;
    free_twisted(self);
    callers->done(callers, status, bytes);
}

static void done_incoming(struct pf_op *op, int status, size_t bytes)
{
    struct twisted *self = pf_container_of(op, struct twisted, op);
    struct pf_op *callers = self->callers;
    if (status == 0 && !op->has_imm && bytes > 0)
        flip(self, bytes / 2);
    callers->has_imm = op->has_imm;
    callers->imm = op->imm;
    free_twisted(self);
    callers->done(callers, status, bytes);
}

/* Receives and reads: the data is twisted when it has come. */
static int post_incoming(struct fault_endpoint *endpoint, const struct fault_post *post,
                         struct pf_op *op)
{
    struct twisted *self = calloc(1, sizeof *self);
    if (!self)
        return -ENOMEM;
    self->op.done = done_incoming;
    self->callers = op;
    self->count = post->count;
    memcpy(self->sgl, post->sgl, post->count * sizeof post->sgl[0]);
    int err = pf_fault_forward(endpoint, post, &self->op);
    if (err)
        free_twisted(self);
    return err;
}

static void gather(const struct fault_post *post, uint8_t *to)
{
    for (unsigned i = 0; i < post->count; i++) {
        memcpy(to, post->sgl[i].addr, post->sgl[i].len);
        to += post->sgl[i].len;
    }
}

/* Sends and writes: a twisted copy goes out, the caller's memory is only read. */
static int post_outgoing(struct fault_endpoint *endpoint, const struct fault_post *post, size_t len,
                         struct pf_op *op)
{
    struct fault_device *device =
        pf_container_of(endpoint->base.lane->device, struct fault_device, base);
    struct twisted *self = calloc(1, sizeof *self + len);
    if (!self)
        return -ENOMEM;
    self->op.done = done_outgoing;
    self->callers = op;
    gather(post, self->copy);
    self->copy[len / 2] ^= wrong_bit;
    int err = pf_mr_reg(device->inner, self->copy, len, PF_LOCAL_READ, &self->copy_mr, NULL);
    struct pf_sge sge = {self->copy_mr, self->copy, len};
    if (err == 0)
        err = pf_fault_forward_inner(endpoint, post, &sge, 1, &self->op);
    if (err)
        free_twisted(self);
    return err;
}

int pf_fault_corrupt(struct fault_endpoint *endpoint, const struct fault_post *post,
                     struct pf_op *op)
{
    size_t len;
    if (!pf_fault_valid(endpoint, post, &len))
        return -EINVAL;
    if (post->kind == FAULT_FLUSH)
        return pf_fault_forward(endpoint, post, op);
    if (post->kind == FAULT_RECV || post->kind == FAULT_READ)
        return post_incoming(endpoint, post, op);
    return post_outgoing(endpoint, post, len, op);
}
