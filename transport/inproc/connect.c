/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/inproc/internal.h"
#include "transport/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t connect_timeout_ns = 5000000000ull;

static void keep_private_data(struct private_data *keep, const void *data, size_t len)
{
    keep->len = len <= PF_PRIVATE_DATA_MAX ? len : PF_PRIVATE_DATA_MAX;
    if (keep->len)
        memcpy(keep->bytes, data, keep->len);
}

static int check_private_data(size_t len, struct pf_why *why)
{
    if (len <= PF_PRIVATE_DATA_MAX)
        return 0;
    return pf_why(why, -EINVAL, "connecting: %zu bytes of private data given, at most %d travel",
                  len, PF_PRIVATE_DATA_MAX);
}

static int parse(const char *text, struct pf_uri *uri, struct pf_why *why)
{
    int err = pf_uri_parse(text, uri, why);
    if (err == 0 && strcmp(uri->scheme, pf_inproc_transport.scheme) != 0)
        err =
            pf_why(why, -EINVAL, "\"%s\" is not an in-process address: write inproc://NAME", text);
    return err;
}

static void deliver_request(struct pf_op *op, int status, size_t bytes)
{
    (void)status;
    (void)bytes;
    struct inproc_listener *self = pf_container_of(op, struct inproc_listener, request_event);
    struct inproc_request *request = pf_inproc_next_request(self);
    if (!request)
        return;
    /* The asker may be gone and the request answered before the call returns: copy. */
    struct private_data data = request->link->question;
    self->base.events->request(self->base.ctx, &request->base, data.bytes, data.len);
}

int pf_inproc_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                     void *ctx, struct pf_listener **listener, struct pf_why *why)
{
    struct pf_uri parts;
    int err = parse(uri, &parts, why);
    if (err)
        return err;
    struct inproc_listener *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "listening on %s: out of memory", uri);
    self->base = (struct pf_listener){lane, events, ctx};
    memcpy(self->name, parts.host, sizeof self->name);
    pf_list_init(&self->published);
    pf_list_init(&self->requests);
    self->request_event.done = deliver_request;
    pf_list_init(&self->request_event.link);
    err = pf_inproc_publish(self);
    if (err) {
        free(self);
        return pf_why(why, err, "listening on %s: that name is taken in this process; use another",
                      uri);
    }
    pf_list_append(&pf_container_of(lane, struct inproc_lane, base)->listeners, &self->on_lane);
    *listener = &self->base;
    return 0;
}

int pf_inproc_listener_uri(struct pf_listener *listener, char *out, size_t size)
{
    struct inproc_listener *self = pf_container_of(listener, struct inproc_listener, base);
    int length = snprintf(out, size, "%s://%s", pf_inproc_transport.scheme, self->name);
    return length >= 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

void pf_inproc_listener_close(struct pf_listener *listener)
{
    struct inproc_listener *self = pf_container_of(listener, struct inproc_listener, base);
    pf_list_remove(&self->on_lane);
    pf_list_remove(&self->request_event.link);
    pf_inproc_withdraw(self);
    free(self);
}

/* Leave the request with the listener of that name, or fail the link: closed() will tell. */
static void ask(const char *name, struct inproc_request *request)
{
    struct link *link = request->link;
    pthread_mutex_lock(&link->lock);
    link->holders++;
    pthread_mutex_unlock(&link->lock);
    if (!pf_inproc_ask(name, request))
        pf_inproc_reject(&request->base, NULL, 0);
}

int pf_inproc_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                      const void *data, size_t len, struct pf_endpoint **endpoint,
                      struct pf_why *why)
{
    struct pf_uri parts;
    int err = parse(uri, &parts, why);
    if (err == 0)
        err = check_private_data(len, why);
    if (err)
        return err;
    struct inproc_request *request = calloc(1, sizeof *request);
    struct link *link = pf_inproc_link_make();
    if (!request || !link) {
        err = pf_why(why, -ENOMEM, "connecting to %s: out of memory", uri);
        goto free_parts;
    }
    request->link = link;
    keep_private_data(&link->question, data, len);
    struct inproc_endpoint *self;
    struct inproc_lane *own_lane = pf_container_of(lane, struct inproc_lane, base);
    err = pf_inproc_endpoint_make(own_lane, attr, link, SIDE_CONNECTING, &self, why);
    if (err)
        goto free_parts;
    self->deadline = pf_now_ns() + connect_timeout_ns;
    pf_inproc_lane_wake_at(own_lane, self->deadline);
    ask(parts.host, request);
    *endpoint = &self->base;
    return 0;

free_parts:
    free(link);
    free(request);
    return err;
}

int pf_inproc_accept(struct pf_request *request, struct pf_lane *lane,
                     const struct pf_endpoint_attr *attr, const void *data, size_t len,
                     struct pf_endpoint **endpoint, struct pf_why *why)
{
    struct inproc_request *self = pf_container_of(request, struct inproc_request, base);
    struct inproc_endpoint *made;
    int err = check_private_data(len, why);
    if (err == 0 && lane->device != request->device)
        err = pf_why(why, -EINVAL, "accepting: the lane is of another device than the listener");
    if (err == 0)
        err = pf_inproc_endpoint_make(pf_container_of(lane, struct inproc_lane, base), attr,
                                      self->link, SIDE_ACCEPTING, &made, why);
    if (err) {
        pf_inproc_reject(request, NULL, 0);
        return err;
    }
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_ASKED) {
        link->state = LINK_UP;
        keep_private_data(&link->answer, data, len);
    }
    for (unsigned i = 0; i < SIDES; i++)
        if (link->sides[i].lane)
            pf_inproc_lane_wake(link->sides[i].lane);
    pf_inproc_link_put(link); /* the request's hold; the endpoint has its own */
    free(self);
    *endpoint = &made->base;
    return 0;
}

void pf_inproc_reject(struct pf_request *request, const void *data, size_t len)
{
    struct inproc_request *self = pf_container_of(request, struct inproc_request, base);
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_ASKED) {
        keep_private_data(&link->answer, data, len);
        pf_inproc_link_fail(link, -ECONNREFUSED);
    }
    pf_inproc_link_put(link);
    free(self);
}
