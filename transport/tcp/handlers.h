/* SPDX-License-Identifier: BSD-2-Clause */
/* What each type of frame means to the endpoint that receives it. */
#ifndef PF_TRANSPORT_TCP_HANDLERS_H
#define PF_TRANSPORT_TCP_HANDLERS_H

#include "transport/tcp/endpoint.h"

struct pf_tcp_handler {
    unsigned states;     /* 1 << enum pf_tcp_state: where the frame is allowed */
    uint32_t min_length; /* of the header's length */
    uint32_t max_length;
    bool payload;    /* length bytes follow; else length is only a number */
    bool needs_call; /* end() may call the owner back: not without budget */

    /*
     * begin() says where the payload goes (in rx.iov), end() acts when it is there. 0; -EAGAIN:
     * again when the owner has posted a receive; any other -errno: the stream ends and the peer is
     * told.
     */
    int (*begin)(struct pf_tcp_endpoint *ep);
    int (*end)(struct pf_tcp_endpoint *ep);
};

/* NULL: there is no such type. */
const struct pf_tcp_handler *pf_tcp_handler(uint8_t type);

#endif
