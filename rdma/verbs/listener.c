/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { BACKLOG = 64 };

static void refuse(struct rdma_cm_id *id, const void *data, size_t len)
{
    struct pf_verbs_hello hello;
    if (pf_verbs_hello_write(&hello, 0, data, len) != 0)
        pf_verbs_hello_write(&hello, 0, NULL, 0);
    rdma_reject(id, &hello, (uint8_t)pf_verbs_hello_size(&hello));
    rdma_destroy_id(id);
}

void pf_verbs_reject(struct pf_request *base, const void *data, size_t len)
{
    struct pf_verbs_request *request = pf_container_of(base, struct pf_verbs_request, base);
    refuse(request->id, data, len);
    free(request);
}

static unsigned announce(struct pf_verbs_listener *listener, const struct pf_verbs_cm_event *event)
{
    struct pf_device *device = listener->base.lane->device;
    struct pf_verbs_hello hello;
    if (event->id->verbs != pf_verbs_device(device)->context ||
        pf_verbs_hello_read(event->data, event->len, &hello) != 0) {
        pf_warn("verbs: refused a connection: its private data is not that of this version of "
                "pageferry, or it came in through another device");
        refuse(event->id, NULL, 0);
        return 0;
    }
    struct pf_verbs_request *request = calloc(1, sizeof *request);
    if (!request) {
        refuse(event->id, NULL, 0);
        return 0;
    }
    *request = (struct pf_verbs_request){.base.device = device,
                                         .id = event->id,
                                         .mailbox_key = pf_verbs_hello_key(&hello),
                                         .reads_in = event->reads_in,
                                         .reads_out = event->reads_out};
    listener->base.events->request(listener->base.ctx, &request->base, hello.data, hello.length);
    return 1;
}

static unsigned listener_event(struct pf_verbs_cm_owner *owner,
                               const struct pf_verbs_cm_event *event)
{
    struct pf_verbs_listener *listener = pf_container_of(owner, struct pf_verbs_listener, owner);
    if (event->type == RDMA_CM_EVENT_CONNECT_REQUEST)
        return announce(listener, event);
    pf_warn("verbs: listener: %s", rdma_event_str(event->type));
    return 0;
}

static int address_of(struct pf_verbs_device *device, const char *text,
                      struct sockaddr_storage *address, struct pf_why *why)
{
    struct pf_uri uri;
    int rc = pf_uri_parse(text, &uri, why);
    if (rc != 0)
        return rc;
    if (pf_verbs_host_is_any(uri.host))
        *address = device->local;
    else
        rc = pf_verbs_resolve(uri.host, "", address, why);
    if (rc == 0)
        pf_verbs_set_port(address, (uint16_t)strtoul(uri.port, NULL, 10));
    return rc;
}

static int bind_and_listen(struct pf_verbs_listener *listener, struct sockaddr_storage *address,
                           const char *uri, struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device(listener->base.lane->device);
    errno = 0;
    int rc = rdma_bind_addr(listener->id, (struct sockaddr *)address);
    if (rc == 0 && listener->id->verbs != device->context)
        return pf_why(why, -EADDRNOTAVAIL,
                      "listening on %s: not an address of %s, the device that was opened", uri,
                      ibv_get_device_name(device->context->device));
    if (rc == 0)
        rc = rdma_listen(listener->id, BACKLOG);
    if (rc != 0) {
        rc = errno == ENODEV ? -EADDRNOTAVAIL : pf_verbs_errno(-1);
        return pf_why(why, rc, "listening on %s: %s", uri, strerrordesc_np(-rc));
    }
    return 0;
}

int pf_verbs_listen(struct pf_lane *base, const char *uri, const struct pf_listener_events *events,
                    void *ctx, struct pf_listener **out, struct pf_why *why)
{
    struct pf_verbs_lane *lane = pf_verbs_lane(base);
    struct sockaddr_storage address;
    int rc = address_of(pf_verbs_device_of(lane), uri, &address, why);
    if (rc != 0)
        return rc;
    struct pf_verbs_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return pf_why(why, -ENOMEM, "out of memory");
    listener->base = (struct pf_listener){.lane = base, .events = events, .ctx = ctx};
    listener->owner.event = listener_event;
    errno = 0;
    if (rdma_create_id(lane->events, &listener->id, &listener->owner, RDMA_PS_TCP) != 0) {
        rc = pf_why(why, pf_verbs_errno(-1), "creating a connection identifier: %m");
        goto free_listener;
    }
    rc = bind_and_listen(listener, &address, uri, why);
    if (rc != 0)
        goto destroy_id;
    *out = &listener->base;
    return 0;

destroy_id:
    rdma_destroy_id(listener->id);
free_listener:
    free(listener);
    return rc;
}

int pf_verbs_listener_uri(struct pf_listener *base, char *out, size_t size)
{
    struct pf_verbs_listener *listener = pf_container_of(base, struct pf_verbs_listener, base);
    const struct sockaddr_storage *address =
        (const struct sockaddr_storage *)rdma_get_local_addr(listener->id);
    struct pf_uri uri = {.scheme = "verbs"};
    char text[PF_VERBS_ADDRESS_TEXT];
    snprintf(uri.host, sizeof uri.host, "%s", pf_verbs_address_text(address, text));
    snprintf(uri.port, sizeof uri.port, "%u", ntohs(rdma_get_src_port(listener->id)));
    return pf_uri_format(&uri, out, size);
}

/* Requests already handed out have identifiers of their own and stay. */
void pf_verbs_listener_close(struct pf_listener *base)
{
    struct pf_verbs_listener *listener = pf_container_of(base, struct pf_verbs_listener, base);
    rdma_destroy_id(listener->id);
    free(listener);
}
