/* SPDX-License-Identifier: BSD-2-Clause */
/* From URIs to socket addresses and back. */
#ifndef PF_TRANSPORT_TCP_ADDRESS_H
#define PF_TRANSPORT_TCP_ADDRESS_H

#include "transport/transport.h"
#include "transport/uri.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { PF_TCP_ADDRESSES = 4 }; /* of one name, that a connect tries in turn */

struct pf_tcp_address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* What a host name stands for; the ports are left 0. */
struct pf_tcp_addresses {
    unsigned count;
    struct pf_tcp_address at[PF_TCP_ADDRESSES];
};

/*
 * Look up a host; empty: every address of this host to listen on, or its loopback to connect to.
 * Blocks unless the host is numeric or empty. -EINVAL, -ENODEV (no such host), with a sentence.
 */
int pf_tcp_resolve(const char *host, bool for_listen, struct pf_tcp_addresses *out,
                   struct pf_why *why);

void pf_tcp_set_port(struct pf_tcp_address *address, unsigned port);
bool pf_tcp_address_equal(const struct pf_tcp_address *a, const struct pf_tcp_address *b);

/* Both ends of a stream, whatever their ports: does it stay on this host? */
bool pf_tcp_address_same_host(const struct pf_tcp_address *own, const struct pf_tcp_address *peer);

/*
 * Write the URI of a bound address. For a wildcard address the host is the first other than
 * loopback that an interface of this machine has, else the loopback.
 */
int pf_tcp_address_uri(const struct pf_tcp_address *bound, char *out, size_t size);

#endif
