/* SPDX-License-Identifier: BSD-2-Clause */
/* The provider's objects behind an endpoint: queue, address vector, endpoint. */
#include "rdma/ofi/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static int open_queue(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_device *device = endpoint->device;
    struct fi_cq_attr attr = {
        .format = FI_CQ_FORMAT_DATA,
        .wait_obj = device->device.caps.can_sleep ? FI_WAIT_FD : FI_WAIT_NONE,
        .size = (size_t)endpoint->send_depth + endpoint->recv_depth + 2 * (size_t)PF_OFI_SPARE,
    };
    int error = fi_cq_open(device->domain, &attr, &endpoint->cq, endpoint);
    if (error)
        return error;
    return pf_ofi_sleep_watch_fid(pf_ofi_lane_of(endpoint->endpoint.lane), &endpoint->cq->fid);
}

/* Each endpoint has one peer, and so an address vector of its own: lanes share none. */
static int open_addresses(struct pf_ofi_endpoint *endpoint)
{
    struct fi_av_attr attr = {.type = endpoint->device->info->domain_attr->av_type, .count = 1};
    int error = fi_av_open(endpoint->device->domain, &attr, &endpoint->av, NULL);
    if (error)
        return error;
    return fi_ep_bind(endpoint->ep, &endpoint->av->fid, 0);
}

/*
 * The shm provider takes a string as the endpoint's name and the name of its region in /dev/shm.
 * Left to itself it derives both from the process id, and two endpoints get the same.
 */
static int choose_name(struct pf_ofi_endpoint *endpoint, struct fi_info *info)
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return -FI_EIO;
    snprintf(endpoint->name, sizeof endpoint->name, "fi_ns://pageferry-%ld-%016llx%016llx",
             (long)getpid(), (unsigned long long)random[0], (unsigned long long)random[1]);
    free(info->src_addr);
    info->src_addr = strdup(endpoint->name);
    info->src_addrlen = strlen(endpoint->name) + 1;
    return info->src_addr ? 0 : -FI_ENOMEM;
}

/* Hardware queues are as deep as the caller needs; the software providers' don't matter. */
static void set_depths(const struct pf_ofi_endpoint *endpoint, struct fi_info *info)
{
    if (!endpoint->device->imm_takes_rx)
        return;
    info->tx_attr->size = endpoint->send_depth + PF_OFI_SPARE;
    info->rx_attr->size = endpoint->recv_depth + PF_OFI_SPARE;
}

static int open_endpoint(struct pf_ofi_endpoint *endpoint, struct fi_info *info)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(endpoint->endpoint.lane);
    int error = 0;
    set_depths(endpoint, info);
    if (endpoint->device->local)
        error = choose_name(endpoint, info);
    if (!error)
        error = fi_endpoint(endpoint->device->domain, info, &endpoint->ep, endpoint);
    if (!error)
        error = fi_ep_bind(endpoint->ep, &endpoint->cq->fid, FI_TRANSMIT | FI_RECV);
    if (error)
        return error;
    if (endpoint->device->cm->type == FI_EP_MSG)
        return fi_ep_bind(endpoint->ep, &lane->eq->fid, 0);
    return open_addresses(endpoint);
}

/* On failure what was opened is closed by pf_ofi_resources_close(). */
int pf_ofi_resources_open(struct pf_ofi_endpoint *endpoint, struct fi_info *info,
                          struct pf_why *why)
{
    int error = open_queue(endpoint);
    if (!error)
        error = open_endpoint(endpoint, info);
    if (!error)
        error = fi_enable(endpoint->ep);
    if (error)
        return pf_why(why, pf_ofi_error(error), "opening an endpoint of libfabric's %s: %s",
                      info->fabric_attr->prov_name, fi_strerror(-error));
    error = pf_ofi_receive_open(endpoint);
    if (error)
        return pf_why(why, error, "receive buffers for %u messages of %zu bytes: %s",
                      endpoint->recv_depth, endpoint->recv_size, strerror(-error));
    pf_ofi_receive_post(endpoint);
    return 0;
}

/* The endpoint first: from then on the provider touches neither queue nor memory. */
void pf_ofi_resources_close(struct pf_ofi_endpoint *endpoint)
{
    if (endpoint->ep)
        fi_close(&endpoint->ep->fid);
    if (endpoint->buffers_mr)
        fi_close(&endpoint->buffers_mr->fid);
    if (endpoint->cq) {
        pf_ofi_sleep_forget_fid(pf_ofi_lane_of(endpoint->endpoint.lane), &endpoint->cq->fid);
        fi_close(&endpoint->cq->fid);
    }
    if (endpoint->av)
        fi_close(&endpoint->av->fid);
    endpoint->ep = NULL;
    endpoint->buffers_mr = NULL;
    endpoint->cq = NULL;
    endpoint->av = NULL;
}
