/* SPDX-License-Identifier: BSD-2-Clause */
/* Listeners, and the requests that they hand to the caller. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>

int pf_ofi_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                  void *ctx, struct pf_listener **listener, struct pf_why *why)
{
    struct pf_ofi_lane *at = pf_ofi_lane_of(lane);
    struct pf_ofi_listener *made = calloc(1, sizeof *made);
    if (!made)
        return pf_why(why, -ENOMEM, "listening on %s: out of memory", uri);
    made->listener = (struct pf_listener){.lane = lane, .events = events, .ctx = ctx};
    made->fd = -1;
    pf_list_init(&made->link);
    pf_list_init(&made->half_open);
    atomic_init(&made->requests, 0);
    int error = pf_uri_parse(uri, &made->uri, why);
    if (!error)
        error = pf_ofi_device_of(lane->device)->cm->listen(made, why);
    if (error) {
        free(made);
        return error;
    }
    pf_list_append(&at->listeners, &made->link);
    *listener = &made->listener;
    return 0;
}

int pf_ofi_listener_uri(struct pf_listener *listener, char *out, size_t size)
{
    return pf_uri_format(&pf_container_of(listener, struct pf_ofi_listener, listener)->uri, out,
                         size);
}

/* The provider rejects a request by its listener, so one with open requests stays, deaf. */
void pf_ofi_listener_close(struct pf_listener *listener)
{
    pf_container_of(listener, struct pf_ofi_listener, listener)->closed = true;
    pf_ofi_lane_reap(pf_ofi_lane_of(listener->lane));
}

bool pf_ofi_listener_idle(struct pf_ofi_listener *listener)
{
    return listener->closed && atomic_load(&listener->requests) == 0;
}

void pf_ofi_listener_free(struct pf_ofi_listener *listener)
{
    pf_ofi_device_of(listener->listener.lane->device)->cm->unlisten(listener);
    pf_list_remove(&listener->link);
    free(listener);
}

struct pf_ofi_request *pf_ofi_request_new(struct pf_ofi_listener *listener)
{
    struct pf_ofi_request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->request.device = listener->listener.lane->device;
    request->listener = listener;
    atomic_fetch_add(&listener->requests, 1);
    return request;
}

/* Any lane's thread. The listener may be freed by its own thread as soon as the count is down. */
void pf_ofi_request_free(struct pf_ofi_request *request)
{
    if (request->info)
        fi_freeinfo(request->info);
    if (request->side)
        pf_ofi_side_free(request->side);
    atomic_fetch_sub(&request->listener->requests, 1);
    free(request);
}

int pf_ofi_accept(struct pf_request *base, struct pf_lane *lane,
                  const struct pf_endpoint_attr *attr, const void *data, size_t len,
                  struct pf_endpoint **endpoint, struct pf_why *why)
{
    struct pf_ofi_request *request = pf_container_of(base, struct pf_ofi_request, request);
    const struct pf_ofi_cm *cm = pf_ofi_device_of(lane->device)->cm;
    struct pf_ofi_endpoint *made = NULL;
    int error = -EINVAL;
    if (len > PF_PRIVATE_DATA_MAX)
        pf_why(why, error, "%zu bytes of private data: at most %d travel along", len,
               PF_PRIVATE_DATA_MAX);
    else
        error = pf_ofi_endpoint_new(lane, attr, &made, why);
    if (!error) {
        made->peer_recv_size = request->card.recv_size;
        error = cm->accept(request, made, data, len, why);
    }
    if (error) {
        if (made)
            pf_ofi_endpoint_free(made);
        cm->reject(request, NULL, 0);
    } else {
        *endpoint = &made->endpoint;
    }
    pf_ofi_request_free(request);
    return error;
}

void pf_ofi_reject(struct pf_request *base, const void *data, size_t len)
{
    struct pf_ofi_request *request = pf_container_of(base, struct pf_ofi_request, request);
    size_t sent = len <= PF_PRIVATE_DATA_MAX ? len : PF_PRIVATE_DATA_MAX;
    pf_ofi_device_of(base->device)->cm->reject(request, data, sent);
    pf_ofi_request_free(request);
}
