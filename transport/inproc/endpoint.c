/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/inproc/internal.h"

#include <stdlib.h>

static const uint64_t receive_timeout_ns = 1000000000ull;

static void call_connected(struct pf_op *op, int status, size_t bytes)
{
    (void)status;
    (void)bytes;
    struct inproc_endpoint *self = pf_container_of(op, struct inproc_endpoint, connected_event);
    struct private_data answer = {.len = 0};
    pthread_mutex_lock(&self->link->lock);
    if (self->me == SIDE_CONNECTING)
        answer = self->link->answer;
    pthread_mutex_unlock(&self->link->lock);
    self->base.events->connected(self->base.ctx, &self->base, answer.bytes, answer.len);
}

static void call_closed(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct inproc_endpoint *self = pf_container_of(op, struct inproc_endpoint, closed_event);
    struct private_data answer = {.len = 0};
    pthread_mutex_lock(&self->link->lock);
    if (status == -ECONNREFUSED && self->me == SIDE_CONNECTING)
        answer = self->link->answer;
    pthread_mutex_unlock(&self->link->lock);
    self->base.events->closed(self->base.ctx, &self->base, status, answer.bytes, answer.len);
}

static int check_attr(const struct inproc_lane *lane, const struct pf_endpoint_attr *attr,
                      struct pf_why *why)
{
    unsigned most = lane->base.device->caps.max_depth;
    if (attr->send_depth > 0 && attr->send_depth <= most && attr->recv_depth <= most)
        return 0;
    return pf_why(why, -EINVAL,
                  "making an in-process endpoint with queues of %u and %u operations: 1 to %u are "
                  "possible",
                  attr->send_depth, attr->recv_depth, most);
}

static void join_link(struct inproc_endpoint *self, struct inproc_lane *lane, struct link *link,
                      unsigned me)
{
    self->link = link;
    self->me = me;
    pthread_mutex_lock(&link->lock);
    link->holders++;
    link->sides[me].lane = lane;
    pthread_mutex_unlock(&link->lock);
}

int pf_inproc_endpoint_make(struct inproc_lane *lane, const struct pf_endpoint_attr *attr,
                            struct link *link, unsigned me, struct inproc_endpoint **endpoint,
                            struct pf_why *why)
{
    int err = check_attr(lane, attr, why);
    if (err)
        return err;
    struct inproc_endpoint *self = calloc(1, sizeof *self);
    struct message *messages = calloc(attr->send_depth, sizeof *messages);
    if (!self || !messages) {
        free(messages);
        free(self);
        return pf_why(why, -ENOMEM, "making an in-process endpoint: out of memory");
    }
    self->base = (struct pf_endpoint){&lane->base, attr->events, attr->ctx};
    self->messages = messages;
    self->sends_left = attr->send_depth;
    self->receives_left = attr->recv_depth;
    self->connected_event.done = call_connected;
    self->closed_event.done = call_closed;
    self->bye.kind = MESSAGE_BYE;
    pf_list_init(&self->connected_event.link);
    pf_list_init(&self->closed_event.link);
    pf_list_init(&self->receives);
    pf_list_init(&self->free_messages);
    for (unsigned i = 0; i < attr->send_depth; i++)
        pf_list_append(&self->free_messages, &messages[i].node);
    join_link(self, lane, link, me);
    pf_list_append(&lane->endpoints, &self->on_lane);
    *endpoint = self;
    return 0;
}

static struct inproc_lane *lane_of(struct inproc_endpoint *self)
{
    return pf_container_of(self->base.lane, struct inproc_lane, base);
}

static void take_finished(struct inproc_endpoint *self)
{
    struct pf_list *item;
    while ((item = pf_list_pop(&self->link->sides[self->me].finished))) {
        struct message *message = pf_container_of(item, struct message, node);
        if (!message->op)
            continue;
        pf_inproc_lane_event(lane_of(self), message->op, message->status, message->len);
        pf_list_append(&self->free_messages, &message->node);
    }
}

static void cancel_receives(struct inproc_endpoint *self)
{
    struct pf_list *item;
    while ((item = pf_list_pop(&self->receives)))
        pf_inproc_lane_event(lane_of(self), pf_container_of(item, struct pf_op, link), -ECANCELED,
                             0);
}

static void wait_for_receive(struct inproc_endpoint *self)
{
    uint64_t now = pf_now_ns();
    if (!self->deadline) {
        self->deadline = now + receive_timeout_ns;
        pf_inproc_lane_wake_at(lane_of(self), self->deadline);
    } else if (now >= self->deadline) {
        struct pf_list *first = self->link->sides[self->me].inbox.next;
        pf_inproc_link_finish(self->link, pf_container_of(first, struct message, node), !self->me,
                              -ENOBUFS);
        pf_inproc_link_fail(self->link, -ENOBUFS);
    }
}

static void land_inbox(struct inproc_endpoint *self, unsigned budget)
{
    struct pf_list *inbox = &self->link->sides[self->me].inbox;
    for (; budget > 0 && !pf_list_empty(inbox); budget--) {
        struct message *message = pf_container_of(inbox->next, struct message, node);
        if (pf_inproc_must_wait(self, message)) {
            wait_for_receive(self);
            return;
        }
        self->deadline = 0;
        int status = pf_inproc_land(self, message);
        bool bye = message->kind == MESSAGE_BYE;
        pf_inproc_link_finish(self->link, message, !self->me, status);
        if (status || bye)
            pf_inproc_link_fail(self->link, status);
    }
}

static void collect_down(struct inproc_endpoint *self)
{
    self->ended = true;
    self->deadline = 0;
    cancel_receives(self);
    pf_inproc_lane_event(lane_of(self), &self->closed_event, self->link->status, 0);
}

void pf_inproc_endpoint_collect(struct inproc_endpoint *self, unsigned budget)
{
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_ASKED && self->deadline && pf_now_ns() >= self->deadline)
        pf_inproc_link_fail(link, -ETIMEDOUT);
    if (link->state == LINK_UP && !self->connected) {
        self->connected = true;
        self->deadline = 0;
        pf_inproc_lane_event(lane_of(self), &self->connected_event, 0, 0);
    }
    if (link->state == LINK_UP)
        land_inbox(self, budget);
    take_finished(self);
    if (link->state == LINK_DOWN && !self->ended)
        collect_down(self);
    pthread_mutex_unlock(&link->lock);
}

bool pf_inproc_endpoint_ready(struct inproc_endpoint *self)
{
    struct link *link = self->link;
    struct side *side = &link->sides[self->me];
    pthread_mutex_lock(&link->lock);
    bool ready = !pf_list_empty(&side->finished);
    if (!pf_list_empty(&side->inbox))
        ready |=
            !pf_inproc_must_wait(self, pf_container_of(side->inbox.next, struct message, node));
    ready |= link->state == LINK_UP && !self->connected;
    ready |= link->state == LINK_DOWN && !self->ended;
    pthread_mutex_unlock(&link->lock);
    return ready || (self->deadline && pf_now_ns() >= self->deadline);
}

void pf_inproc_shutdown(struct pf_endpoint *endpoint)
{
    struct inproc_endpoint *self = pf_container_of(endpoint, struct inproc_endpoint, base);
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_UP && !self->hung_up) {
        struct side *peer = &link->sides[!self->me];
        pf_list_append(&peer->inbox, &self->bye.node);
        if (peer->lane)
            pf_inproc_lane_wake(peer->lane);
    } else if (link->state == LINK_ASKED) {
        pf_inproc_link_fail(link, -ECANCELED);
    }
    self->hung_up = true;
    pthread_mutex_unlock(&link->lock);
}

/* Events of the endpoint that are due: connection events go, operations forget the endpoint. */
static void detach_events(struct inproc_endpoint *self)
{
    pf_list_remove(&self->connected_event.link);
    pf_list_remove(&self->closed_event.link);
    pf_list_for_each (item, &lane_of(self)->events) {
        struct pf_op *op = pf_container_of(item, struct pf_op, link);
        if (op->endpoint == &self->base)
            op->endpoint = NULL;
    }
}

void pf_inproc_endpoint_close(struct pf_endpoint *endpoint)
{
    struct inproc_endpoint *self = pf_container_of(endpoint, struct inproc_endpoint, base);
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    pf_inproc_link_fail(link, -ECONNRESET);
    take_finished(self);
    link->sides[self->me].lane = NULL;
    pf_inproc_link_put(link);
    cancel_receives(self);
    detach_events(self);
    pf_list_remove(&self->on_lane);
    pf_inproc_lane_wake(lane_of(self));
    free(self->messages);
    free(self);
}
