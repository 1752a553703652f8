/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bringing a connection up. Active side: address resolved -> route resolved -> connect request
 * -> established; passive side: accepted -> established. Each step is an event of the connection
 * manager, read by pf_progress() of the endpoint's lane; the lane's timer bounds the whole.
 */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_MS = 5000 };

static struct rdma_conn_param parameters(const struct pf_verbs_endpoint *endpoint)
{
    return (struct rdma_conn_param){
        .private_data = &endpoint->hello,
        .private_data_len = (uint8_t)pf_verbs_hello_size(&endpoint->hello),
        .responder_resources = endpoint->reads_in,
        .initiator_depth = endpoint->reads_out,
        .retry_count = PF_VERBS_RETRIES,
        .rnr_retry_count = PF_VERBS_RNR_RETRIES,
    };
}

/* Without it the connection manager's default makes a dead peer take up to 20 s to notice. */
static void set_ack_timeout(struct rdma_cm_id *id)
{
    uint8_t timeout = PF_VERBS_ACK_TIMEOUT;
    if (rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout))
        pf_debug("verbs: this kernel can't set the ack timeout: %m");
}

/*
 * How long the peer waits before it sends again when we have no receive posted. The connection
 * manager leaves it at code 0, 655 ms, and has no option for it.
 */
static void set_rnr_timer(struct rdma_cm_id *id)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .min_rnr_timer = PF_VERBS_RNR_TIMER};
    int error = ibv_modify_qp(id->qp, &attr, IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER);
    if (error != 0)
        pf_debug("verbs: setting the RNR timer: %s", strerrordesc_np(error));
}

/* ---- events ---- */

static void route(struct pf_verbs_endpoint *endpoint)
{
    if (endpoint->id->verbs != pf_verbs_device(endpoint->base.lane->device)->context) {
        pf_error("verbs: the route to the peer leads through another RDMA device");
        pf_verbs_fail(endpoint, -EHOSTUNREACH);
        return;
    }
    errno = 0;
    if (rdma_resolve_route(endpoint->id, STEP_MS) != 0)
        pf_verbs_fail(endpoint, pf_verbs_errno(-1));
}

static void request_connection(struct pf_verbs_endpoint *endpoint)
{
    struct rdma_conn_param param = parameters(endpoint);
    set_ack_timeout(endpoint->id);
    endpoint->state = PF_VERBS_CONNECTING;
    errno = 0;
    if (rdma_connect(endpoint->id, &param) != 0)
        pf_verbs_fail(endpoint, pf_verbs_errno(-1));
}

static void established_active(struct pf_verbs_endpoint *endpoint,
                               const struct pf_verbs_cm_event *event)
{
    struct pf_verbs_hello hello;
    int rc = pf_verbs_hello_read(event->data, event->len, &hello);
    if (rc != 0) {
        pf_verbs_fail(endpoint, rc);
        return;
    }
    endpoint->peer_mailbox_key = pf_verbs_hello_key(&hello);
    pf_verbs_keep_data(endpoint, &hello);
    set_rnr_timer(endpoint->id);
    pf_verbs_established(endpoint);
}

static void established(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_cm_event *event)
{
    if (endpoint->state == PF_VERBS_CONNECTING)
        established_active(endpoint, event);
    else if (endpoint->state == PF_VERBS_ACCEPTING)
        pf_verbs_established(endpoint);
}

/* Nobody listens (no data), or the peer's pf_reject() with its data. */
static void rejected(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_cm_event *event)
{
    struct pf_verbs_hello hello = {.length = 0};
    if (endpoint->state == PF_VERBS_ACCEPTING) {
        pf_verbs_fail(endpoint, -ECONNRESET);
    } else if (event->len > 0 && pf_verbs_hello_read(event->data, event->len, &hello) != 0) {
        pf_debug("verbs: rejected (reason %d) by something that is not this version of pageferry",
                 event->status);
        hello.length = 0;
        pf_verbs_refused(endpoint, &hello);
    } else {
        pf_verbs_refused(endpoint, &hello);
    }
}

static void failed(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_cm_event *event,
                   int otherwise)
{
    pf_debug("verbs: %s: status %d", rdma_event_str(event->type), event->status);
    if (endpoint->state < PF_VERBS_CONNECTED)
        pf_verbs_fail(endpoint, event->status < 0 ? event->status : otherwise);
}

unsigned pf_verbs_connection_event(struct pf_verbs_cm_owner *owner,
                                   const struct pf_verbs_cm_event *event)
{
    struct pf_verbs_endpoint *endpoint = pf_container_of(owner, struct pf_verbs_endpoint, owner);
    if (event->type == RDMA_CM_EVENT_DISCONNECTED)
        pf_verbs_disconnected(endpoint);
    if (endpoint->state == PF_VERBS_ENDED)
        return 0;
    switch (event->type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        route(endpoint);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        request_connection(endpoint);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        established(endpoint, event);
        break;
    case RDMA_CM_EVENT_REJECTED:
        rejected(endpoint, event);
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
        failed(endpoint, event, -EHOSTUNREACH);
        break;
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
        failed(endpoint, event, -ETIMEDOUT);
        break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
        pf_verbs_fail(endpoint, -EIO);
        break;
    default:
        break;
    }
    return 0;
}

/* ---- the active side ---- */

static int destination(struct pf_verbs_device *device, const char *text,
                       struct sockaddr_storage *address, struct pf_why *why)
{
    struct pf_uri uri;
    int rc = pf_uri_parse(text, &uri, why);
    if (rc != 0)
        return rc;
    if (uri.port[0] == '\0')
        return pf_why(why, -EINVAL, "connecting to \"%s\": it names no port", text);
    if (pf_verbs_host_is_any(uri.host))
        *address = device->local;
    else if (strcmp(uri.host, device->peer_host) == 0)
        *address = device->peer;
    else
        rc = pf_verbs_resolve(uri.host, "", address, why);
    if (rc == 0)
        pf_verbs_set_port(address, (uint16_t)strtoul(uri.port, NULL, 10));
    return rc;
}

/* Bound to the device's own address at once, so that it has a queue pair for receives. */
static int create_bound_id(struct pf_verbs_lane *lane, struct rdma_cm_id **id, struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    char text[PF_VERBS_ADDRESS_TEXT];
    errno = 0;
    if (rdma_create_id(lane->events, id, NULL, RDMA_PS_TCP) != 0) {
        int rc = pf_verbs_errno(-1);
        return pf_why(why, rc, "creating a connection identifier: %s", strerrordesc_np(-rc));
    }
    if (rdma_bind_addr(*id, (struct sockaddr *)&device->local) != 0 ||
        (*id)->verbs != device->context) {
        int rc = errno ? -errno : -ENODEV;
        rdma_destroy_id(*id);
        return pf_why(why, rc, "%s is no longer an address of %s (%s)",
                      pf_verbs_address_text(&device->local, text),
                      ibv_get_device_name(device->context->device), strerrordesc_np(-rc));
    }
    return 0;
}

static int resolve(struct pf_verbs_endpoint *endpoint, struct sockaddr_storage *address,
                   const char *uri, struct pf_why *why)
{
    errno = 0;
    if (rdma_resolve_addr(endpoint->id, NULL, (struct sockaddr *)address, STEP_MS) == 0)
        return 0;
    int rc = pf_verbs_errno(-1);
    return pf_why(why, rc, "finding the way to %s from the RDMA device %s: %s", uri,
                  ibv_get_device_name(endpoint->id->verbs->device), strerrordesc_np(-rc));
}

int pf_verbs_connect(struct pf_lane *base, const char *uri, const struct pf_endpoint_attr *attr,
                     const void *data, size_t len, struct pf_endpoint **out, struct pf_why *why)
{
    struct pf_verbs_lane *lane = pf_verbs_lane(base);
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    struct sockaddr_storage address;
    struct pf_verbs_endpoint *endpoint;
    struct rdma_cm_id *id;
    if (len > PF_PRIVATE_DATA_MAX)
        return pf_why(why, -EINVAL, "connecting with %zu bytes of private data: at most %d", len,
                      PF_PRIVATE_DATA_MAX);
    int rc = destination(device, uri, &address, why);
    if (rc == 0)
        rc = create_bound_id(lane, &id, why);
    if (rc != 0)
        return rc;
    rc = pf_verbs_endpoint_make(lane, attr, id, &endpoint, why);
    if (rc != 0) {
        rdma_destroy_id(id);
        return rc;
    }
    endpoint->state = PF_VERBS_RESOLVING;
    endpoint->reads_in = device->reads_in;
    endpoint->reads_out = device->reads_out;
    pf_verbs_hello_write(&endpoint->hello, endpoint->mailbox.mr->rkey, data, len);
    rc = resolve(endpoint, &address, uri, why);
    if (rc != 0) {
        pf_verbs_endpoint_close(&endpoint->base);
        return rc;
    }
    *out = &endpoint->base;
    return 0;
}

/* ---- the passive side ---- */

static uint8_t lesser(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* Why this request can't be taken onto this lane, or 0; then its events come to the lane. */
static int move_to_lane(struct pf_verbs_request *request, struct pf_verbs_lane *lane, size_t len,
                        struct pf_why *why)
{
    if (len > PF_PRIVATE_DATA_MAX)
        return pf_why(why, -EINVAL, "accepting with %zu bytes of private data: at most %d", len,
                      PF_PRIVATE_DATA_MAX);
    if (request->base.device != lane->base.device)
        return pf_why(why, -EINVAL, "accepting on a lane of another device than the listener's");
    /* All events of a request are acknowledged when it is handed out: this does not wait. */
    errno = 0;
    if (request->id->channel == lane->events || rdma_migrate_id(request->id, lane->events) == 0)
        return 0;
    int rc = pf_verbs_errno(-1);
    return pf_why(why, rc, "moving a connection request to another lane: %s", strerrordesc_np(-rc));
}

/* NULL with *rc. */
static struct pf_verbs_endpoint *take_request(struct pf_verbs_request *request,
                                              struct pf_verbs_lane *lane,
                                              const struct pf_endpoint_attr *attr, size_t len,
                                              int *rc, struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    struct pf_verbs_endpoint *endpoint = NULL;
    *rc = move_to_lane(request, lane, len, why);
    if (*rc == 0)
        *rc = pf_verbs_endpoint_make(lane, attr, request->id, &endpoint, why);
    if (!endpoint)
        return NULL;
    endpoint->peer_mailbox_key = request->mailbox_key;
    endpoint->reads_in = lesser(device->reads_in, request->reads_out);
    endpoint->reads_out = lesser(device->reads_out, request->reads_in);
    return endpoint;
}

/*
 * The answer itself goes out with the next pf_progress(), when the caller has posted his
 * receives: a peer that sends as soon as it is connected does not run into a missing one.
 */
int pf_verbs_accept(struct pf_request *base, struct pf_lane *lane,
                    const struct pf_endpoint_attr *attr, const void *data, size_t len,
                    struct pf_endpoint **out, struct pf_why *why)
{
    struct pf_verbs_request *request = pf_container_of(base, struct pf_verbs_request, base);
    int rc = 0;
    struct pf_verbs_endpoint *endpoint =
        take_request(request, pf_verbs_lane(lane), attr, len, &rc, why);
    if (!endpoint) {
        pf_verbs_reject(base, NULL, 0);
        return rc;
    }
    pf_verbs_hello_write(&endpoint->hello, endpoint->mailbox.mr->rkey, data, len);
    endpoint->state = PF_VERBS_ACCEPT_DUE;
    pf_verbs_make_due(endpoint);
    free(request);
    *out = &endpoint->base;
    return 0;
}

void pf_verbs_answer(struct pf_verbs_endpoint *endpoint)
{
    struct rdma_conn_param param = parameters(endpoint);
    set_ack_timeout(endpoint->id);
    endpoint->state = PF_VERBS_ACCEPTING;
    errno = 0;
    if (rdma_accept(endpoint->id, &param) != 0)
        pf_verbs_fail(endpoint, errno == EINVAL ? -ECONNRESET : pf_verbs_errno(-1));
    else
        set_rnr_timer(endpoint->id);
}
