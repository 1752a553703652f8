/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/fault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fault_device *device_of(struct pf_lane *lane)
{
    return pf_container_of(lane->device, struct fault_device, base);
}

static struct pf_lane *inner_lane(struct pf_lane *lane)
{
    return pf_container_of(lane, struct fault_lane, base)->inner;
}

static void on_request(void *ctx, struct pf_request *inner, const void *data, size_t len)
{
    struct fault_listener *listener = ctx;
    struct fault_request *self = calloc(1, sizeof *self);
    if (!self) {
        pf_reject(inner, NULL, 0);
        return;
    }
    self->base.device = listener->base.lane->device;
    self->inner = inner;
    listener->base.events->request(listener->base.ctx, &self->base, data, len);
}

int pf_fault_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                    void *ctx, struct pf_listener **listener, struct pf_why *why)
{
    static const struct pf_listener_events own_events = {on_request};
    char inner_uri[FAULT_URI_BYTES];
    struct fault_plan plan;
    enum fault_kind kind;
    int err = pf_fault_parse(uri, inner_uri, &plan, why);
    if (err == 0)
        err = pf_fault_before(device_of(lane), "listening", &kind, why);
    if (err == 0 && kind == FAULT_CUT)
        err = pf_why(why, -EIO, "listening on %s failed: this was asked for with do=cut", uri);
    if (err)
        return err;
    struct fault_listener *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "listening on %s: out of memory", uri);
    self->base = (struct pf_listener){lane, events, ctx};
    err = pf_listen(inner_lane(lane), inner_uri, &own_events, self, &self->inner, why);
    if (err) {
        free(self);
        return err;
    }
    *listener = &self->base;
    return 0;
}

int pf_fault_listener_uri(struct pf_listener *listener, char *out, size_t size)
{
    struct fault_listener *self = pf_container_of(listener, struct fault_listener, base);
    char inner[FAULT_URI_BYTES];
    int err = pf_listener_uri(self->inner, inner, sizeof inner);
    if (err)
        return err;
    int length = snprintf(out, size, "fault+%s", inner);
    return length >= 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

void pf_fault_listener_close(struct pf_listener *listener)
{
    struct fault_listener *self = pf_container_of(listener, struct fault_listener, base);
    pf_listener_close(self->inner);
    free(self);
}

/* Private data, or a copy of it in room with one bit wrong. */
static const void *private_data(enum fault_kind kind, const void *data, size_t len,
                                uint8_t room[PF_PRIVATE_DATA_MAX])
{
    if (kind != FAULT_CORRUPT || len == 0 || len > PF_PRIVATE_DATA_MAX)
        return data;
    memcpy(room, data, len);
    room[len / 2] ^= 0x10;
    return room;
}

int pf_fault_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                     const void *data, size_t len, struct pf_endpoint **endpoint,
                     struct pf_why *why)
{
    char inner_uri[FAULT_URI_BYTES];
    uint8_t room[PF_PRIVATE_DATA_MAX];
    struct fault_plan plan;
    enum fault_kind kind;
    int err = pf_fault_parse(uri, inner_uri, &plan, why);
    if (err == 0)
        err = pf_fault_before(device_of(lane), "connecting", &kind, why);
    if (err)
        return err;
    struct fault_endpoint *self =
        pf_fault_endpoint_make(pf_container_of(lane, struct fault_lane, base), attr);
    if (!self)
        return pf_why(why, -ENOMEM, "connecting to %s: out of memory", uri);
    struct pf_endpoint_attr inner = pf_fault_endpoint_attr(self, attr);
    if (kind != FAULT_DROP)
        err = pf_connect(inner_lane(lane), inner_uri, &inner, private_data(kind, data, len, room),
                         len, &self->inner, why);
    if (err) {
        pf_fault_endpoint_free(self);
        return err;
    }
    if (kind == FAULT_CUT)
        pf_fault_sever(self, -ECONNRESET);
    if (kind == FAULT_DROP)
        pf_fault_sever(self, -ETIMEDOUT);
    *endpoint = &self->base;
    return 0;
}

int pf_fault_accept(struct pf_request *request, struct pf_lane *lane,
                    const struct pf_endpoint_attr *attr, const void *data, size_t len,
                    struct pf_endpoint **endpoint, struct pf_why *why)
{
    uint8_t room[PF_PRIVATE_DATA_MAX];
    enum fault_kind kind;
    int err = pf_fault_before(device_of(lane), "accepting", &kind, why);
    if (err) {
        pf_fault_reject(request, NULL, 0);
        return err;
    }
    struct fault_endpoint *self =
        pf_fault_endpoint_make(pf_container_of(lane, struct fault_lane, base), attr);
    if (!self) {
        pf_fault_reject(request, NULL, 0);
        return pf_why(why, -ENOMEM, "accepting: out of memory");
    }
    struct pf_endpoint_attr inner_attr = pf_fault_endpoint_attr(self, attr);
    struct fault_request *outer = pf_container_of(request, struct fault_request, base);
    if (kind == FAULT_DROP)
        self->unanswered = outer->inner;
    else
        err = pf_accept(outer->inner, inner_lane(lane), &inner_attr,
                        private_data(kind, data, len, room), len, &self->inner, why);
    free(outer);
    if (err) {
        pf_fault_endpoint_free(self);
        return err;
    }
    if (kind == FAULT_CUT)
        pf_fault_sever(self, -ECONNRESET);
    if (kind == FAULT_DROP)
        pf_fault_end(self, -ETIMEDOUT);
    *endpoint = &self->base;
    return 0;
}

void pf_fault_reject(struct pf_request *request, const void *data, size_t len)
{
    struct fault_request *self = pf_container_of(request, struct fault_request, base);
    pf_reject(self->inner, data, len);
    free(self);
}
