/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/endpoint.h"

#include "transport/tcp/device.h"
#include "transport/tcp/dial.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/transmit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SHUTDOWN_NS (5 * PF_TCP_SECOND_NS)

/* ---- making and freeing -----------------------------------------------------------------------
 */

static void bury(struct pf_tcp_grave *grave)
{
    struct pf_tcp_endpoint *ep = pf_container_of(grave, struct pf_tcp_endpoint, grave);
    pf_tcp_tx_fini(&ep->tx);
    free(ep);
}

static void drop_socket(struct pf_tcp_endpoint *ep)
{
    if (ep->watch.fd < 0)
        return;
    pf_tcp_watch_stop(pf_tcp_lane_of(ep), &ep->watch);
    close(ep->watch.fd);
    ep->watch.fd = -1;
}

static void abort_operations(struct pf_tcp_endpoint *ep, int status)
{
    struct pf_list *item;
    pf_tcp_tx_abort(ep, status);
    while ((item = pf_list_pop(&ep->receives)))
        pf_tcp_lane_finish(pf_tcp_lane_of(ep), pf_container_of(item, struct pf_op, link),
                           -ECANCELED);
}

void pf_tcp_endpoint_destroy(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_lane *lane = pf_tcp_lane_of(ep);
    ep->state = PF_TCP_GONE;
    ep->announce = false;
    pf_tcp_timer_stop(&ep->timer);
    drop_socket(ep);
    abort_operations(ep, -ECANCELED);
    pf_tcp_lane_remove(lane, ep);
    pf_tcp_lane_bury(lane, &ep->grave);
}

void pf_tcp_endpoint_close(struct pf_endpoint *base)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    if (ep->lingers) {
        ep->orphan = true;
        ep->announce = false;
        return;
    }
    pf_tcp_endpoint_destroy(ep);
}

static void timer_expired(struct pf_tcp_timer *timer)
{
    struct pf_tcp_endpoint *ep = pf_container_of(timer, struct pf_tcp_endpoint, timer);
    switch (ep->state) {
    case PF_TCP_OPEN:
        pf_tcp_endpoint_refuse(ep, -ENOBUFS);
        break;
    case PF_TCP_CLOSING:
        if (ep->moved == ep->moved_before) {
            pf_tcp_endpoint_end(ep, -ETIMEDOUT);
        } else {
            ep->moved_before = ep->moved;
            pf_tcp_timer_start(pf_tcp_lane_of(ep), timer, SHUTDOWN_NS);
        }
        break;
    case PF_TCP_REFUSING:
        pf_tcp_endpoint_end(ep, ep->status);
        break;
    case PF_TCP_DEAD:
        ep->lingers = false;
        drop_socket(ep);
        if (ep->orphan)
            pf_tcp_endpoint_destroy(ep);
        break;
    default:
        pf_tcp_endpoint_end(ep, -ETIMEDOUT);
    }
}

static void socket_ready(struct pf_tcp_watch *watch, uint32_t events)
{
    struct pf_tcp_endpoint *ep = pf_container_of(watch, struct pf_tcp_endpoint, watch);
    if (ep->state == PF_TCP_DIALING) {
        pf_tcp_dial_done(ep);
        return;
    }
    /* A stalled stream is not read, so its end would stay unnoticed and keep waking the owner. */
    if (ep->rx.stalled && ep->state == PF_TCP_OPEN && (events & (EPOLLHUP | EPOLLERR))) {
        pf_tcp_endpoint_end(ep, -ECONNRESET);
        return;
    }
    if (events & EPOLLOUT)
        ep->tx.blocked = false;
    pf_tcp_endpoint_visit(ep);
}

int pf_tcp_endpoint_new(struct pf_tcp_lane *lane, const struct pf_endpoint_attr *attr,
                        struct pf_tcp_endpoint **out, struct pf_why *why)
{
    if (attr->send_depth > PF_TCP_MAX_DEPTH || attr->recv_depth > PF_TCP_MAX_DEPTH) {
        pf_why(why, -EINVAL,
               "a tcp endpoint with depths %u (send) and %u (receive): at most %d each",
               attr->send_depth, attr->recv_depth, PF_TCP_MAX_DEPTH);
        return -EINVAL;
    }
    struct pf_tcp_endpoint *ep = calloc(1, sizeof *ep);
    if (!ep)
        goto no_memory;
    ep->base = (struct pf_endpoint){.lane = &lane->base, .events = attr->events, .ctx = attr->ctx};
    ep->send_depth = attr->send_depth ? attr->send_depth : 1;
    ep->recv_depth = attr->recv_depth;
    if (pf_tcp_tx_init(&ep->tx, ep->send_depth))
        goto free_endpoint;
    struct pf_list *lists[] = {&ep->on_lane, &ep->busy, &ep->timer.link, &ep->receives};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        pf_list_init(lists[i]);
    ep->watch = (struct pf_tcp_watch){.fd = -1, .ready = socket_ready};
    ep->timer.expired = timer_expired;
    ep->grave.bury = bury;
    ep->rx.waiting = true;
    *out = ep;
    return 0;

free_endpoint:
    free(ep);
no_memory:
    pf_why(why, -ENOMEM, "making a tcp endpoint for %u operations: out of memory",
           attr->send_depth);
    return -ENOMEM;
}

/* A request of the peer takes an answer frame; READ_DATA has a header and one piece of memory. */
static int make_answers(struct pf_tcp_endpoint *ep, unsigned peer_depth)
{
    return pf_tcp_pool_init(&ep->tx.answers, peer_depth, 2);
}

int pf_tcp_endpoint_adopt(struct pf_tcp_lane *lane, const struct pf_endpoint_attr *attr, int fd,
                          unsigned peer_depth, const void *data, size_t len,
                          struct pf_tcp_endpoint **out, struct pf_why *why)
{
    struct pf_tcp_endpoint *ep;
    int status = pf_tcp_endpoint_new(lane, attr, &ep, why);
    if (status)
        return status;
    status = make_answers(ep, peer_depth);
    if (status) {
        pf_why(why, status, "accepting a peer with %u operations: out of memory", peer_depth);
        goto free_endpoint;
    }
    ep->watch.fd = fd;
    status = pf_tcp_watch_start(lane, &ep->watch, EPOLLIN);
    if (status) {
        pf_why(why, status, "watching an accepted connection: %s", strerrordesc_np(-status));
        goto free_endpoint;
    }
    struct pf_tcp_header accept = {.version = PF_TCP_VERSION,
                                   .type = PF_TCP_ACCEPT,
                                   .length = (uint32_t)len,
                                   .imm = ep->send_depth};
    (void)pf_tcp_tx_control(&ep->tx, &accept, data); /* the first: it can't be busy */
    ep->state = PF_TCP_ACCEPTED;
    pf_tcp_lane_add(lane, ep);
    pf_tcp_lane_busy(lane, ep);
    *out = ep;
    return 0;

free_endpoint:
    bury(&ep->grave);
    return status;
}

/* ---- states -----------------------------------------------------------------------------------
 */

static void connected(struct pf_tcp_endpoint *ep)
{
    unsigned len = ep->private_len;
    ep->private_len = 0;
    ep->state = PF_TCP_OPEN;
    pf_tcp_timer_stop(&ep->timer);
    (void)pf_tcp_lane_spend(pf_tcp_lane_of(ep));
    ep->base.events->connected(ep->base.ctx, &ep->base, ep->private_data, len);
}

int pf_tcp_endpoint_opened(struct pf_tcp_endpoint *ep, unsigned peer_depth)
{
    if (peer_depth == 0 || peer_depth > PF_TCP_MAX_DEPTH)
        return -EPROTO;
    int status = make_answers(ep, peer_depth);
    if (status)
        return status;
    connected(ep);
    return 0;
}

void pf_tcp_endpoint_end(struct pf_tcp_endpoint *ep, int status)
{
    struct pf_tcp_lane *lane = pf_tcp_lane_of(ep);
    if (pf_tcp_is_dead(ep))
        return;
    ep->state = PF_TCP_DEAD;
    ep->status = status;
    ep->announce = true;
    pf_tcp_timer_stop(&ep->timer);
    if (ep->lingers)
        pf_tcp_timer_start(lane, &ep->timer, PF_TCP_SECOND_NS);
    else
        drop_socket(ep);
    abort_operations(ep, status ? status : -ECANCELED);
    pf_tcp_lane_busy(lane, ep);
}

void pf_tcp_endpoint_refuse(struct pf_tcp_endpoint *ep, int status)
{
    struct pf_tcp_header last = {.version = PF_TCP_VERSION,
                                 .type = status ? PF_TCP_NAK : PF_TCP_BYE,
                                 .imm = (uint32_t)-status};
    if (pf_tcp_is_dead(ep))
        return;
    if (ep->state == PF_TCP_GREETING || pf_tcp_tx_last(&ep->tx, &last)) {
        pf_tcp_endpoint_end(ep, status);
        return;
    }
    ep->state = PF_TCP_REFUSING;
    ep->status = status;
    pf_tcp_timer_start(pf_tcp_lane_of(ep), &ep->timer, status ? PF_TCP_SECOND_NS : SHUTDOWN_NS);
    pf_tcp_lane_busy(pf_tcp_lane_of(ep), ep);
}

void pf_tcp_shutdown(struct pf_endpoint *base)
{
    struct pf_tcp_endpoint *ep = pf_tcp_endpoint(base);
    switch (ep->state) {
    case PF_TCP_DIALING:
    case PF_TCP_GREETING:
        pf_tcp_endpoint_end(ep, 0);
        break;
    case PF_TCP_ACCEPTED:
    case PF_TCP_OPEN:
        ep->state = PF_TCP_CLOSING;
        ep->moved_before = ep->moved;
        pf_tcp_timer_start(pf_tcp_lane_of(ep), &ep->timer, SHUTDOWN_NS);
        pf_tcp_lane_busy(pf_tcp_lane_of(ep), ep);
        break;
    default:
        break; /* it is on its way to closed() already */
    }
}

/* ---- visits -----------------------------------------------------------------------------------
 */

static void continue_closing(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_header bye = {.version = PF_TCP_VERSION, .type = PF_TCP_BYE};
    bool idle = pf_list_empty(&ep->tx.queue);
    if (!ep->bye_sent && idle && pf_list_empty(&ep->tx.awaiting)) {
        ep->bye_sent = pf_tcp_tx_control(&ep->tx, &bye, "") == 0;
        pf_tcp_tx_run(ep);
        idle = pf_list_empty(&ep->tx.queue);
    }
    if (ep->bye_sent && ep->bye_received && idle)
        pf_tcp_endpoint_end(ep, 0);
}

static void continue_refusing(struct pf_tcp_endpoint *ep)
{
    pf_tcp_tx_run(ep);
    if (ep->state != PF_TCP_REFUSING)
        return;
    if (ep->tx.error) {
        pf_tcp_endpoint_end(ep, ep->status);
    } else if (pf_list_empty(&ep->tx.queue)) {
        ep->lingers = shutdown(ep->watch.fd, SHUT_WR) == 0;
        pf_tcp_endpoint_end(ep, ep->status);
    }
}

static void visit_live(struct pf_tcp_endpoint *ep)
{
    if (!pf_list_empty(&ep->tx.queue))
        pf_tcp_tx_run(ep);
    /*
     * Not without budget: then a request that has left may still be on the queue behind others,
     * and its answer would find nobody waiting.
     */
    if (pf_tcp_is_live(ep) && pf_tcp_lane_of(ep)->left > 0)
        pf_tcp_rx_run(ep);
    if (pf_tcp_is_live(ep) && pf_tcp_tx_ready(ep))
        pf_tcp_tx_run(ep);
    if (ep->state == PF_TCP_CLOSING)
        continue_closing(ep);
}

static void visit_dead(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_lane *lane = pf_tcp_lane_of(ep);
    if (ep->announce && pf_tcp_lane_deliver(lane) && ep->announce && pf_tcp_lane_spend(lane)) {
        ep->announce = false;
        ep->base.events->closed(ep->base.ctx, &ep->base, ep->status, ep->private_data,
                                ep->private_len);
    }
    if (ep->state != PF_TCP_DEAD || !ep->lingers || !pf_tcp_rx_discard(ep))
        return;
    ep->lingers = false;
    pf_tcp_timer_stop(&ep->timer);
    drop_socket(ep);
    if (ep->orphan)
        pf_tcp_endpoint_destroy(ep);
}

static bool has_work(const struct pf_tcp_endpoint *ep)
{
    if (ep->state == PF_TCP_ACCEPTED || ep->announce)
        return true;
    return pf_tcp_tx_ready(ep) || (pf_tcp_is_live(ep) && !ep->rx.waiting);
}

void pf_tcp_endpoint_visit(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_lane *lane = pf_tcp_lane_of(ep);
    if (ep->state == PF_TCP_ACCEPTED && lane->left > 0)
        connected(ep);
    if (pf_tcp_is_live(ep))
        visit_live(ep);
    if (ep->state == PF_TCP_REFUSING)
        continue_refusing(ep);
    if (ep->state == PF_TCP_DEAD)
        visit_dead(ep);
    if (ep->state == PF_TCP_GONE)
        return;
    if (has_work(ep))
        pf_tcp_lane_busy(lane, ep);
    else
        pf_list_remove(&ep->busy);
    if (pf_tcp_lane_needs_interest(lane))
        pf_tcp_endpoint_interest(ep);
}

static uint32_t interest(const struct pf_tcp_endpoint *ep)
{
    bool unsent = !pf_list_empty(&ep->tx.queue) && !ep->tx.error;
    switch (ep->state) {
    case PF_TCP_DIALING:
        return EPOLLOUT;
    case PF_TCP_REFUSING:
        return unsent ? EPOLLOUT : 0;
    case PF_TCP_DEAD:
        return EPOLLIN;
    default:
        return (ep->rx.stalled ? 0u : EPOLLIN) | (unsent ? EPOLLOUT : 0u);
    }
}

void pf_tcp_endpoint_interest(struct pf_tcp_endpoint *ep)
{
    if (ep->watch.fd >= 0)
        pf_tcp_watch_change(pf_tcp_lane_of(ep), &ep->watch, interest(ep));
}
