/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "transport/fault/internal.h"

#include <stdlib.h>
#include <string.h>

/* The inner back end and the attributes to open it with; uri is the room for its name. */
static int look_up(const struct pf_device_attr *attr, struct pf_device_attr *inner,
                   char uri[FAULT_URI_BYTES], const struct pf_transport **transport,
                   struct fault_plan *plan, struct pf_why *why)
{
    int err = pf_fault_parse(attr->uri, uri, plan, why);
    if (err)
        return err;
    *inner = *attr;
    inner->uri = uri;
    *transport = attr->transports ? pf_transport_find(attr->transports, uri) : NULL;
    if (*transport)
        return 0;
    pf_why(why, -EINVAL,
           "opening \"%s\": this build has no transport for \"%s\"; pageferry probe lists those it "
           "has",
           attr->uri, uri);
    return -EINVAL;
}

static void change_caps(const struct fault_plan *plan, struct pf_caps *caps)
{
    caps->needs_pinning |= plan->pins != 0;
    if (caps->max_gather > FAULT_MAX_GATHER)
        caps->max_gather = FAULT_MAX_GATHER;
}

int pf_fault_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why)
{
    struct pf_device_attr inner;
    char uri[FAULT_URI_BYTES];
    const struct pf_transport *transport;
    struct fault_plan plan;
    int err = look_up(attr, &inner, uri, &transport, &plan, why);
    if (err == 0)
        err = pf_query(transport, &inner, caps, why);
    if (err == 0)
        change_caps(&plan, caps);
    return err;
}

int pf_fault_before(struct fault_device *device, const char *what, enum fault_kind *kind,
                    struct pf_why *why)
{
    *kind = pf_fault_next(device);
    if (*kind == FAULT_DELAY)
        pf_fault_sleep(device);
    if (*kind != FAULT_FAIL)
        return 0;
    return pf_why(why, -EIO, "%s failed: this was asked for with at=%u&do=fail", what,
                  device->plan.at);
}

/* As pf_fault_before, for what has no link to cut. */
static int before_all(struct fault_device *device, const char *what, struct pf_why *why)
{
    enum fault_kind kind;
    int err = pf_fault_before(device, what, &kind, why);
    if (err == 0 && kind == FAULT_CUT)
        err = pf_why(why, -EIO, "%s failed: this was asked for with at=%u&do=cut", what,
                     device->plan.at);
    return err;
}

int pf_fault_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                         struct pf_why *why)
{
    struct pf_device_attr inner;
    char uri[FAULT_URI_BYTES];
    const struct pf_transport *transport;
    struct fault_device *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "opening %s: out of memory", attr->uri);
    int err = look_up(attr, &inner, uri, &transport, &self->plan, why);
    if (err == 0)
        err = before_all(self, "opening a device", why);
    if (err == 0)
        err = pf_device_open(transport, &inner, &self->inner, why);
    if (err) {
        free(self);
        return err;
    }
    self->base = (struct pf_device){&pf_fault_transport, self->inner->caps, self->inner->nic};
    change_caps(&self->plan, &self->base.caps);
    *device = &self->base;
    return 0;
}

void pf_fault_device_close(struct pf_device *device)
{
    struct fault_device *self = pf_container_of(device, struct fault_device, base);
    /* How a sweep over all operations, in other processes, learns that it has come to the end. */
    pf_info("%u operations, the planned one %s", atomic_load(&self->count),
            atomic_load(&self->fired) ? "went wrong" : "never came");
    pf_device_close(self->inner);
    free(self);
}

int pf_fault_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                    struct pf_mr **mr, struct pf_why *why)
{
    struct fault_device *outer = pf_container_of(device, struct fault_device, base);
    struct fault_mr *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "registering %zu bytes: out of memory", len);
    int err = before_all(outer, "registering memory", why);
    if (err == 0)
        err = pf_mr_reg(outer->inner, addr, len, access, &self->inner, why);
    if (err) {
        free(self);
        return err;
    }
    self->base = (struct pf_mr){device, addr, len, access};
    *mr = &self->base;
    return 0;
}

void pf_fault_mr_dereg(struct pf_mr *mr)
{
    struct fault_mr *self = pf_container_of(mr, struct fault_mr, base);
    pf_mr_dereg(self->inner);
    free(self);
}

int pf_fault_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES])
{
    struct fault_mr *self = pf_container_of(mr, struct fault_mr, base);
    struct fault_endpoint *outer = pf_container_of(endpoint, struct fault_endpoint, base);
    return outer->inner ? pf_rkey_pack(self->inner, outer->inner, out) : -ENOTCONN;
}

int pf_fault_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                         struct pf_rkey *rkey)
{
    struct fault_endpoint *self = pf_container_of(endpoint, struct fault_endpoint, base);
    return self->inner ? pf_rkey_unpack(self->inner, in, rkey) : -ENOTCONN;
}
