/* SPDX-License-Identifier: BSD-2-Clause */
/* Connecting: the addresses of a name tried in turn, until one answers. */
#ifndef PF_TRANSPORT_TCP_DIAL_H
#define PF_TRANSPORT_TCP_DIAL_H

#include "transport/tcp/endpoint.h"

int pf_tcp_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                   const void *data, size_t len, struct pf_endpoint **endpoint, struct pf_why *why);

/* The kernel has connected the endpoint's socket, or failed to. */
void pf_tcp_dial_done(struct pf_tcp_endpoint *ep);

#endif
