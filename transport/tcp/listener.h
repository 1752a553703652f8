/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listening. Who connects is a stranger until his greeting is complete, then a request that waits
 * for the owner's answer. Strangers are bounded in number and time, and nothing waits for them.
 */
#ifndef PF_TRANSPORT_TCP_LISTENER_H
#define PF_TRANSPORT_TCP_LISTENER_H

#include "transport/tcp/lane.h"

struct pf_tcp_listener {
    struct pf_listener base;
    struct pf_list on_lane;
    struct pf_tcp_watch watch;
    struct pf_tcp_timer pause; /* runs while accepting is stopped for want of descriptors */
    struct pf_tcp_grave grave;
    struct pf_list strangers; /* the oldest first */
    unsigned stranger_count;
};

int pf_tcp_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                  void *ctx, struct pf_listener **listener, struct pf_why *why);
int pf_tcp_listener_uri(struct pf_listener *listener, char *out, size_t size);
void pf_tcp_listener_close(struct pf_listener *listener);
int pf_tcp_accept(struct pf_request *request, struct pf_lane *lane,
                  const struct pf_endpoint_attr *attr, const void *data, size_t len,
                  struct pf_endpoint **endpoint, struct pf_why *why);
void pf_tcp_reject(struct pf_request *request, const void *data, size_t len);

#endif
