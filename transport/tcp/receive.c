/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/receive.h"

#include "transport/tcp/device.h"
#include "transport/tcp/handlers.h"
#include "transport/tcp/socket.h"

#include <sys/socket.h>

enum {
    SYSTEM_CALLS = 32,       /* in one run, so that other endpoints of the lane get their turn, */
    RUN_BYTES = 4 << 20,     /* and about this much */
    DISCARD_BYTES = 1 << 20, /* per call */
};

enum step { GO_ON, WANT_INPUT, PAUSE };

/* ---- digesting what was read ------------------------------------------------------------------
 */

static enum step take_header(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_rx *rx = &ep->rx;
    if (rx->end - rx->start < PF_TCP_HEADER_BYTES)
        return WANT_INPUT;
    bool sane = pf_tcp_decode(rx->ahead + rx->start, &rx->header);
    rx->start += PF_TCP_HEADER_BYTES;
    if (sane && rx->header.version != PF_TCP_VERSION && ep->state == PF_TCP_GREETING) {
        pf_tcp_endpoint_end(ep, -EPROTONOSUPPORT);
        return PAUSE;
    }
    const struct pf_tcp_handler *handler = sane ? pf_tcp_handler(rx->header.type) : NULL;
    if (!handler || rx->header.version != PF_TCP_VERSION || !(handler->states & 1u << ep->state) ||
        rx->header.length < handler->min_length || rx->header.length > handler->max_length) {
        pf_tcp_endpoint_refuse(ep, -EPROTO);
        return PAUSE;
    }
    rx->iov_count = 0;
    rx->landing = false;
    rx->left = handler->payload ? rx->header.length : 0;
    rx->phase = PF_TCP_AT_BEGIN;
    return GO_ON;
}

static enum step call_handler(struct pf_tcp_endpoint *ep, int (*call)(struct pf_tcp_endpoint *),
                              enum pf_tcp_phase next)
{
    struct pf_tcp_rx *rx = &ep->rx;
    enum pf_tcp_phase phase = rx->phase;
    /* Before the call: end() may lead to anything, and a second call must not follow. */
    rx->phase = next;
    int status = call(ep);
    if (status == 0)
        return GO_ON;
    if (status != -EAGAIN) {
        pf_tcp_endpoint_refuse(ep, status);
        return PAUSE;
    }
    rx->phase = phase;
    if (!rx->stalled)
        pf_tcp_timer_start(pf_tcp_lane_of(ep), &ep->timer, PF_TCP_SECOND_NS);
    rx->stalled = true;
    return PAUSE;
}

static void payload_advance(struct pf_tcp_rx *rx, size_t bytes)
{
    rx->left -= bytes;
    while (bytes > 0 && rx->iov_count > 0) {
        size_t step = bytes < rx->iov->iov_len ? bytes : rx->iov->iov_len;
        rx->iov->iov_base = (char *)rx->iov->iov_base + step;
        rx->iov->iov_len -= step;
        bytes -= step;
        if (rx->iov->iov_len == 0) {
            rx->iov++;
            rx->iov_count--;
        }
    }
}

/*
 * Keep the memory that the payload goes to in place for one copy. False: it is registered no
 * longer. *slot may be NULL on success: memory of our own owner needs no holding.
 */
static bool hold_target(struct pf_tcp_endpoint *ep, struct pf_tcp_slot **slot)
{
    const struct pf_tcp_header *header = &ep->rx.header;
    struct pf_tcp_device *device = pf_tcp_device(ep->base.lane->device);
    *slot = NULL;
    if (!ep->rx.landing)
        return true;
    *slot =
        pf_tcp_mr_hold(&device->table, header->key, header->addr, header->length, PF_REMOTE_WRITE);
    return *slot != NULL;
}

static void copy_ahead(struct pf_tcp_rx *rx)
{
    while (rx->left > 0 && rx->start < rx->end) {
        size_t step = rx->end - rx->start;
        size_t room = rx->iov_count > 0 ? rx->iov->iov_len : rx->left;
        if (step > room)
            step = room;
        if (rx->iov_count > 0)
            memcpy(rx->iov->iov_base, rx->ahead + rx->start, step);
        payload_advance(rx, step);
        rx->start += (unsigned)step;
    }
}

static enum step take_payload(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_rx *rx = &ep->rx;
    struct pf_tcp_slot *slot;
    if (rx->left > 0 && rx->start < rx->end) {
        if (!hold_target(ep, &slot)) {
            pf_tcp_endpoint_refuse(ep, -EACCES);
            return PAUSE;
        }
        copy_ahead(rx);
        if (slot)
            pf_tcp_mr_release(slot);
    }
    if (rx->left > 0)
        return WANT_INPUT;
    rx->phase = PF_TCP_AT_END;
    return GO_ON;
}

static enum step end_frame(struct pf_tcp_endpoint *ep)
{
    const struct pf_tcp_handler *handler = pf_tcp_handler(ep->rx.header.type);
    if (handler->needs_call && pf_tcp_lane_of(ep)->left == 0)
        return PAUSE;
    return call_handler(ep, handler->end, PF_TCP_AT_HEADER);
}

static enum step digest_step(struct pf_tcp_endpoint *ep)
{
    switch (ep->rx.phase) {
    case PF_TCP_AT_HEADER:
        return take_header(ep);
    case PF_TCP_AT_BEGIN:
        return call_handler(ep, pf_tcp_handler(ep->rx.header.type)->begin, PF_TCP_AT_PAYLOAD);
    case PF_TCP_AT_PAYLOAD:
        return take_payload(ep);
    default:
        return end_frame(ep);
    }
}

/* True when the frame at hand needs more input than there is. */
static bool digest(struct pf_tcp_endpoint *ep)
{
    enum step step = GO_ON;
    while (step == GO_ON && pf_tcp_is_live(ep))
        step = digest_step(ep);
    return step == WANT_INPUT;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static ssize_t read_header(struct pf_tcp_endpoint *ep, size_t *wanted)
{
    struct pf_tcp_rx *rx = &ep->rx;
    unsigned have = rx->end - rx->start;
    if (rx->start > 0)
        memmove(rx->ahead, rx->ahead + rx->start, have);
    rx->start = 0;
    rx->end = have;
    *wanted = sizeof rx->ahead - have;
    ssize_t got = recv(ep->watch.fd, rx->ahead + have, *wanted, MSG_DONTWAIT);
    if (got > 0)
        rx->end += (unsigned)got;
    return got;
}

/* Straight to where it belongs, and what follows it into the buffer (which is empty here). */
static ssize_t read_payload(struct pf_tcp_endpoint *ep, size_t *wanted)
{
    struct pf_tcp_rx *rx = &ep->rx;
    struct iovec iov[PF_TCP_GATHER + 1];
    struct pf_tcp_slot *slot;
    memcpy(iov, rx->iov, rx->iov_count * sizeof iov[0]);
    iov[rx->iov_count] = (struct iovec){rx->ahead, sizeof rx->ahead};
    *wanted = rx->left + sizeof rx->ahead;
    if (!hold_target(ep, &slot)) {
        errno = EACCES;
        return -1;
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = rx->iov_count + 1};
    ssize_t got = recvmsg(ep->watch.fd, &message, MSG_DONTWAIT);
    if (slot)
        pf_tcp_mr_release(slot);
    if (got <= 0)
        return got;
    size_t payload = (size_t)got < rx->left ? (size_t)got : rx->left;
    payload_advance(rx, payload);
    rx->start = 0;
    rx->end = (unsigned)((size_t)got - payload);
    return got;
}

/* A stream socket drops instead of copying when asked for the true length. */
static ssize_t skip_payload(struct pf_tcp_endpoint *ep, size_t *wanted)
{
    *wanted = ep->rx.left;
    ssize_t got = recv(ep->watch.fd, NULL, ep->rx.left, MSG_DONTWAIT | MSG_TRUNC);
    if (got > 0)
        payload_advance(&ep->rx, (size_t)got);
    return got;
}

static ssize_t read_more(struct pf_tcp_endpoint *ep, size_t *wanted)
{
    if (ep->rx.phase != PF_TCP_AT_PAYLOAD)
        return read_header(ep, wanted);
    return ep->rx.iov_count > 0 ? read_payload(ep, wanted) : skip_payload(ep, wanted);
}

static void input_ended(struct pf_tcp_endpoint *ep, int error)
{
    if (error == EACCES) {
        pf_tcp_endpoint_refuse(ep, -EACCES);
        return;
    }
    if (ep->tx.error)
        error = ep->tx.error; /* each error of a socket is reported once, to the first who asks */
    int status = error ? pf_tcp_stream_status(error) : -ECONNRESET;
    /* Who hangs up instead of answering a greeting does not want us. */
    if (ep->state == PF_TCP_GREETING && status == -ECONNRESET)
        status = -ECONNREFUSED;
    pf_tcp_endpoint_end(ep, status);
}

static bool may_go_on(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_rx *rx = &ep->rx;
    if (!rx->stalled)
        return true;
    if (pf_list_empty(&ep->receives) && ep->state != PF_TCP_CLOSING)
        return false;
    rx->stalled = false;
    /* In CLOSING the timer has become the shutdown's. */
    if (ep->state == PF_TCP_OPEN)
        pf_tcp_timer_stop(&ep->timer);
    return true;
}

void pf_tcp_rx_run(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_rx *rx = &ep->rx;
    bool drained = false;
    uint64_t before = ep->moved;
    rx->waiting = true;
    if (!may_go_on(ep))
        return;
    bool hungry;
    /*
     * Less than asked for at the end of a frame: the socket is empty, asking again would only cost.
     * In the middle of a payload the rest is on its way, and may be there by now.
     */
    for (int calls = 0; (hungry = digest(ep)) && !(drained && rx->left == 0); calls++) {
        if (calls == SYSTEM_CALLS || ep->moved - before >= RUN_BYTES ||
            pf_tcp_lane_of(ep)->left == 0) {
            rx->waiting = false;
            return;
        }
        size_t wanted;
        ssize_t got = read_more(ep, &wanted);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            input_ended(ep, got < 0 ? errno : 0);
            return;
        }
        ep->moved += (uint64_t)got;
        drained = (size_t)got < wanted;
    }
    /* Neither hungry nor stalled: the budget ended. */
    rx->waiting = hungry || rx->stalled;
}

bool pf_tcp_rx_discard(struct pf_tcp_endpoint *ep)
{
    for (int calls = 0; calls < SYSTEM_CALLS; calls++) {
        ssize_t got = recv(ep->watch.fd, NULL, DISCARD_BYTES, MSG_DONTWAIT | MSG_TRUNC);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        if (got < 0)
            return false;
    }
    return false;
}
