/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"
#include "transport/uri.h"

#include <stdlib.h>
#include <string.h>

static const struct pf_caps inproc_caps = {
    /* A message is copied in one go under the link's lock: this bounds how long a peer may wait. */
    .max_message = 4u << 20,
    .max_registration = SIZE_MAX,
    .inline_size = INPROC_INLINE_BYTES,
    .max_gather = INPROC_MAX_GATHER,
    .imm_bits = 32,
    .max_depth = 4096,
    .needs_pinning = false,
    .can_sleep = true,
    .remote_cpu = true,
    .ordered_writes = true,
};

int pf_inproc_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why)
{
    struct pf_uri uri;
    int err = pf_uri_parse(attr->uri, &uri, why);
    if (err)
        return err;
    if (strcmp(uri.scheme, pf_inproc_transport.scheme) != 0)
        return pf_why(why, -EINVAL, "opening an in-process device: \"%s\" is not inproc://NAME",
                      attr->uri);
    *caps = inproc_caps;
    return 0;
}

int pf_inproc_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                          struct pf_why *why)
{
    struct pf_caps caps;
    int err = pf_inproc_query(attr, &caps, why);
    if (err)
        return err;
    struct inproc_device *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "opening %s: out of memory", attr->uri);
    self->base = (struct pf_device){.transport = &pf_inproc_transport, .caps = caps};
    pthread_mutex_init(&self->lock, NULL);
    *device = &self->base;
    return 0;
}

void pf_inproc_device_close(struct pf_device *device)
{
    struct inproc_device *self = pf_container_of(device, struct inproc_device, base);
    pthread_mutex_destroy(&self->lock);
    free(self->table);
    free(self);
}
