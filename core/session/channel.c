/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/channel.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BUFFERS = PF_CHANNEL_RECEIVES + PF_CHANNEL_SENDS,
    MEMORY = BUFFERS * PF_CHANNEL_MESSAGE,
};

/* Cancelled: the connection has ended, and its closed() says why. */
static void note_failure(struct pf_channel *channel, int status)
{
    if (!channel->status && status != -ECANCELED)
        channel->status = status;
}

static void receive_done(struct pf_op *op, int status, size_t bytes)
{
    struct pf_channel_buffer *buffer = pf_container_of(op, struct pf_channel_buffer, op);
    struct pf_channel *channel = buffer->channel;
    buffer->posted = false;
    if (status == 0 && op->has_imm)
        status = -EPROTO;
    if (status) {
        note_failure(channel, status);
        return;
    }
    buffer->length = bytes;
    channel->heard_ns = pf_now_ns();
    pf_list_append(&channel->arrived, &buffer->link);
}

static void send_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_channel_buffer *buffer = pf_container_of(op, struct pf_channel_buffer, op);
    buffer->posted = false;
    note_failure(buffer->channel, status);
}

static void init_buffer(struct pf_channel *channel, struct pf_channel_buffer *buffer,
                        unsigned index, void (*done)(struct pf_op *, int, size_t))
{
    buffer->channel = channel;
    buffer->bytes = channel->memory + (size_t)index * PF_CHANNEL_MESSAGE;
    buffer->op.done = done;
    pf_list_init(&buffer->link);
}

int pf_channel_init(struct pf_channel *channel, struct pf_device *device, struct pf_why *why)
{
    *channel = (struct pf_channel){.endpoint = NULL};
    pf_list_init(&channel->arrived);
    void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return pf_why(why, -ENOMEM, "cannot map %d bytes for control messages", MEMORY);
    channel->memory = memory;
    int error = pf_mr_reg(device, memory, MEMORY, PF_LOCAL_WRITE, &channel->mr, why);
    if (error) {
        pf_channel_free(channel);
        return error;
    }
    for (unsigned i = 0; i < PF_CHANNEL_RECEIVES; i++)
        init_buffer(channel, &channel->receives[i], i, receive_done);
    for (unsigned i = 0; i < PF_CHANNEL_SENDS; i++)
        init_buffer(channel, &channel->sends[i], PF_CHANNEL_RECEIVES + i, send_done);
    return 0;
}

bool pf_channel_busy(const struct pf_channel *channel)
{
    for (unsigned i = 0; i < PF_CHANNEL_RECEIVES; i++)
        if (channel->receives[i].posted)
            return true;
    for (unsigned i = 0; i < PF_CHANNEL_SENDS; i++)
        if (channel->sends[i].posted)
            return true;
    return false;
}

void pf_channel_free(struct pf_channel *channel)
{
    if (channel->mr)
        pf_mr_dereg(channel->mr);
    if (channel->memory)
        munmap(channel->memory, MEMORY);
    channel->mr = NULL;
    channel->memory = NULL;
}

static int post_receive(struct pf_channel *channel, struct pf_channel_buffer *buffer)
{
    struct pf_sge sge = {channel->mr, buffer->bytes, PF_CHANNEL_MESSAGE};
    int error = pf_recv(channel->endpoint, &sge, &buffer->op);
    buffer->posted = error == 0;
    return error;
}

int pf_channel_attach(struct pf_channel *channel, struct pf_endpoint *endpoint)
{
    channel->endpoint = endpoint;
    channel->heard_ns = channel->spoke_ns = pf_now_ns();
    for (unsigned i = 0; i < PF_CHANNEL_RECEIVES; i++) {
        int error = post_receive(channel, &channel->receives[i]);
        if (error)
            return error;
    }
    return 0;
}

static struct pf_channel_buffer *free_send(struct pf_channel *channel)
{
    for (unsigned i = 0; i < PF_CHANNEL_SENDS; i++)
        if (!channel->sends[i].posted && &channel->sends[i] != channel->building)
            return &channel->sends[i];
    return NULL;
}

static int post(struct pf_channel *channel, struct pf_channel_buffer *buffer, unsigned type,
                size_t payload)
{
    struct pf_header header = {
        .type = (uint16_t)type,
        .length = (uint32_t)payload,
        .handled = channel->handled,
    };
    pf_header_pack(&header, buffer->bytes);
    struct pf_sge sge = {channel->mr, buffer->bytes, PF_HEADER_BYTES + payload};
    int error = pf_send(channel->endpoint, &sge, 1, &buffer->op);
    if (error)
        return error;
    buffer->posted = true;
    channel->handled_told = channel->handled;
    channel->spoke_ns = pf_now_ns();
    return 0;
}

bool pf_channel_room(const struct pf_channel *channel)
{
    return channel->sent - channel->sent_handled < PF_CHANNEL_WINDOW;
}

int pf_channel_begin(struct pf_channel *channel, struct pf_wire *payload)
{
    if (channel->status)
        return channel->status;
    /* One that was begun and given up is begun anew. */
    struct pf_channel_buffer *buffer = channel->building ? channel->building : free_send(channel);
    if (!buffer || !pf_channel_room(channel))
        return -EAGAIN;
    channel->building = buffer;
    *payload = pf_wire_over(buffer->bytes + PF_HEADER_BYTES, PF_CHANNEL_MESSAGE - PF_HEADER_BYTES);
    return 0;
}

int pf_channel_commit(struct pf_channel *channel, unsigned type, const struct pf_wire *payload)
{
    struct pf_channel_buffer *buffer = channel->building;
    if (!buffer)
        return -EINVAL;
    if (payload->bad)
        return -EMSGSIZE;
    int error =
        post(channel, buffer, type, (size_t)(payload->at - buffer->bytes) - PF_HEADER_BYTES);
    if (error)
        return error;
    channel->building = NULL;
    channel->sent++;
    return 0;
}

/* Give the buffer of the message just handled back, and tell the peer when it is time to. */
static int release_current(struct pf_channel *channel)
{
    if (!channel->current)
        return 0;
    int error = post_receive(channel, channel->current);
    channel->current = NULL;
    if (error)
        return error;
    if (channel->handled - channel->handled_told < PF_CHANNEL_WINDOW / 2)
        return 0;
    struct pf_channel_buffer *buffer = free_send(channel);
    error = buffer ? post(channel, buffer, PF_MSG_ACK, 0) : 0;
    return error == -EAGAIN ? 0 : error;
}

/* Check a message that arrived and take the acknowledgement out of its header. */
static int judge(struct pf_channel *channel, struct pf_channel_buffer *buffer,
                 struct pf_message *message)
{
    struct pf_header header;
    int error = pf_header_unpack(buffer->bytes, buffer->length, &header);
    if (error)
        return error;
    if (channel->sent - header.handled > channel->sent - channel->sent_handled)
        return -EPROTO;
    channel->sent_handled = header.handled;
    *message = (struct pf_message){
        .type = header.type,
        .payload = pf_wire_over(buffer->bytes + PF_HEADER_BYTES, header.length),
    };
    return 0;
}

int pf_channel_next(struct pf_channel *channel, struct pf_message *message)
{
    for (;;) {
        int error = release_current(channel);
        struct pf_list *first = pf_list_pop(&channel->arrived);
        if (!first) {
            if (!channel->status)
                channel->status = error;
            return channel->status;
        }
        channel->current = pf_container_of(first, struct pf_channel_buffer, link);
        error = judge(channel, channel->current, message);
        if (error) {
            channel->status = error;
            return error;
        }
        if (message->type != PF_MSG_ACK) {
            channel->handled++;
            return 1;
        }
    }
}
