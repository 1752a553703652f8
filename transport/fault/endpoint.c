/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/fault/internal.h"

#include <stdlib.h>

static void on_connected(void *ctx, struct pf_endpoint *inner, const void *data, size_t len)
{
    struct fault_endpoint *self = ctx;
    (void)inner;
    self->connected = true;
    self->base.events->connected(self->base.ctx, &self->base, data, len);
}

static void on_closed(void *ctx, struct pf_endpoint *inner, int status, const void *data,
                      size_t len)
{
    struct fault_endpoint *self = ctx;
    (void)inner;
    self->ended = true;
    self->base.events->closed(self->base.ctx, &self->base, status, data, len);
}

static void call_closed(struct pf_op *op, int status, size_t bytes)
{
    struct fault_endpoint *self = pf_container_of(op, struct fault_endpoint, closed_event);
    (void)bytes;
    self->base.events->closed(self->base.ctx, &self->base, status, NULL, 0);
}

struct pf_endpoint_attr pf_fault_endpoint_attr(struct fault_endpoint *endpoint,
                                               const struct pf_endpoint_attr *attr)
{
    static const struct pf_endpoint_events events = {on_connected, on_closed};
    struct pf_endpoint_attr inner = *attr;
    inner.events = &events;
    inner.ctx = endpoint;
    return inner;
}

struct fault_endpoint *pf_fault_endpoint_make(struct fault_lane *lane,
                                              const struct pf_endpoint_attr *attr)
{
    struct fault_endpoint *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->base = (struct pf_endpoint){&lane->base, attr->events, attr->ctx};
    self->room = attr->send_depth + attr->recv_depth;
    self->closed_event.done = call_closed;
    pf_list_init(&self->closed_event.link);
    pf_list_init(&self->waiting);
    pf_list_init(&self->lost);
    pf_list_append(&lane->endpoints, &self->on_lane);
    return self;
}

void pf_fault_endpoint_free(struct fault_endpoint *endpoint)
{
    pf_list_remove(&endpoint->on_lane);
    free(endpoint);
}

static struct fault_lane *lane_of(struct fault_endpoint *self)
{
    return pf_container_of(self->base.lane, struct fault_lane, base);
}

/* Close the inner endpoint; what only this back end knows of ends too. */
static void cut_off(struct fault_endpoint *self)
{
    struct pf_list *item;
    if (self->inner)
        pf_endpoint_close(self->inner);
    self->inner = NULL;
    if (self->unanswered)
        pf_reject(self->unanswered, NULL, 0);
    self->unanswered = NULL;
    pf_fault_wait_cancel(self);
    while ((item = pf_list_pop(&self->lost)))
        pf_fault_event(lane_of(self), pf_container_of(item, struct pf_op, link), -ECANCELED, 0);
}

void pf_fault_sever(struct fault_endpoint *endpoint, int status)
{
    cut_off(endpoint);
    pf_fault_end(endpoint, status);
}

void pf_fault_end(struct fault_endpoint *endpoint, int status)
{
    if (endpoint->ended)
        return;
    endpoint->ended = true;
    pf_fault_event(lane_of(endpoint), &endpoint->closed_event, status, 0);
    pf_fault_wake_at(lane_of(endpoint), 1);
}

void pf_fault_shutdown(struct pf_endpoint *endpoint)
{
    struct fault_endpoint *self = pf_container_of(endpoint, struct fault_endpoint, base);
    self->hung_up = true;
    if (!self->inner)
        pf_fault_sever(self, 0);
    else if (pf_list_empty(&self->waiting))
        pf_shutdown(self->inner);
    /* else after the last that waits */
}

void pf_fault_endpoint_close(struct pf_endpoint *endpoint)
{
    struct fault_endpoint *self = pf_container_of(endpoint, struct fault_endpoint, base);
    cut_off(self);
    pf_list_remove(&self->closed_event.link);
    pf_fault_wake_at(lane_of(self), 1);
    pf_fault_endpoint_free(self);
}
