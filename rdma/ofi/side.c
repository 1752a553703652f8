/* SPDX-License-Identifier: BSD-2-Clause */
/* The side connection's stream, in frames: an eight-byte header, then the body. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAGIC 0x70666f73u

enum { VERSION = 1 };

struct header {
    uint32_t magic;
    uint8_t version;
    uint8_t kind; /* enum pf_ofi_frame_kind */
    uint16_t length;
};

/* Takes the descriptor. */
struct pf_ofi_side *pf_ofi_side_new(int fd)
{
    struct pf_ofi_side *side = calloc(1, sizeof *side);
    if (!side)
        return NULL;
    side->fd = fd;
    pf_list_init(&side->link);
    return side;
}

void pf_ofi_side_free(struct pf_ofi_side *side)
{
    pf_list_remove(&side->link);
    close(side->fd);
    free(side);
}

/*
 * 0, -EAGAIN (the peer has not read for long: nothing was sent), -ECONNRESET. A frame is far
 * smaller than any socket buffer, so one that goes out in part means a peer that is stuck.
 */
int pf_ofi_side_send(struct pf_ofi_side *side, enum pf_ofi_frame_kind kind, const void *body,
                     size_t length)
{
    char frame[sizeof(struct header) + sizeof(struct pf_ofi_card)];
    struct header header = {
        .magic = MAGIC,
        .version = VERSION,
        .kind = (uint8_t)kind,
        .length = (uint16_t)length,
    };
    memcpy(frame, &header, sizeof header);
    if (length)
        memcpy(frame + sizeof header, body, length);
    size_t size = sizeof header + length;
    ssize_t sent = send(side->fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)size)
        return 0;
    return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -EAGAIN : -ECONNRESET;
}

/* 1 a whole frame is at the front, 0 not yet, -EPROTO. */
static int front(struct pf_ofi_side *side, struct pf_ofi_frame *frame)
{
    struct header header;
    size_t have = side->used - side->taken;
    if (have < sizeof header)
        return 0;
    memcpy(&header, side->in + side->taken, sizeof header);
    if (header.magic != MAGIC || header.version != VERSION ||
        header.length > sizeof(struct pf_ofi_card))
        return -EPROTO;
    if (have < sizeof header + header.length)
        return 0;
    frame->kind = header.kind;
    frame->length = header.length;
    frame->body = side->in + side->taken + sizeof header;
    side->taken += sizeof header + header.length;
    return 1;
}

static ssize_t fill(struct pf_ofi_side *side)
{
    memmove(side->in, side->in + side->taken, side->used - side->taken);
    side->used -= side->taken;
    side->taken = 0;
    return recv(side->fd, side->in + side->used, sizeof side->in - side->used, MSG_DONTWAIT);
}

/*
 * 1 and the next frame, whose body stays until the next call; 0 none yet; -ECONNRESET the stream
 * has ended; -EPROTO the peer speaks something else.
 */
int pf_ofi_side_next(struct pf_ofi_side *side, struct pf_ofi_frame *frame)
{
    int found = front(side, frame);
    if (found)
        return found;
    ssize_t got = fill(side);
    if (got > 0) {
        side->used += (size_t)got;
        return front(side, frame);
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -ECONNRESET;
}

/* Say that we hang up, and how much the peer has to read from its queue before it does. */
void pf_ofi_side_bye(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_bye bye = {.status = endpoint->status, .spoken = endpoint->spoken};
    if (!endpoint->bye_said)
        pf_ofi_side_send(endpoint->side, PF_OFI_FRAME_BYE, &bye, sizeof bye);
    endpoint->bye_said = true;
}

void pf_ofi_side_drop(struct pf_ofi_endpoint *endpoint)
{
    pf_ofi_sleep_forget(pf_ofi_lane_of(endpoint->endpoint.lane), endpoint->side->fd);
    pf_ofi_side_free(endpoint->side);
    endpoint->side = NULL;
}
