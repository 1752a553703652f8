/* SPDX-License-Identifier: BSD-2-Clause */
/* A device stands for the host's TCP: registrations, and what its URI's host resolved to. */
#ifndef PF_TRANSPORT_TCP_DEVICE_H
#define PF_TRANSPORT_TCP_DEVICE_H

#include "transport/tcp/address.h"
#include "transport/tcp/mr.h"

struct pf_tcp_device {
    struct pf_device base;
    struct pf_tcp_mr_table table;
    char host[sizeof((struct pf_uri *)0)->host]; /* of the URI that it was opened with */
    struct pf_tcp_addresses peer;                /* what that is; count 0 when listening */
};

static inline struct pf_tcp_device *pf_tcp_device(struct pf_device *device)
{
    return (struct pf_tcp_device *)device;
}

int pf_tcp_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
int pf_tcp_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                       struct pf_why *why);
void pf_tcp_device_close(struct pf_device *device);

/* The addresses that a URI's host stands for; does not block for the host the device knows. */
int pf_tcp_device_resolve(const struct pf_tcp_device *device, const char *host,
                          struct pf_tcp_addresses *out, struct pf_why *why);

#endif
