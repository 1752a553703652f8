/* SPDX-License-Identifier: BSD-2-Clause */
/* What is asked of libfabric, and what the answer means for the device's capabilities. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>
#include <string.h>

#define WANTED_CAPS                                                                                \
    (FI_MSG | FI_SEND | FI_RECV | FI_RMA | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE)

/*
 * FI_MR_RAW is not offered: its keys may be longer than PF_RKEY_BYTES leaves room for, so a
 * provider that needs it is not chosen.
 */
#define OFFERED_MR_MODE                                                                            \
    (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT)

/*
 * Orderings are asked for, best first. The shm provider of libfabric 1.x needs the first line also
 * for safety: without a write ordering it writes into the peer by process_vm_writev() without
 * looking at the key, and could do so after the peer has closed its endpoint.
 */
static const uint64_t orders[] = {
    FI_ORDER_SAS | FI_ORDER_SAW | FI_ORDER_WAW | FI_ORDER_RAW,
    FI_ORDER_SAS | FI_ORDER_SAW | FI_ORDER_WAW,
    FI_ORDER_SAS,
};

static struct fi_info *make_hints(const char *provider, enum fi_ep_type type, uint64_t order)
{
    struct fi_info *hints = fi_allocinfo();
    if (!hints)
        return NULL;
    hints->caps = WANTED_CAPS;
    hints->mode = FI_CONTEXT | FI_CONTEXT2 | FI_RX_CQ_DATA;
    hints->ep_attr->type = type;
    hints->domain_attr->mr_mode = OFFERED_MR_MODE;
    /*
     * FI_THREAD_SAFE although each lane has its queues to itself: in the net provider (tcp from 2.0
     * on) whoever reads a queue moves all connections of the domain along and writes into the
     * queues of other lanes; a weaker model takes the locks of these queues away.
     */
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->tx_attr->msg_order = order;
    hints->rx_attr->msg_order = order;
    hints->fabric_attr->prov_name = strdup(provider);
    if (!hints->fabric_attr->prov_name) {
        fi_freeinfo(hints);
        return NULL;
    }
    return hints;
}

static int ask(const char *provider, enum fi_ep_type type, const char *node, const char *service,
               uint64_t flags, struct fi_info **info)
{
    int error = -FI_ENODATA;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct fi_info *hints = make_hints(provider, type, orders[i]);
        if (!hints)
            return -FI_ENOMEM;
        error = fi_getinfo(FI_VERSION(1, 17), node, service, flags, hints, info);
        fi_freeinfo(hints);
        if (error != -FI_ENODATA)
            break;
    }
    return error;
}

/* The provider's own addresses are the URI's only where it has connected endpoints. */
static int ask_type(const struct pf_uri *uri, enum fi_ep_type type, bool for_listen,
                    struct fi_info **info)
{
    const char *provider = strchr(uri->scheme, '+') + 1;
    bool addressed = type == FI_EP_MSG && uri->host[0];
    const char *service = addressed ? (uri->port[0] ? uri->port : "0") : NULL;
    return ask(provider, type, addressed ? uri->host : NULL, service,
               addressed && for_listen ? FI_SOURCE : 0, info);
}

/* The first entry that matches; the caller frees it. Later entries are other NICs. */
int pf_ofi_info_find(const struct pf_uri *uri, bool for_listen, struct fi_info **info,
                     struct pf_why *why)
{
    char wanted[8] = "";
    bool chosen = pf_uri_option(uri, "ep", wanted, sizeof wanted);
    int error = -FI_ENODATA;
    if (!chosen || strcmp(wanted, "msg") == 0)
        error = ask_type(uri, FI_EP_MSG, for_listen, info);
    if (error && (!chosen || strcmp(wanted, "rdm") == 0))
        error = ask_type(uri, FI_EP_RDM, for_listen, info);
    if (!error)
        return 0;
    pf_why(why, -ENODEV,
           "%s://%s: libfabric has no such provider here, or it can't use this address "
           "(%s): \"fi_info -l\" lists the providers, \"fi_info -p %s\" their NICs",
           uri->scheme, uri->host, fi_strerror(-error), strchr(uri->scheme, '+') + 1);
    return -ENODEV;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* can_sleep is found out by the device: only opening a queue tells. */
void pf_ofi_info_caps(const struct fi_info *info, struct pf_caps *caps)
{
    bool orders_writes = (info->tx_attr->msg_order & FI_ORDER_WAW) == FI_ORDER_WAW &&
                         (info->rx_attr->msg_order & FI_ORDER_WAW) == FI_ORDER_WAW;
    size_t depth = PF_OFI_MAX_DEPTH;
    /* Where each message and immediate needs a receive of the provider's, they are the limit. */
    if (info->mode & FI_RX_CQ_DATA)
        depth = smaller(depth, smaller(info->tx_attr->size, info->rx_attr->size) - PF_OFI_SPARE);
    *caps = (struct pf_caps){
        .max_message = smaller(info->ep_attr->max_msg_size, PF_OFI_MAX_MESSAGE),
        .max_registration = SIZE_MAX,
        .inline_size = smaller(info->tx_attr->inject_size, PF_OFI_INLINE),
        .max_gather = (unsigned)smaller(info->tx_attr->iov_limit, PF_OFI_GATHER),
        .imm_bits = 32,
        .max_depth = (unsigned)depth,
        .needs_pinning = (info->domain_attr->mr_mode & FI_MR_ALLOCATED) != 0,
        /* Some software providers call their progress automatic, though reads wait for it. */
        .remote_cpu = info->domain_attr->data_progress != FI_PROGRESS_AUTO ||
                      !(info->domain_attr->mr_mode & FI_MR_ALLOCATED),
    };
    caps->ordered_writes = orders_writes && info->ep_attr->max_order_waw_size >= caps->max_message;
}
