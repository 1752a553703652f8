/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/device.h"

#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"
#include "transport/tcp/wire.h"

#include <stdlib.h>
#include <string.h>

static const struct pf_caps tcp_caps = {
    .max_message = PF_TCP_MAX_MESSAGE,
    .max_registration = SIZE_MAX / 2,
    .inline_size = PF_TCP_INLINE,
    .max_gather = PF_TCP_GATHER,
    .imm_bits = 32,
    .max_depth = PF_TCP_MAX_DEPTH,
    .needs_pinning = false,
    .can_sleep = true,
    .remote_cpu = true,
    .ordered_writes = true,
};

int pf_tcp_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why)
{
    struct pf_uri uri;
    int status = pf_uri_parse(attr->uri, &uri, why);
    if (status == 0)
        *caps = tcp_caps;
    return status;
}

/* Listening: only looked up, so that a name that is none of ours is told early. */
static int resolve_host(struct pf_tcp_device *device, const char *host, bool for_listen,
                        struct pf_why *why)
{
    int status = pf_tcp_resolve(host, for_listen, &device->peer, why);
    if (for_listen)
        device->peer.count = 0;
    memcpy(device->host, host, sizeof device->host);
    return status;
}

int pf_tcp_device_open(const struct pf_device_attr *attr, struct pf_device **out,
                       struct pf_why *why)
{
    struct pf_uri uri;
    int status = pf_uri_parse(attr->uri, &uri, why);
    if (status)
        return status;
    struct pf_tcp_device *device = calloc(1, sizeof *device);
    if (!device)
        return pf_why(why, -ENOMEM, "opening the tcp device: out of memory");
    device->base = (struct pf_device){.transport = &pf_tcp_transport, .caps = tcp_caps};
    status = resolve_host(device, uri.host, attr->for_listen, why);
    if (status)
        goto free_device;
    status = pf_tcp_mr_table_init(&device->table);
    if (status) {
        pf_why(why, status, "opening the tcp device: its table of registrations: %s",
               strerrordesc_np(-status));
        goto free_device;
    }
    *out = &device->base;
    return 0;

free_device:
    free(device);
    return status;
}

void pf_tcp_device_close(struct pf_device *base)
{
    struct pf_tcp_device *device = pf_tcp_device(base);
    pf_tcp_mr_table_fini(&device->table);
    free(device);
}

int pf_tcp_device_resolve(const struct pf_tcp_device *device, const char *host,
                          struct pf_tcp_addresses *out, struct pf_why *why)
{
    if (device->peer.count > 0 && strcmp(host, device->host) == 0) {
        *out = device->peer;
        return 0;
    }
    return pf_tcp_resolve(host, false, out, why);
}
