/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tcp back end: RDMA semantics over one TCP stream per endpoint. The baseline that RDMA is
 * measured against, and what works where there is nothing else.
 *
 * URIs: tcp://HOST:PORT, HOST a name or a numeric IPv4 or bracketed IPv6 address. Without a host:
 * listening on every address, connecting to this host. Without a port: listening on a free one,
 * connecting to PF_TCP_DEFAULT_PORT. Device opening resolves the name in its URI, which may block;
 * pf_connect() to that name or to a numeric address does not block, to any other name it may.
 *
 * Bounds, all of them reported by the lane's descriptor too:
 *   connecting, from pf_connect() to the peer's answer    5 s     -ETIMEDOUT
 *   a stranger's greeting to a listener                   5 s     dropped
 *   a message or immediate without a receive              1 s     -ENOBUFS at both sides
 *   a shutdown in which nothing moves any more            5 s     -ETIMEDOUT
 *   a peer whose host is silent, or that leaves a full    20 s    -ETIMEDOUT
 *   stream unread
 */
#ifndef PF_TRANSPORT_TCP_TCP_H
#define PF_TRANSPORT_TCP_TCP_H

#include "transport/transport.h"

enum { PF_TCP_DEFAULT_PORT = 7471 };

extern const struct pf_transport pf_tcp_transport;

#endif
