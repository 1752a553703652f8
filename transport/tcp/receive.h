/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receive side of an endpoint. A header is read together with a little of what follows it, so
 * that a small message costs one system call; the rest of a payload is read to where it belongs,
 * together with the header of the next frame if that is there already.
 */
#ifndef PF_TRANSPORT_TCP_RECEIVE_H
#define PF_TRANSPORT_TCP_RECEIVE_H

#include "transport/tcp/wire.h"

#include <sys/uio.h>

enum { PF_TCP_AHEAD = PF_TCP_HEADER_BYTES + 128 };

struct pf_tcp_endpoint;

enum pf_tcp_phase { PF_TCP_AT_HEADER, PF_TCP_AT_BEGIN, PF_TCP_AT_PAYLOAD, PF_TCP_AT_END };

struct pf_tcp_rx {
    enum pf_tcp_phase phase;
    struct pf_tcp_header header;

    struct iovec *iov;  /* where the payload's rest goes */
    unsigned iov_count; /* 0: it is thrown away */
    struct iovec one;   /* what iov is if one entry is enough */
    size_t left;        /* of the payload */
    bool landing;       /* it goes into the registration under header.key */

    bool stalled; /* stopped until the owner posts a receive */
    bool waiting; /* nothing to do before the socket, or the owner, brings more */

    unsigned start, end; /* bytes read ahead */
    uint8_t ahead[PF_TCP_AHEAD];
};

/*
 * Read what the socket has and carry it out, within the lane's budget and a bound of its own.
 * Callbacks may have changed the endpoint's state on return.
 */
void pf_tcp_rx_run(struct pf_tcp_endpoint *ep);

/* Throw away what the socket has; true when the peer has closed its side. */
bool pf_tcp_rx_discard(struct pf_tcp_endpoint *ep);

#endif
