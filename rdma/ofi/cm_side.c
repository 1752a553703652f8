/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections over a side socket, for providers with unconnected endpoints only (FI_EP_RDM): shm,
 * efa, cxi. Each connection has a provider endpoint of its own at either side; the side socket
 * carries their names, the caller's private data, and the news of the peer's death.
 */
#include "rdma/ofi/internal.h"

#include "base/clock.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HALF_OPEN_MAX = 64 }; /* strangers who connect and say nothing */

static int side_listen(struct pf_ofi_listener *listener, struct pf_why *why)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(listener->listener.lane);
    int fd = pf_ofi_side_socket_listen(pf_ofi_device_of(lane->lane.device), &listener->uri, why);
    if (fd < 0)
        return fd;
    int error = pf_ofi_sleep_watch(lane, fd);
    if (error) {
        close(fd);
        return pf_why(why, error, "listening on %s://%s: %s", listener->uri.scheme,
                      listener->uri.host, strerror(-error));
    }
    listener->fd = fd;
    return 0;
}

static void drop_half_open(struct pf_ofi_listener *listener, struct pf_ofi_side *side)
{
    pf_ofi_sleep_forget(pf_ofi_lane_of(listener->listener.lane), side->fd);
    pf_list_remove(&side->link);
    listener->half_open_count--;
}

static void side_unlisten(struct pf_ofi_listener *listener)
{
    while (!pf_list_empty(&listener->half_open)) {
        struct pf_ofi_side *side =
            pf_container_of(listener->half_open.next, struct pf_ofi_side, link);
        drop_half_open(listener, side);
        pf_ofi_side_free(side);
    }
    if (listener->fd < 0)
        return;
    pf_ofi_sleep_forget(pf_ofi_lane_of(listener->listener.lane), listener->fd);
    close(listener->fd);
    listener->fd = -1;
}

static bool take_card(const struct pf_ofi_frame *frame, struct pf_ofi_card *card)
{
    if (frame->length != sizeof *card)
        return false;
    memcpy(card, frame->body, sizeof *card);
    return card->address_length <= sizeof card->address && card->data_length <= sizeof card->data;
}

static void accept_sockets(struct pf_ofi_listener *listener)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(listener->listener.lane);
    while (listener->half_open_count < HALF_OPEN_MAX) {
        int fd = pf_ofi_side_socket_accept(pf_ofi_device_of(lane->lane.device), listener->fd);
        if (fd < 0)
            return;
        struct pf_ofi_side *side = pf_ofi_side_new(fd);
        if (!side) {
            close(fd);
            return;
        }
        side->deadline = pf_now_ns() + PF_OFI_CONNECT_NS;
        pf_ofi_sleep_watch(lane, fd);
        pf_list_append(&listener->half_open, &side->link);
        listener->half_open_count++;
    }
}

/* Returns the callbacks made; takes the side connection off the listener unless it is to wait. */
static unsigned hear(struct pf_ofi_listener *listener, struct pf_ofi_side *side)
{
    struct pf_ofi_frame frame;
    struct pf_ofi_card card;
    struct pf_ofi_request *request = NULL;
    int got = pf_ofi_side_next(side, &frame);
    if (got == 0 && pf_now_ns() < side->deadline)
        return 0;
    drop_half_open(listener, side);
    if (got == 1 && frame.kind == PF_OFI_FRAME_CONNECT && take_card(&frame, &card))
        request = pf_ofi_request_new(listener);
    if (!request) {
        pf_ofi_side_free(side);
        return 0;
    }
    request->side = side;
    request->card = card;
    listener->listener.events->request(listener->listener.ctx, &request->request,
                                       request->card.data, request->card.data_length);
    return 1;
}

static unsigned side_poll_listener(struct pf_ofi_listener *listener)
{
    unsigned made = 0;
    if (listener->closed) {
        side_unlisten(listener);
        return 0;
    }
    accept_sockets(listener);
    struct pf_list *item = listener->half_open.next;
    while (item != &listener->half_open && !listener->closed) {
        struct pf_ofi_side *side = pf_container_of(item, struct pf_ofi_side, link);
        item = item->next;
        made += hear(listener, side);
    }
    return made;
}

/* The provider's endpoint is opened first: its name travels with the request. */
static int open_provider(struct pf_ofi_endpoint *endpoint, struct pf_why *why)
{
    struct fi_info *info = fi_dupinfo(endpoint->device->info);
    if (!info)
        return -ENOMEM;
    int error = pf_ofi_resources_open(endpoint, info, why);
    fi_freeinfo(info);
    return error;
}

static int make_card(struct pf_ofi_endpoint *endpoint, const void *data, size_t length,
                     struct pf_ofi_card *card)
{
    size_t size = sizeof card->address;
    *card = (struct pf_ofi_card){
        .recv_size = (uint32_t)endpoint->recv_size,
        .data_length = (uint16_t)length,
    };
    if (length)
        memcpy(card->data, data, length);
    int error = fi_getname(&endpoint->ep->fid, card->address, &size);
    card->address_length = (uint16_t)size;
    return error;
}

static int send_card(struct pf_ofi_endpoint *endpoint, enum pf_ofi_frame_kind kind,
                     const struct pf_ofi_card *card)
{
    return pf_ofi_side_send(endpoint->side, kind, card, sizeof *card);
}

/* Both sides know each other: the provider's own handshake begins. */
static int warm_up(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_card *peer)
{
    if (peer->address_length == 0 ||
        (endpoint->device->local && peer->address[peer->address_length - 1] != '\0'))
        return -EPROTO;
    if (fi_av_insert(endpoint->av, peer->address, 1, &endpoint->peer, 0, NULL) != 1)
        return -EPROTO;
    endpoint->peer_recv_size = peer->recv_size;
    endpoint->state = PF_OFI_WARMING;
    endpoint->hello_owed = true;
    return 0;
}

static int attach_side(struct pf_ofi_endpoint *endpoint, struct pf_ofi_side *side)
{
    endpoint->side = side;
    return pf_ofi_sleep_watch(pf_ofi_lane_of(endpoint->endpoint.lane), side->fd);
}

/* While the peer is to be found, answer holds our own card; then the peer's takes its place. */
static int side_connect(struct pf_ofi_endpoint *endpoint, const struct pf_uri *uri,
                        const void *data, size_t length, struct pf_why *why)
{
    bool connecting;
    int error = open_provider(endpoint, why);
    if (!error)
        error = make_card(endpoint, data, length, &endpoint->answer);
    if (error)
        return pf_ofi_error(error);
    int fd = pf_ofi_side_socket_connect(endpoint->device, uri, &connecting, why);
    if (fd == -EINVAL)
        return fd;
    if (fd < 0) {
        endpoint->answer = (struct pf_ofi_card){0};
        pf_ofi_endpoint_end(endpoint, fd == -EAGAIN ? -ECONNREFUSED : fd);
        return 0;
    }
    struct pf_ofi_side *side = pf_ofi_side_new(fd);
    if (!side) {
        close(fd);
        return -ENOMEM;
    }
    side->connecting = connecting;
    error = attach_side(endpoint, side);
    if (!error && !connecting)
        error = send_card(endpoint, PF_OFI_FRAME_CONNECT, &endpoint->answer);
    return error;
}

static int side_accept(struct pf_ofi_request *request, struct pf_ofi_endpoint *endpoint,
                       const void *data, size_t length, struct pf_why *why)
{
    struct pf_ofi_card card;
    int error = open_provider(endpoint, why);
    if (!error)
        error = make_card(endpoint, data, length, &card);
    if (!error)
        error = warm_up(endpoint, &request->card);
    if (error)
        return pf_why(why, pf_ofi_error(error), "accepting a connection: %s", strerror(-error));
    error = attach_side(endpoint, request->side);
    request->side = NULL;
    if (!error)
        error = send_card(endpoint, PF_OFI_FRAME_ACCEPT, &card);
    if (error)
        pf_ofi_endpoint_end(endpoint, error);
    return 0;
}

static void side_reject(struct pf_ofi_request *request, const void *data, size_t length)
{
    struct pf_ofi_card card = {.data_length = (uint16_t)length};
    if (length)
        memcpy(card.data, data, length);
    if (request->side)
        pf_ofi_side_send(request->side, PF_OFI_FRAME_REJECT, &card, sizeof card);
}

/* TCP's connect() has ended, well or not. */
static void finish_connecting(struct pf_ofi_endpoint *endpoint)
{
    struct pollfd poll_fd = {.fd = endpoint->side->fd, .events = POLLOUT};
    int error = 0;
    socklen_t length = sizeof error;
    if (poll(&poll_fd, 1, 0) != 1)
        return;
    getsockopt(endpoint->side->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    endpoint->side->connecting = false;
    if (!error)
        error = -send_card(endpoint, PF_OFI_FRAME_CONNECT, &endpoint->answer);
    if (error) {
        endpoint->answer = (struct pf_ofi_card){0};
        pf_ofi_endpoint_end(endpoint, -error);
    }
}

/* The answer to our request. */
static void answered(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_frame *frame)
{
    int error = -EPROTO;
    bool ours = endpoint->state == PF_OFI_CONNECTING;
    endpoint->answer = (struct pf_ofi_card){0};
    if (ours && take_card(frame, &endpoint->answer))
        error = frame->kind == PF_OFI_FRAME_ACCEPT ? warm_up(endpoint, &endpoint->answer)
                                                   : -ECONNREFUSED;
    if (error)
        pf_ofi_endpoint_end(endpoint, error);
}

/* What the peer sent before is still read from the queue; an error of its ends us at once. */
static void farewell(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_frame *frame)
{
    struct pf_ofi_bye bye;
    if (frame->length != sizeof bye) {
        pf_ofi_endpoint_fail(endpoint, -EPROTO);
        return;
    }
    memcpy(&bye, frame->body, sizeof bye);
    if (bye.status < 0 && bye.status > -FI_ERRNO_OFFSET) {
        pf_ofi_endpoint_end(endpoint, (int)bye.status);
        return;
    }
    endpoint->peer_left = true;
    endpoint->last_words = bye.spoken;
    endpoint->deadline = pf_now_ns() + PF_OFI_CLOSE_NS;
    pf_ofi_lane_of(endpoint->endpoint.lane)->unsettled = true;
}

static void heard(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_frame *frame)
{
    int error;
    switch (frame->kind) {
    case PF_OFI_FRAME_ACCEPT:
    case PF_OFI_FRAME_REJECT:
        answered(endpoint, frame);
        return;
    case PF_OFI_FRAME_KEY:
        error = pf_ofi_keys_learn(endpoint, frame);
        if (error)
            pf_ofi_endpoint_fail(endpoint, error);
        return;
    case PF_OFI_FRAME_BYE:
        farewell(endpoint, frame);
        return;
    default:
        pf_ofi_endpoint_fail(endpoint, -EPROTO);
    }
}

/*
 * The stream has ended. Without a good-bye the peer has died, and may have held the lock of a queue
 * in shared memory for which reading would wait for ever: nothing of the endpoint is touched any
 * more. That does not close the window between the death and this notice: who reads the queue in it
 * spins in the provider (1.17: pthread_spin_lock() on the region's lock, seen in gdb) without end.
 * Nothing here can get it out.
 */
static void lost(struct pf_ofi_endpoint *endpoint, int error)
{
    if (endpoint->state == PF_OFI_CONNECTING) {
        endpoint->answer = (struct pf_ofi_card){0};
        pf_ofi_endpoint_end(endpoint, -ECONNREFUSED);
    } else if (endpoint->peer_left) {
        pf_ofi_side_drop(endpoint);
    } else {
        pf_ofi_endpoint_end(endpoint, error);
    }
}

static unsigned side_poll_endpoint(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_frame frame;
    int got = 1;
    if (endpoint->side && endpoint->side->connecting)
        finish_connecting(endpoint);
    if (endpoint->side && endpoint->side->connecting)
        return 0;
    while (endpoint->side && got == 1) {
        got = pf_ofi_side_next(endpoint->side, &frame);
        if (got == 1)
            heard(endpoint, &frame);
        else if (got < 0)
            lost(endpoint, got);
    }
    if (endpoint->state != PF_OFI_WARMING || !endpoint->hello_owed ||
        pf_ofi_control_send(endpoint, PF_OFI_HELLO, 0))
        return 0;
    endpoint->hello_owed = false;
    pf_ofi_endpoint_connected(endpoint);
    return 1;
}

const struct pf_ofi_cm pf_ofi_cm_side = {
    .type = FI_EP_RDM,
    .listen = side_listen,
    .unlisten = side_unlisten,
    .poll_listener = side_poll_listener,
    .connect = side_connect,
    .accept = side_accept,
    .reject = side_reject,
    .poll_endpoint = side_poll_endpoint,
};
