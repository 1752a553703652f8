/* SPDX-License-Identifier: BSD-2-Clause */
/* Events of connections that the provider makes. */
#include "rdma/ofi/internal.h"

#include <string.h>

struct event {
    struct fi_eq_cm_entry entry;
    char data[PF_OFI_PARAM_MAX];
};

/*
 * Looked up and not taken from the fid's context: an event may have been written before its object
 * was closed.
 */
static struct pf_ofi_endpoint *find_endpoint(struct pf_ofi_lane *lane, const struct fid *fid)
{
    pf_list_for_each (item, &lane->endpoints) {
        struct pf_ofi_endpoint *endpoint = pf_container_of(item, struct pf_ofi_endpoint, link);
        if (endpoint->ep && &endpoint->ep->fid == fid)
            return endpoint;
    }
    return NULL;
}

static struct pf_ofi_listener *find_listener(struct pf_ofi_lane *lane, const struct fid *fid)
{
    pf_list_for_each (item, &lane->listeners) {
        struct pf_ofi_listener *listener = pf_container_of(item, struct pf_ofi_listener, link);
        if (&listener->pep->fid == fid)
            return listener;
    }
    return NULL;
}

/* Whoever does not speak our protocol, or comes after the listener was closed, is refused. */
static unsigned asked(struct pf_ofi_lane *lane, const struct event *event, size_t data_length)
{
    struct pf_ofi_listener *listener = find_listener(lane, event->entry.fid);
    struct pf_ofi_card card = {0};
    struct pf_ofi_request *request = NULL;
    if (listener && !listener->closed &&
        pf_ofi_hello_unpack((const char *)event->entry.data, data_length, &card) == 0)
        request = pf_ofi_request_new(listener);
    if (!request) {
        if (listener)
            fi_reject(listener->pep, event->entry.info->handle, NULL, 0);
        fi_freeinfo(event->entry.info);
        return 0;
    }
    request->info = event->entry.info;
    request->card = card;
    listener->listener.events->request(listener->listener.ctx, &request->request,
                                       request->card.data, request->card.data_length);
    return 1;
}

static unsigned connected(struct pf_ofi_lane *lane, const struct event *event, size_t data_length)
{
    struct pf_ofi_endpoint *endpoint = find_endpoint(lane, event->entry.fid);
    if (!endpoint || endpoint->state != PF_OFI_CONNECTING)
        return 0;
    /* Who accepts has the peer's card from the request. */
    if (!endpoint->peer_recv_size) {
        if (pf_ofi_hello_unpack((const char *)event->entry.data, data_length, &endpoint->answer)) {
            pf_ofi_endpoint_end(endpoint, -EPROTO);
            return 0;
        }
        endpoint->peer_recv_size = endpoint->answer.recv_size;
    }
    pf_ofi_endpoint_connected(endpoint);
    return 1;
}

static unsigned handle(struct pf_ofi_lane *lane, uint32_t what, const struct event *event,
                       size_t data_length)
{
    struct pf_ofi_endpoint *endpoint;
    switch (what) {
    case FI_CONNREQ:
        return asked(lane, event, data_length);
    case FI_CONNECTED:
        return connected(lane, event, data_length);
    case FI_SHUTDOWN:
        endpoint = find_endpoint(lane, event->entry.fid);
        if (endpoint)
            endpoint->hung_up = true;
        return 0;
    default:
        return 0;
    }
}

/* The data of a rejection is what the peer gave to pf_reject(). */
static void failed(struct pf_ofi_lane *lane)
{
    char data[PF_OFI_PARAM_MAX];
    struct fi_eq_err_entry error = {.err_data = data, .err_data_size = sizeof data};
    if (fi_eq_readerr(lane->eq, &error, 0) < 0)
        return;
    struct pf_ofi_endpoint *endpoint = find_endpoint(lane, error.fid);
    if (!endpoint)
        return;
    if (endpoint->state >= PF_OFI_CONNECTED) {
        endpoint->hung_up = true;
        return;
    }
    if (error.err_data && error.err_data_size &&
        pf_ofi_hello_unpack(error.err_data, error.err_data_size, &endpoint->answer) == 0)
        pf_ofi_endpoint_end(endpoint, -ECONNREFUSED);
    else
        pf_ofi_endpoint_end(endpoint, pf_ofi_error(error.err ? error.err : FI_ECONNREFUSED));
}

unsigned pf_ofi_eq_progress(struct pf_ofi_lane *lane)
{
    unsigned made = 0;
    for (;;) {
        struct event event;
        uint32_t what;
        ssize_t length = fi_eq_read(lane->eq, &what, &event, sizeof event, 0);
        if (length == -FI_EAVAIL)
            failed(lane);
        else if (length < (ssize_t)sizeof event.entry)
            return made;
        else
            made += handle(lane, what, &event, (size_t)length - sizeof event.entry);
    }
}
