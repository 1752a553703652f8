/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/listener.h"

#include "transport/tcp/device.h"
#include "transport/tcp/endpoint.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/stranger.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    BACKLOG = 128,
    STRANGERS = 64,      /* at once; one more drops the oldest */
    ACCEPTS_AT_ONCE = 16 /* so that a crowd at the door does not keep endpoints waiting */
};

#define PAUSE_NS (PF_TCP_SECOND_NS / 10)

static struct pf_tcp_listener *to_listener(struct pf_listener *listener)
{
    return (struct pf_tcp_listener *)listener;
}

static struct pf_tcp_lane *lane_of(const struct pf_tcp_listener *listener)
{
    return (struct pf_tcp_lane *)listener->base.lane;
}

static void bury(struct pf_tcp_grave *grave)
{
    free(pf_container_of(grave, struct pf_tcp_listener, grave));
}

static void pause_over(struct pf_tcp_timer *timer)
{
    struct pf_tcp_listener *listener = pf_container_of(timer, struct pf_tcp_listener, pause);
    pf_tcp_watch_change(lane_of(listener), &listener->watch, EPOLLIN);
}

static void drop_oldest(struct pf_tcp_listener *listener)
{
    pf_tcp_stranger_drop(pf_container_of(listener->strangers.next, struct pf_tcp_stranger, link));
}

static void socket_ready(struct pf_tcp_watch *watch, uint32_t events)
{
    (void)events;
    struct pf_tcp_listener *listener = pf_container_of(watch, struct pf_tcp_listener, watch);
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno != EAGAIN) {
            /* No descriptors or memory: the connection stays ready, and would wake us for ever. */
            pf_tcp_watch_change(lane_of(listener), watch, 0);
            pf_tcp_timer_start(lane_of(listener), &listener->pause, PAUSE_NS);
        }
        if (fd < 0)
            return;
        pf_tcp_socket_tune(fd);
        pf_tcp_socket_tune_path(fd);
        if (listener->stranger_count == STRANGERS)
            drop_oldest(listener);
        pf_tcp_stranger_new(listener, fd);
    }
}

static int bind_one(const struct pf_tcp_address *address, int *out)
{
    int fd = pf_tcp_socket(address->any.sa_family);
    if (fd < 0)
        return fd;
    int on = 1, off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, &address->any, address->len) || listen(fd, BACKLOG)) {
        int status = -errno;
        close(fd);
        return status;
    }
    *out = fd;
    return 0;
}

/* IPv6 first: a wildcard of it takes IPv4 too, the other way round one half would be missing. */
static int bind_any(struct pf_tcp_addresses *addresses, unsigned port, int *fd)
{
    int status = -EADDRNOTAVAIL;
    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < addresses->count; i++) {
            if ((addresses->at[i].any.sa_family == AF_INET6) != (pass == 0))
                continue;
            pf_tcp_set_port(&addresses->at[i], port);
            status = bind_one(&addresses->at[i], fd);
            if (status == 0)
                return 0;
        }
    return status;
}

static int open_socket(const char *text, int *fd, struct pf_why *why)
{
    struct pf_uri uri;
    struct pf_tcp_addresses addresses;
    int status = pf_uri_parse(text, &uri, why);
    if (status == 0)
        status = pf_tcp_resolve(uri.host, true, &addresses, why);
    if (status)
        return status;
    status = bind_any(&addresses, (unsigned)strtoul(uri.port, NULL, 10), fd);
    if (status)
        pf_why(why, status,
               "listening on \"%.100s\": %s; choose a free port (0: any) and an address of this "
               "host",
               text, strerrordesc_np(-status));
    return status;
}

int pf_tcp_listen(struct pf_lane *base, const char *uri, const struct pf_listener_events *events,
                  void *ctx, struct pf_listener **out, struct pf_why *why)
{
    struct pf_tcp_lane *lane = (struct pf_tcp_lane *)base;
    struct pf_tcp_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return pf_why(why, -ENOMEM, "listening on \"%.100s\": out of memory", uri);
    listener->base = (struct pf_listener){.lane = base, .events = events, .ctx = ctx};
    listener->watch.ready = socket_ready;
    listener->pause.expired = pause_over;
    listener->grave.bury = bury;
    pf_list_init(&listener->pause.link);
    pf_list_init(&listener->strangers);
    int status = open_socket(uri, &listener->watch.fd, why);
    if (status)
        goto free_listener;
    status = pf_tcp_watch_start(lane, &listener->watch, EPOLLIN);
    if (status) {
        pf_why(why, status, "listening on \"%.100s\": watching the socket: %s", uri,
               strerrordesc_np(-status));
        goto close_socket;
    }
    pf_list_append(&lane->listeners, &listener->on_lane);
    *out = &listener->base;
    return 0;

close_socket:
    close(listener->watch.fd);
free_listener:
    free(listener);
    return status;
}

int pf_tcp_listener_uri(struct pf_listener *base, char *out, size_t size)
{
    struct pf_tcp_address bound = {.len = sizeof bound.v6};
    if (getsockname(to_listener(base)->watch.fd, &bound.any, &bound.len))
        return -errno;
    return pf_tcp_address_uri(&bound, out, size);
}

void pf_tcp_listener_close(struct pf_listener *base)
{
    struct pf_tcp_listener *listener = to_listener(base);
    struct pf_tcp_lane *lane = lane_of(listener);
    while (!pf_list_empty(&listener->strangers))
        drop_oldest(listener);
    pf_tcp_timer_stop(&listener->pause);
    pf_tcp_watch_stop(lane, &listener->watch);
    close(listener->watch.fd);
    listener->watch.fd = -1;
    pf_list_remove(&listener->on_lane);
    pf_tcp_lane_bury(lane, &listener->grave);
}

int pf_tcp_accept(struct pf_request *base, struct pf_lane *lane,
                  const struct pf_endpoint_attr *attr, const void *data, size_t len,
                  struct pf_endpoint **out, struct pf_why *why)
{
    struct pf_tcp_request *request = (struct pf_tcp_request *)base;
    struct pf_tcp_endpoint *ep = NULL;
    int status;
    if (len > PF_PRIVATE_DATA_MAX)
        status = pf_why(why, -EINVAL, "accepting with %zu bytes of private data: at most %d", len,
                        PF_PRIVATE_DATA_MAX);
    else
        status = pf_tcp_endpoint_adopt((struct pf_tcp_lane *)lane, attr, request->fd,
                                       request->peer_depth, data, len, &ep, why);
    if (status)
        close(request->fd);
    else
        *out = &ep->base;
    free(request);
    return status;
}

void pf_tcp_reject(struct pf_request *base, const void *data, size_t len)
{
    struct pf_tcp_request *request = (struct pf_tcp_request *)base;
    pf_tcp_send_reject(request->fd, data, len < PF_PRIVATE_DATA_MAX ? len : PF_PRIVATE_DATA_MAX);
    close(request->fd);
    free(request);
}
