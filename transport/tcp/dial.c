/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/dial.h"

#include "transport/tcp/device.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/tcp.h"
#include "transport/tcp/transmit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONNECT_NS (5 * PF_TCP_SECOND_NS)

/* 0: under way, epoll will tell. */
static int dial_one(struct pf_tcp_endpoint *ep, const struct pf_tcp_address *address)
{
    int fd = pf_tcp_socket(address->any.sa_family);
    if (fd < 0)
        return fd;
    int status = 0;
    pf_tcp_socket_tune(fd);
    if (connect(fd, &address->any, address->len) && errno != EINPROGRESS) {
        status = -errno;
        goto close_socket;
    }
    ep->watch.fd = fd;
    status = pf_tcp_watch_start(pf_tcp_lane_of(ep), &ep->watch, EPOLLOUT);
    if (status)
        goto forget_socket;
    return 0;

forget_socket:
    ep->watch.fd = -1;
close_socket:
    close(fd);
    return status;
}

/* Ends the endpoint with the last address's error (or the one given) if none is left to try. */
static void dial_next(struct pf_tcp_endpoint *ep, int status)
{
    while (ep->peer_at < ep->peer.count) {
        status = dial_one(ep, &ep->peer.at[ep->peer_at++]);
        if (status == 0)
            return;
    }
    ep->private_len = 0;
    pf_tcp_endpoint_end(ep, status);
}

/* Dialing a free port of this host can, by chance, connect a socket to itself. */
static bool met_itself(int fd)
{
    struct pf_tcp_address own = {.len = sizeof own.v6}, peer = {.len = sizeof peer.v6};
    return getsockname(fd, &own.any, &own.len) == 0 && getpeername(fd, &peer.any, &peer.len) == 0 &&
           pf_tcp_address_equal(&own, &peer);
}

void pf_tcp_dial_done(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_lane *lane = pf_tcp_lane_of(ep);
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(ep->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len))
        error = errno;
    if (!error && met_itself(ep->watch.fd))
        error = ECONNREFUSED;
    if (error) {
        pf_tcp_watch_stop(lane, &ep->watch);
        close(ep->watch.fd);
        ep->watch.fd = -1;
        dial_next(ep, -error);
        return;
    }
    pf_tcp_socket_tune_path(ep->watch.fd);
    struct pf_tcp_header hello = {.version = PF_TCP_VERSION,
                                  .type = PF_TCP_HELLO,
                                  .length = ep->private_len,
                                  .imm = ep->send_depth};
    (void)pf_tcp_tx_control(&ep->tx, &hello, ep->private_data); /* the first: it can't be busy */
    ep->private_len = 0;
    ep->state = PF_TCP_GREETING;
    pf_tcp_watch_change(lane, &ep->watch, EPOLLIN);
    pf_tcp_endpoint_visit(ep);
}

static int peer_addresses(struct pf_lane *lane, const char *text, struct pf_tcp_addresses *out,
                          struct pf_why *why)
{
    struct pf_uri uri;
    int status = pf_uri_parse(text, &uri, why);
    if (status == 0)
        status = pf_tcp_device_resolve((struct pf_tcp_device *)lane->device, uri.host, out, why);
    if (status)
        return status;
    unsigned port = uri.port[0] ? (unsigned)strtoul(uri.port, NULL, 10) : PF_TCP_DEFAULT_PORT;
    if (port == 0)
        return pf_why(why, -EINVAL,
                      "connecting to \"%.100s\": port 0 is no place; give the port "
                      "that the other side listens on",
                      text);
    for (unsigned i = 0; i < out->count; i++)
        pf_tcp_set_port(&out->at[i], port);
    return 0;
}

int pf_tcp_connect(struct pf_lane *base, const char *uri, const struct pf_endpoint_attr *attr,
                   const void *data, size_t len, struct pf_endpoint **out, struct pf_why *why)
{
    struct pf_tcp_lane *lane = (struct pf_tcp_lane *)base;
    struct pf_tcp_addresses peer;
    struct pf_tcp_endpoint *ep;
    if (len > PF_PRIVATE_DATA_MAX)
        return pf_why(why, -EINVAL,
                      "connecting to \"%.100s\" with %zu bytes of private data: at "
                      "most %d can travel along",
                      uri, len, PF_PRIVATE_DATA_MAX);
    int status = peer_addresses(base, uri, &peer, why);
    if (status)
        return status;
    status = pf_tcp_endpoint_new(lane, attr, &ep, why);
    if (status)
        return status;
    ep->peer = peer;
    ep->private_len = (unsigned)len;
    if (len > 0)
        memcpy(ep->private_data, data, len);
    ep->state = PF_TCP_DIALING;
    pf_tcp_lane_add(lane, ep);
    pf_tcp_timer_start(lane, &ep->timer, CONNECT_NS);
    dial_next(ep, -EHOSTUNREACH);
    *out = &ep->base;
    return 0;
}
