/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESOLVE_MS = 3000, PORT_ANY = 0 };

/* librdmacm complains on standard error if there is no device; asking first keeps it quiet. */
static int require_rdma(struct pf_why *why)
{
    int count = 0;
    struct ibv_device **list = ibv_get_device_list(&count);
    if (list)
        ibv_free_device_list(list);
    if (count == 0)
        return pf_why(why, -ENODEV,
                      "no RDMA device on this host: load its driver, or make a soft-RoCE device "
                      "(modprobe rdma_rxe; rdma link add rxe0 type rxe netdev NETDEV)");
    return 0;
}

static int create_id(struct pf_verbs_device *device, struct pf_why *why)
{
    errno = 0;
    if (rdma_create_id(NULL, &device->id, NULL, RDMA_PS_TCP) == 0)
        return 0;
    int rc = pf_verbs_errno(-1);
    if (rc == -EACCES || rc == -EPERM)
        return pf_why(why, -EPERM,
                      "opening /dev/infiniband/rdma_cm: not allowed for this user; give it read "
                      "and write access (group rdma in most distributions)");
    return pf_why(why, rc == -ENOENT ? -ENODEV : rc,
                  "opening the RDMA connection manager: %s; is the module rdma_ucm loaded?",
                  strerrordesc_np(-rc));
}

/* Where we are to be reached: the URI's host, or any address of an RDMA device. */
static int bind_local(struct pf_verbs_device *device, const struct pf_uri *uri, struct pf_why *why)
{
    char text[PF_VERBS_ADDRESS_TEXT];
    int rc = pf_verbs_host_is_any(uri->host) ? pf_verbs_first_local(&device->local, why)
                                             : pf_verbs_resolve(uri->host, "", &device->local, why);
    if (rc != 0)
        return rc;
    pf_verbs_set_port(&device->local, PORT_ANY);
    if (rdma_bind_addr(device->id, (struct sockaddr *)&device->local) != 0 || !device->id->verbs)
        return pf_why(why, -ENODEV,
                      "%s is not an address of an RDMA device of this host: `rdma link` names "
                      "their network interfaces, `ip address` the addresses",
                      pf_verbs_address_text(&device->local, text));
    return 0;
}

/* The device that the route to the URI's host leads through. */
static int bind_towards(struct pf_verbs_device *device, const struct pf_uri *uri,
                        struct pf_why *why)
{
    int rc = pf_verbs_resolve(uri->host, "", &device->peer, why);
    if (rc != 0)
        return rc;
    errno = 0;
    if (rdma_resolve_addr(device->id, NULL, (struct sockaddr *)&device->peer, RESOLVE_MS) != 0 ||
        !device->id->verbs)
        return pf_why(why, -ENODEV,
                      "no RDMA device of this host leads to %s (%s): `ip route get` shows the "
                      "interface, `rdma link` those with RDMA",
                      uri->host, errno ? strerrordesc_np(errno) : "another kind of interface");
    memcpy(&device->local, rdma_get_local_addr(device->id),
           device->peer.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                              : sizeof(struct sockaddr_in));
    pf_verbs_set_port(&device->local, PORT_ANY);
    snprintf(device->peer_host, sizeof device->peer_host, "%s", uri->host);
    return 0;
}

/* The one way to learn what a queue pair takes inline, and beside how long a gather list. */
static int probe_queue_pair(struct pf_verbs_device *device, unsigned gather, unsigned inline_size)
{
    struct ibv_cq *cq = ibv_create_cq(device->context, 2, NULL, NULL, 0);
    if (!cq)
        return pf_verbs_errno(-1);
    struct ibv_qp_init_attr attr = {
        .send_cq = cq,
        .recv_cq = cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 1,
                .max_recv_wr = 1,
                .max_send_sge = gather,
                .max_recv_sge = 1,
                .max_inline_data = inline_size},
    };
    struct ibv_qp *qp = ibv_create_qp(device->pd, &attr);
    int rc = qp ? 0 : pf_verbs_errno(-1);
    if (qp) {
        device->base.caps.max_gather = gather;
        device->base.caps.inline_size = attr.cap.max_inline_data;
        ibv_destroy_qp(qp);
    }
    ibv_destroy_cq(cq);
    return rc;
}

static int choose_queue_pair(struct pf_verbs_device *device, unsigned max_sge)
{
    unsigned gather = max_sge < PF_VERBS_GATHER ? max_sge : PF_VERBS_GATHER;
    int rc = probe_queue_pair(device, gather, PF_VERBS_INLINE);
    if (rc != 0)
        rc = probe_queue_pair(device, gather, PF_VERBS_INLINE / 2);
    if (rc != 0)
        rc = probe_queue_pair(device, gather < 4 ? gather : 4, PF_VERBS_INLINE / 2);
    return rc;
}

static uint8_t reads_limit(int device_limit)
{
    enum { ENOUGH = 16 };
    return (uint8_t)(device_limit < 1 ? 1 : device_limit < ENOUGH ? device_limit : ENOUGH);
}

static int read_limits(struct pf_verbs_device *device, struct pf_why *why)
{
    struct ibv_device_attr attr;
    struct ibv_port_attr port;
    const char *name = ibv_get_device_name(device->context->device);
    int rc = ibv_query_device(device->context, &attr);
    if (rc == 0)
        rc = ibv_query_port(device->context, device->id->port_num, &port);
    if (rc != 0)
        return pf_why(why, -rc, "asking %s for its limits: %s", name, strerrordesc_np(rc));

    snprintf(device->base.nic.name, sizeof device->base.nic.name, "%s", name);
    device->max_cqe = (unsigned)attr.max_cqe;
    device->reads_out = reads_limit(attr.max_qp_init_rd_atom);
    device->reads_in = reads_limit(attr.max_qp_rd_atom);
    device->base.caps = (struct pf_caps){
        .max_message = port.max_msg_sz,
        .max_registration = attr.max_mr_size,
        .imm_bits = 32,
        .max_depth = (unsigned)attr.max_qp_wr - 1, /* one is the endpoint's own */
        .needs_pinning = true,
        .can_sleep = true,
        /*
         * A reliable connection carries out the requests of a send queue in order at the
         * responder, and memory is registered without relaxed ordering: when a later immediate
         * completes there, the data of every write before it is visible.
         */
        .ordered_writes = true,
    };
    rc = choose_queue_pair(device, (unsigned)attr.max_sge);
    if (rc != 0)
        return pf_why(why, rc, "creating a queue pair on %s: %s", name, strerrordesc_np(-rc));
    return 0;
}

static int use_context(struct pf_verbs_device *device, struct pf_why *why)
{
    device->context = device->id->verbs;
    int flags = fcntl(device->context->async_fd, F_GETFL);
    if (flags < 0 || fcntl(device->context->async_fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return pf_why(why, -errno, "making the device's event descriptor non-blocking: %m");
    device->pd = ibv_alloc_pd(device->context);
    if (!device->pd)
        return pf_why(why, pf_verbs_errno(-1), "allocating a protection domain on %s: %m",
                      ibv_get_device_name(device->context->device));
    return read_limits(device, why);
}

int pf_verbs_device_open(const struct pf_device_attr *attr, struct pf_device **out,
                         struct pf_why *why)
{
    struct pf_uri uri;
    int rc = pf_uri_parse(attr->uri, &uri, why);
    if (rc != 0)
        return rc;
    rc = require_rdma(why);
    if (rc != 0)
        return rc;
    struct pf_verbs_device *device = calloc(1, sizeof *device);
    if (!device)
        return pf_why(why, -ENOMEM, "out of memory");
    pthread_mutex_init(&device->lock, NULL);
    pf_list_init(&device->lanes);
    pf_list_init(&device->endpoints);
    device->base.transport = &pf_verbs_transport;

    rc = create_id(device, why);
    if (rc == 0)
        rc = attr->for_listen || pf_verbs_host_is_any(uri.host) ? bind_local(device, &uri, why)
                                                                : bind_towards(device, &uri, why);
    if (rc == 0)
        rc = use_context(device, why);
    if (rc != 0) {
        pf_verbs_device_close(&device->base);
        return rc;
    }
    *out = &device->base;
    return 0;
}

void pf_verbs_device_close(struct pf_device *base)
{
    struct pf_verbs_device *device = pf_verbs_device(base);
    if (device->pd)
        ibv_dealloc_pd(device->pd);
    if (device->id)
        rdma_destroy_id(device->id);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

int pf_verbs_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why)
{
    struct pf_device *device = NULL;
    int rc = pf_verbs_device_open(attr, &device, why);
    if (!device)
        return rc;
    *caps = device->caps;
    pf_verbs_device_close(device);
    return 0;
}
