/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections made by the provider (FI_EP_MSG): tcp, net, verbs. Their events are in eq.c. */
#include "rdma/ofi/internal.h"

#include <netinet/in.h>

static int cannot_listen(const struct pf_uri *uri, int error, struct pf_why *why)
{
    return pf_why(why, pf_ofi_error(error), "listening on %s://%s:%s: %s", uri->scheme, uri->host,
                  uri->port, fi_strerror(-error));
}

static int bound_uri(struct pf_ofi_listener *listener)
{
    struct sockaddr_storage address;
    size_t length = sizeof address;
    int error = fi_getname(&listener->pep->fid, &address, &length);
    return error ? error : pf_ofi_address_uri(&address, &listener->uri);
}

static int start_listening(struct pf_ofi_listener *listener)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(listener->listener.lane);
    int error = fi_pep_bind(listener->pep, &lane->eq->fid, 0);
    if (!error)
        error = fi_listen(listener->pep);
    return error ? error : bound_uri(listener);
}

static int msg_listen(struct pf_ofi_listener *listener, struct pf_why *why)
{
    struct pf_ofi_device *device = pf_ofi_device_of(listener->listener.lane->device);
    struct fi_info *info = fi_dupinfo(device->info);
    if (!info)
        return -ENOMEM;
    int error = pf_ofi_address_source(info, &listener->uri, why);
    if (error) {
        fi_freeinfo(info);
        return error;
    }
    error = fi_passive_ep(device->fabric, info, &listener->pep, listener);
    fi_freeinfo(info);
    if (error)
        return cannot_listen(&listener->uri, error, why);
    error = start_listening(listener);
    if (error) {
        fi_close(&listener->pep->fid);
        return cannot_listen(&listener->uri, error, why);
    }
    return 0;
}

static void msg_unlisten(struct pf_ofi_listener *listener)
{
    fi_close(&listener->pep->fid);
}

/* What connect() itself finds out is reported like what it finds out later: by closed(). */
static int msg_connect(struct pf_ofi_endpoint *endpoint, const struct pf_uri *uri, const void *data,
                       size_t length, struct pf_why *why)
{
    char param[PF_OFI_PARAM_MAX];
    struct fi_info *info = fi_dupinfo(endpoint->device->info);
    if (!info)
        return -ENOMEM;
    int error = pf_ofi_address_target(info, uri, why);
    if (!error) {
        pf_ofi_address_any_port(info);
        error = pf_ofi_resources_open(endpoint, info, why);
    }
    if (!error) {
        size_t used = pf_ofi_hello_pack(endpoint->recv_size, data, length, param);
        int refused = fi_connect(endpoint->ep, info->dest_addr, param, used);
        if (refused)
            pf_ofi_endpoint_end(endpoint, pf_ofi_error(refused));
    }
    fi_freeinfo(info);
    return error;
}

/* The request's info carries the handle that ties the endpoint to the connection. */
static int msg_accept(struct pf_ofi_request *request, struct pf_ofi_endpoint *endpoint,
                      const void *data, size_t length, struct pf_why *why)
{
    char param[PF_OFI_PARAM_MAX];
    int error = pf_ofi_resources_open(endpoint, request->info, why);
    if (error)
        return error;
    size_t used = pf_ofi_hello_pack(endpoint->recv_size, data, length, param);
    error = fi_accept(endpoint->ep, param, used);
    return error
               ? pf_why(why, pf_ofi_error(error), "accepting a connection: %s", fi_strerror(-error))
               : 0;
}

static void msg_reject(struct pf_ofi_request *request, const void *data, size_t length)
{
    char param[PF_OFI_PARAM_MAX];
    size_t used = pf_ofi_hello_pack(0, data, length, param);
    fi_reject(request->listener->pep, request->info->handle, param, used);
}

const struct pf_ofi_cm pf_ofi_cm_msg = {
    .type = FI_EP_MSG,
    .listen = msg_listen,
    .unlisten = msg_unlisten,
    .connect = msg_connect,
    .accept = msg_accept,
    .reject = msg_reject,
};
