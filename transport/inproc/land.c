/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"

#include <string.h>

bool pf_inproc_must_wait(const struct inproc_endpoint *endpoint, const struct message *message)
{
    bool uses_receive = message->kind == MESSAGE_SEND || message->kind == MESSAGE_WRITE_IMM;
    return uses_receive && pf_list_empty(&endpoint->receives);
}

static void gather(const struct message *message, char *to)
{
    for (unsigned i = 0; i < message->count; i++) {
        memcpy(to, message->sgl[i].addr, message->sgl[i].len);
        to += message->sgl[i].len;
    }
}

static void scatter(const struct message *message, const char *from)
{
    for (unsigned i = 0; i < message->count; i++) {
        memcpy(message->sgl[i].addr, from, message->sgl[i].len);
        from += message->sgl[i].len;
    }
}

static void complete_receive(struct inproc_endpoint *endpoint, struct pf_op *op, int status,
                             size_t bytes)
{
    pf_list_remove(&op->link);
    pf_inproc_lane_event(pf_container_of(endpoint->base.lane, struct inproc_lane, base), op, status,
                         bytes);
}

static struct pf_op *oldest_receive(struct inproc_endpoint *endpoint)
{
    return pf_container_of(endpoint->receives.next, struct pf_op, link);
}

static int land_send(struct inproc_endpoint *endpoint, struct message *message)
{
    struct pf_op *op = oldest_receive(endpoint);
    int status = message->len <= op->scratch[ROOM_LEN] ? 0 : -EMSGSIZE;
    char *to;
    memcpy(&to, &op->scratch[ROOM_ADDR], sizeof to);
    if (status == 0)
        gather(message, to);
    complete_receive(endpoint, op, status, message->len);
    return status;
}

static char *target(struct inproc_endpoint *endpoint, const struct message *message, unsigned right)
{
    struct inproc_device *device =
        pf_container_of(endpoint->base.lane->device, struct inproc_device, base);
    return pf_inproc_mr_resolve(device, message->key, message->remote, message->len, right);
}

static int land_write(struct inproc_endpoint *endpoint, struct message *message)
{
    char *to = target(endpoint, message, PF_REMOTE_WRITE);
    if (!to)
        return -EACCES;
    gather(message, to);
    return 0;
}

static int land_write_imm(struct inproc_endpoint *endpoint, struct message *message)
{
    int status = land_write(endpoint, message);
    if (status)
        return status;
    struct pf_op *op = oldest_receive(endpoint);
    op->has_imm = true;
    op->imm = message->imm;
    complete_receive(endpoint, op, 0, 0);
    return 0;
}

static int land_read(struct inproc_endpoint *endpoint, struct message *message)
{
    const char *from = target(endpoint, message, PF_REMOTE_READ);
    if (!from)
        return -EACCES;
    scatter(message, from);
    return 0;
}

/* Messages are carried out in order, and at once: reaching one is all that flush and bye need. */
static int land_nothing(struct inproc_endpoint *endpoint, struct message *message)
{
    (void)endpoint;
    (void)message;
    return 0;
}

int pf_inproc_land(struct inproc_endpoint *endpoint, struct message *message)
{
    static int (*const land[])(struct inproc_endpoint *, struct message *) = {
        [MESSAGE_SEND] = land_send,           [MESSAGE_WRITE] = land_write,
        [MESSAGE_WRITE_IMM] = land_write_imm, [MESSAGE_READ] = land_read,
        [MESSAGE_FLUSH] = land_nothing,       [MESSAGE_BYE] = land_nothing,
    };
    return land[message->kind](endpoint, message);
}
