/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An endpoint: one stream and its life.
 *
 *   DIALING -> GREETING -> OPEN -> CLOSING -> DEAD      the connecting side, hung up in order
 *              ACCEPTED -> OPEN -> REFUSING -> DEAD     the accepting side, ended for a reason
 *
 * Any state can go to DEAD. There the owner gets his operations back, then closed(). The socket
 * may outlive that, and even the owner's handle, for up to a second: closing a socket that has
 * unread input resets the stream, and a reset can overtake the reason that was sent before.
 */
#ifndef PF_TRANSPORT_TCP_ENDPOINT_H
#define PF_TRANSPORT_TCP_ENDPOINT_H

#include "transport/tcp/address.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/lane.h"
#include "transport/tcp/receive.h"

enum pf_tcp_state {
    PF_TCP_DIALING,  /* the kernel connects */
    PF_TCP_GREETING, /* HELLO is on its way, the peer's answer awaited */
    PF_TCP_ACCEPTED, /* the owner accepted; connected() is due */
    PF_TCP_OPEN,
    PF_TCP_CLOSING,  /* draining, then BYE, then the peer's */
    PF_TCP_REFUSING, /* the rest of a frame, then why the stream ends */
    PF_TCP_DEAD,
    PF_TCP_GONE, /* about to be freed */
};

/* The send side (transmit.c). Frames leave in the order of the queue. */
struct pf_tcp_tx {
    struct pf_list queue;
    struct pf_list awaiting; /* READ and FLUSH that left, in the order of their answers */
    struct pf_list dropped;  /* not to be sent any more */
    struct pf_tcp_pool own, answers;
    struct pf_tcp_frame control; /* HELLO, ACCEPT, then BYE or NAK */
    struct iovec control_iov;
    bool control_used;
    bool blocked; /* the socket's buffer is full */
    int error;    /* the socket's, a positive errno: nothing more can leave */
};

struct pf_tcp_endpoint {
    struct pf_endpoint base;
    struct pf_list on_lane, busy;
    struct pf_tcp_watch watch;
    struct pf_tcp_timer timer; /* what for depends on the state */
    struct pf_tcp_grave grave;

    enum pf_tcp_state state;
    int status;    /* in REFUSING and DEAD: for closed() */
    bool announce; /* closed() is due */
    bool lingers;  /* DEAD, its socket kept until the peer has read the reason */
    bool orphan;   /* its owner has closed it */
    bool bye_sent, bye_received;
    uint64_t moved, moved_before; /* bytes, both directions; to tell a slow shutdown from a stuck */

    struct pf_tcp_addresses peer; /* to dial, the next at peer_at */
    unsigned peer_at;

    struct pf_tcp_tx tx;
    struct pf_tcp_rx rx;
    struct pf_list receives; /* posted; {address, length} in scratch[0], [1] */
    unsigned receives_posted, recv_depth, send_depth;

    unsigned private_len; /* ours until it is sent, then the peer's */
    uint8_t private_data[PF_PRIVATE_DATA_MAX];
};

static inline struct pf_tcp_endpoint *pf_tcp_endpoint(struct pf_endpoint *endpoint)
{
    return (struct pf_tcp_endpoint *)endpoint;
}

static inline struct pf_tcp_lane *pf_tcp_lane_of(const struct pf_tcp_endpoint *ep)
{
    return (struct pf_tcp_lane *)ep->base.lane;
}

/* True while frames of the peer are taken and own ones sent. */
static inline bool pf_tcp_is_live(const struct pf_tcp_endpoint *ep)
{
    return ep->state == PF_TCP_GREETING || ep->state == PF_TCP_OPEN || ep->state == PF_TCP_CLOSING;
}

static inline bool pf_tcp_is_dead(const struct pf_tcp_endpoint *ep)
{
    return ep->state >= PF_TCP_DEAD;
}

void pf_tcp_shutdown(struct pf_endpoint *endpoint);
void pf_tcp_endpoint_close(struct pf_endpoint *endpoint);

/* For pf_connect() and pf_accept(): an endpoint without a socket, not on its lane yet. */
int pf_tcp_endpoint_new(struct pf_tcp_lane *lane, const struct pf_endpoint_attr *attr,
                        struct pf_tcp_endpoint **endpoint, struct pf_why *why);

/* For pf_accept(): an endpoint in ACCEPTED on a socket, which is taken only on success. */
int pf_tcp_endpoint_adopt(struct pf_tcp_lane *lane, const struct pf_endpoint_attr *attr, int fd,
                          unsigned peer_depth, const void *data, size_t len,
                          struct pf_tcp_endpoint **endpoint, struct pf_why *why);

/* For the lane. */
void pf_tcp_endpoint_visit(struct pf_tcp_endpoint *ep);
void pf_tcp_endpoint_interest(struct pf_tcp_endpoint *ep);
void pf_tcp_endpoint_destroy(struct pf_tcp_endpoint *ep);

/* For the receive side. The peer accepted: the answers it may ask for are bounded by its depth. */
int pf_tcp_endpoint_opened(struct pf_tcp_endpoint *ep, unsigned peer_depth);

/* It ends here and now, with this status for closed(). */
void pf_tcp_endpoint_end(struct pf_tcp_endpoint *ep, int status);

/* It ends, and the peer is told why: by NAK, or by BYE for status 0. */
void pf_tcp_endpoint_refuse(struct pf_tcp_endpoint *ep, int status);

#endif
