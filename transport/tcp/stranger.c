/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/stranger.h"

#include "transport/tcp/socket.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_NS (5 * PF_TCP_SECOND_NS)

static struct pf_tcp_lane *lane_of(const struct pf_tcp_stranger *stranger)
{
    return (struct pf_tcp_lane *)stranger->listener->base.lane;
}

static void bury(struct pf_tcp_grave *grave)
{
    free(pf_container_of(grave, struct pf_tcp_stranger, grave));
}

/* Off the lane; returns the socket. */
static int retire(struct pf_tcp_stranger *stranger)
{
    struct pf_tcp_lane *lane = lane_of(stranger);
    int fd = stranger->watch.fd;
    pf_tcp_watch_stop(lane, &stranger->watch);
    stranger->watch.fd = -1;
    pf_tcp_timer_stop(&stranger->timer);
    pf_list_remove(&stranger->link);
    stranger->listener->stranger_count--;
    pf_tcp_lane_bury(lane, &stranger->grave);
    return fd;
}

void pf_tcp_stranger_drop(struct pf_tcp_stranger *stranger)
{
    close(retire(stranger));
}

static void timer_expired(struct pf_tcp_timer *timer)
{
    pf_tcp_stranger_drop(pf_container_of(timer, struct pf_tcp_stranger, timer));
}

/* The socket's buffer is empty, so that these few bytes always fit. */
void pf_tcp_send_reject(int fd, const void *data, size_t len)
{
    uint8_t frame[PF_TCP_HEADER_BYTES + PF_PRIVATE_DATA_MAX];
    struct pf_tcp_header header = {
        .version = PF_TCP_VERSION, .type = PF_TCP_REJECT, .length = (uint32_t)len};
    pf_tcp_encode(&header, frame);
    if (len > 0)
        memcpy(frame + PF_TCP_HEADER_BYTES, data, len);
    ssize_t sent = send(fd, frame, PF_TCP_HEADER_BYTES + len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* he learns by the hang-up, then */
}

static void become_request(struct pf_tcp_stranger *stranger, const struct pf_tcp_header *hello)
{
    struct pf_tcp_listener *listener = stranger->listener;
    struct pf_tcp_request *request = malloc(sizeof *request);
    if (!request) {
        pf_tcp_stranger_drop(stranger);
        return;
    }
    *request = (struct pf_tcp_request){.base.device = listener->base.lane->device,
                                       .peer_depth = hello->imm,
                                       .fd = retire(stranger)};
    (void)pf_tcp_lane_spend(lane_of(stranger));
    listener->base.events->request(listener->base.ctx, &request->base,
                                   stranger->greeting + PF_TCP_HEADER_BYTES, hello->length);
}

static bool hello_ok(const struct pf_tcp_header *hello)
{
    return hello->version == PF_TCP_VERSION && hello->type == PF_TCP_HELLO &&
           hello->length <= PF_PRIVATE_DATA_MAX && hello->imm >= 1 &&
           hello->imm <= PF_TCP_MAX_DEPTH;
}

/* What we have of his greeting: how long it has to be, and -1 if it is none. */
static int greeting_length(struct pf_tcp_stranger *stranger, struct pf_tcp_header *hello)
{
    if (stranger->have < PF_TCP_HEADER_BYTES)
        return PF_TCP_HEADER_BYTES;
    if (!pf_tcp_decode(stranger->greeting, hello))
        return -1;
    /* Who speaks another version gets an answer in ours, and so can tell the reason. */
    if (hello->version != PF_TCP_VERSION)
        pf_tcp_send_reject(stranger->watch.fd, NULL, 0);
    return hello_ok(hello) ? PF_TCP_HEADER_BYTES + (int)hello->length : -1;
}

static void socket_ready(struct pf_tcp_watch *watch, uint32_t events)
{
    (void)events;
    struct pf_tcp_stranger *stranger = pf_container_of(watch, struct pf_tcp_stranger, watch);
    struct pf_tcp_header hello;
    int length;
    if (lane_of(stranger)->left == 0)
        return;
    /* Never more than the greeting: what follows it is the endpoint's. */
    while ((length = greeting_length(stranger, &hello)) > (int)stranger->have) {
        ssize_t got = recv(watch->fd, stranger->greeting + stranger->have,
                           (size_t)length - stranger->have, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            pf_tcp_stranger_drop(stranger);
            return;
        }
        stranger->have += (unsigned)got;
    }
    if (length < 0)
        pf_tcp_stranger_drop(stranger);
    else
        become_request(stranger, &hello);
}

void pf_tcp_stranger_new(struct pf_tcp_listener *listener, int fd)
{
    struct pf_tcp_lane *lane = (struct pf_tcp_lane *)listener->base.lane;
    struct pf_tcp_stranger *stranger = calloc(1, sizeof *stranger);
    if (!stranger)
        goto close_socket;
    stranger->listener = listener;
    stranger->watch = (struct pf_tcp_watch){.fd = fd, .ready = socket_ready};
    stranger->timer.expired = timer_expired;
    stranger->grave.bury = bury;
    pf_list_init(&stranger->timer.link);
    if (pf_tcp_watch_start(lane, &stranger->watch, EPOLLIN))
        goto free_stranger;
    pf_list_append(&listener->strangers, &stranger->link);
    listener->stranger_count++;
    pf_tcp_timer_start(lane, &stranger->timer, GREETING_NS);
    return;

free_stranger:
    free(stranger);
close_socket:
    close(fd);
}
