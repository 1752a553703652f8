/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control channel: whole messages in order over one endpoint, with flow control.
 *
 * Each side has posted PF_CHANNEL_RECEIVES receives; a sender keeps at most PF_CHANNEL_WINDOW
 * messages that the peer has not handled. The rest of the receives is for acknowledgements, which
 * are outside the window: one is sent each time half the window has been handled in silence.
 */
#ifndef PF_CORE_SESSION_CHANNEL_H
#define PF_CORE_SESSION_CHANNEL_H

#include "core/session/protocol.h"

enum {
    PF_CHANNEL_MESSAGE = 16384, /* bytes of the longest message, header included */
    PF_CHANNEL_RECEIVES = 16,
    PF_CHANNEL_WINDOW = 12,
    PF_CHANNEL_SENDS = 16,
};

struct pf_channel;

struct pf_channel_buffer {
    struct pf_op op;
    struct pf_channel *channel;
    uint8_t *bytes;
    size_t length;
    bool posted;
    struct pf_list link; /* on `arrived` */
};

struct pf_channel {
    struct pf_endpoint *endpoint;
    struct pf_mr *mr;
    uint8_t *memory;
    struct pf_channel_buffer receives[PF_CHANNEL_RECEIVES];
    struct pf_channel_buffer sends[PF_CHANNEL_SENDS];
    struct pf_channel_buffer *building; /* begun and not sent yet */
    struct pf_channel_buffer *current;  /* the message that the caller is reading */
    struct pf_list arrived;
    uint32_t sent;         /* messages, without acknowledgements */
    uint32_t sent_handled; /* of these, handled by the peer */
    uint32_t handled;      /* the peer's messages handled here */
    uint32_t handled_told; /* as last told to the peer */
    uint64_t heard_ns;     /* when the last message came */
    uint64_t spoke_ns;     /* when the last was sent */
    int status;            /* first failure, or 0 */
};

struct pf_message {
    unsigned type;
    struct pf_wire payload;
};

/* Buffers for one channel, registered on the device. -ENOMEM. */
int pf_channel_init(struct pf_channel *channel, struct pf_device *device, struct pf_why *why);

/* Post the receives of a new endpoint (before it is connected). */
int pf_channel_attach(struct pf_channel *channel, struct pf_endpoint *endpoint);

/* True while the lane still owes a done(): progress it before the buffers can go. */
bool pf_channel_busy(const struct pf_channel *channel);

/* After the endpoint is closed and its lane drained. */
void pf_channel_free(struct pf_channel *channel);

/* Room for a message? */
bool pf_channel_room(const struct pf_channel *channel);

/*
 * Begin a message: its payload is written to *payload, then pf_channel_commit() sends it. -EAGAIN
 * the window is full: progress and try again. -errno the channel is dead.
 */
int pf_channel_begin(struct pf_channel *channel, struct pf_wire *payload);
int pf_channel_commit(struct pf_channel *channel, unsigned type, const struct pf_wire *payload);

/*
 * Take the next message. 1 there is one (valid until the next call), 0 none yet, -errno dead,
 * -EPROTO the peer sent something that is no message.
 */
int pf_channel_next(struct pf_channel *channel, struct pf_message *message);

#endif
