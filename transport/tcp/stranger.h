/* SPDX-License-Identifier: BSD-2-Clause */
/* Somebody who has connected and not yet greeted; and, when he has, his request. */
#ifndef PF_TRANSPORT_TCP_STRANGER_H
#define PF_TRANSPORT_TCP_STRANGER_H

#include "transport/tcp/listener.h"
#include "transport/tcp/wire.h"

struct pf_tcp_stranger {
    struct pf_list link;
    struct pf_tcp_listener *listener;
    struct pf_tcp_watch watch;
    struct pf_tcp_timer timer;
    struct pf_tcp_grave grave;
    unsigned have;
    uint8_t greeting[PF_TCP_HEADER_BYTES + PF_PRIVATE_DATA_MAX];
};

struct pf_tcp_request {
    struct pf_request base;
    int fd;
    unsigned peer_depth;
};

/* Takes the socket, also on failure (which only means that this one is turned away). */
void pf_tcp_stranger_new(struct pf_tcp_listener *listener, int fd);

/* Hang up on him. */
void pf_tcp_stranger_drop(struct pf_tcp_stranger *stranger);

/* Say no, with up to PF_PRIVATE_DATA_MAX bytes; the socket stays the caller's. */
void pf_tcp_send_reject(int fd, const void *data, size_t len);

#endif
