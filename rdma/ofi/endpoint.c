/* SPDX-License-Identifier: BSD-2-Clause */
/* An endpoint's life: made, connected, failing or hanging up, ended, reported, freed. */
#include "rdma/ofi/internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

static void init_lists(struct pf_ofi_endpoint *endpoint)
{
    pf_list_init(&endpoint->link);
    pf_list_init(&endpoint->free_records);
    pf_list_init(&endpoint->waiting);
    pf_list_init(&endpoint->posted);
    pf_list_init(&endpoint->wanted);
    pf_list_init(&endpoint->idle);
    pf_list_init(&endpoint->spare);
    pf_list_init(&endpoint->held);
    pf_list_init(&endpoint->grants);
    pf_list_init(&endpoint->finished);
}

int pf_ofi_endpoint_new(struct pf_lane *lane, const struct pf_endpoint_attr *attr,
                        struct pf_ofi_endpoint **endpoint, struct pf_why *why)
{
    unsigned limit = lane->device->caps.max_depth;
    if (attr->send_depth == 0 || attr->send_depth > limit || attr->recv_depth == 0 ||
        attr->recv_depth > limit || attr->recv_size > UINT32_MAX) {
        pf_why(why, -EINVAL, "an endpoint takes 1 to %u sends and receives, not %u and %u", limit,
               attr->send_depth, attr->recv_depth);
        return -EINVAL;
    }
    struct pf_ofi_endpoint *made = calloc(1, sizeof *made);
    if (!made) {
        pf_why(why, -ENOMEM, "opening an endpoint: out of memory");
        return -ENOMEM;
    }
    made->endpoint = (struct pf_endpoint){.lane = lane, .events = attr->events, .ctx = attr->ctx};
    made->device = pf_ofi_device_of(lane->device);
    made->peer = FI_ADDR_UNSPEC;
    made->send_depth = attr->send_depth;
    made->recv_depth = attr->recv_depth;
    made->recv_size = attr->recv_size;
    made->deadline = pf_now_ns() + PF_OFI_CONNECT_NS;
    init_lists(made);
    if (pf_ofi_record_open(made)) {
        free(made);
        pf_why(why, -ENOMEM, "opening an endpoint: out of memory");
        return -ENOMEM;
    }
    pf_list_append(&pf_ofi_lane_of(lane)->endpoints, &made->link);
    pf_ofi_lane_of(lane)->unsettled = true;
    *endpoint = made;
    return 0;
}

/* The good-bye first: what the peer sends after it has read that is not waited for. */
static void release(struct pf_ofi_endpoint *endpoint)
{
    bool buried = false;
    pf_ofi_grant_end_endpoint(endpoint);
    if (endpoint->side) {
        pf_ofi_side_bye(endpoint);
        buried = pf_ofi_grave_bury(endpoint);
        pf_ofi_side_drop(endpoint);
    }
    if (buried)
        pf_ofi_grave_sweep(endpoint->device);
    pf_ofi_resources_close(endpoint);
}

void pf_ofi_endpoint_free(struct pf_ofi_endpoint *endpoint)
{
    release(endpoint);
    pf_list_remove(&endpoint->link);
    free(endpoint->records);
    free(endpoint->arrivals);
    free(endpoint->buffers);
    free(endpoint->keys);
    free(endpoint);
}

int pf_ofi_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                   const void *data, size_t len, struct pf_endpoint **endpoint, struct pf_why *why)
{
    struct pf_uri parsed;
    struct pf_ofi_endpoint *made;
    int error = pf_uri_parse(uri, &parsed, why);
    if (error)
        return error;
    if (len > PF_PRIVATE_DATA_MAX)
        return pf_why(why, -EINVAL, "%zu bytes of private data: at most %d travel along", len,
                      PF_PRIVATE_DATA_MAX);
    error = pf_ofi_endpoint_new(lane, attr, &made, why);
    if (error)
        return error;
    error = made->device->cm->connect(made, &parsed, data, len, why);
    if (error) {
        pf_ofi_endpoint_free(made);
        return error;
    }
    *endpoint = &made->endpoint;
    return 0;
}

/* The callback is the last thing: it may close the endpoint. */
void pf_ofi_endpoint_connected(struct pf_ofi_endpoint *endpoint)
{
    endpoint->state = PF_OFI_CONNECTED;
    endpoint->deadline = 0;
    endpoint->endpoint.events->connected(endpoint->endpoint.ctx, &endpoint->endpoint,
                                         endpoint->answer.data, endpoint->answer.data_length);
}

static void say_bye(struct pf_ofi_endpoint *endpoint)
{
    endpoint->state = PF_OFI_CLOSING;
    endpoint->deadline = pf_now_ns() + PF_OFI_CLOSE_NS;
    pf_ofi_lane_of(endpoint->endpoint.lane)->unsettled = true;
    if (endpoint->side) {
        pf_ofi_side_bye(endpoint);
        return;
    }
    endpoint->bye_owed = true;
    pf_ofi_control_owed(endpoint);
}

/*
 * The first error. The peer is told why before the connection goes, and while it reads that we go
 * on emptying ours: a stream closed with unread data resets the peer's and can destroy the message.
 * The side connection carries no data and is told and closed at once.
 */
void pf_ofi_endpoint_fail(struct pf_ofi_endpoint *endpoint, int status)
{
    if (endpoint->state >= PF_OFI_CLOSING)
        return;
    if (endpoint->state < PF_OFI_CONNECTED) {
        pf_ofi_endpoint_end(endpoint, status);
        return;
    }
    endpoint->status = status;
    say_bye(endpoint);
    if (endpoint->side)
        pf_ofi_endpoint_end(endpoint, status);
}

static void cancel_receives(struct pf_ofi_endpoint *endpoint)
{
    while (!pf_list_empty(&endpoint->wanted)) {
        struct pf_list *first = pf_list_pop(&endpoint->wanted);
        pf_ofi_finish(endpoint, pf_container_of(first, struct pf_op, link), -ECANCELED, 0);
    }
    endpoint->receives = 0;
}

/* No more of it: closes the provider's side. closed() and the done()s come from pf_progress(). */
void pf_ofi_endpoint_end(struct pf_ofi_endpoint *endpoint, int status)
{
    if (endpoint->state >= PF_OFI_ENDED)
        return;
    if (endpoint->state < PF_OFI_CLOSING)
        endpoint->status = status;
    endpoint->state = PF_OFI_ENDED;
    endpoint->deadline = 0;
    release(endpoint);
    pf_ofi_record_cancel(endpoint, endpoint->status ? endpoint->status : -ECANCELED);
    cancel_receives(endpoint);
}

void pf_ofi_shutdown(struct pf_endpoint *endpoint)
{
    struct pf_ofi_endpoint *closing = pf_ofi_endpoint_of(endpoint);
    if (closing->state < PF_OFI_CONNECTED) {
        pf_ofi_endpoint_end(closing, 0);
        return;
    }
    if (closing->state == PF_OFI_CONNECTED) {
        closing->state = PF_OFI_DRAINING;
        pf_ofi_lane_of(endpoint->lane)->unsettled = true;
    }
}

/*
 * The good-bye is sent on a best effort; the provider's endpoint is closed before this returns, so
 * nothing of the peer's lands any more: the software providers land writes in our own calls only.
 */
void pf_ofi_endpoint_close(struct pf_endpoint *endpoint)
{
    struct pf_ofi_endpoint *closed = pf_ofi_endpoint_of(endpoint);
    struct pf_ofi_lane *lane = pf_ofi_lane_of(endpoint->lane);
    if (closed->state == PF_OFI_CONNECTED || closed->state == PF_OFI_DRAINING)
        say_bye(closed);
    closed->status = 0;
    pf_ofi_endpoint_end(closed, 0);
    pf_ofi_finished_orphan(closed);
    closed->state = PF_OFI_GONE;
    pf_ofi_lane_reap(lane);
}

static void report_closed(struct pf_ofi_endpoint *endpoint)
{
    endpoint->state = PF_OFI_REPORTED;
    endpoint->endpoint.events->closed(
        endpoint->endpoint.ctx, &endpoint->endpoint, endpoint->status, endpoint->answer.data,
        endpoint->status == -ECONNREFUSED ? endpoint->answer.data_length : 0);
}

/* Is it time to end? */
static void check_end(struct pf_ofi_endpoint *endpoint)
{
    if (endpoint->peer_left && endpoint->heard >= endpoint->last_words)
        pf_ofi_endpoint_end(endpoint, 0);
    else if (endpoint->deadline && pf_now_ns() > endpoint->deadline)
        pf_ofi_endpoint_end(endpoint, endpoint->peer_left ? 0 : -ETIMEDOUT);
}

/* What is open is moved along; returns the callbacks made. */
static unsigned work(struct pf_ofi_endpoint *endpoint, unsigned budget)
{
    const struct pf_ofi_cm *cm = endpoint->device->cm;
    bool look = pf_ofi_lane_of(endpoint->endpoint.lane)->looking;
    unsigned made = 0;
    if (cm->poll_endpoint && (look || endpoint->state != PF_OFI_CONNECTED))
        made = cm->poll_endpoint(endpoint);
    if (!pf_list_empty(&endpoint->held))
        made += pf_ofi_receive_held(endpoint, budget);
    if (endpoint->cq && !pf_list_empty(&endpoint->idle))
        pf_ofi_receive_post(endpoint);
    if (endpoint->cq && !pf_list_empty(&endpoint->waiting))
        pf_ofi_record_retry(endpoint);
    if (endpoint->cq)
        made += pf_ofi_completions(endpoint, budget);
    if (endpoint->cq && (endpoint->answers_owed || endpoint->bye_owed))
        pf_ofi_control_owed(endpoint);
    if (endpoint->state == PF_OFI_DRAINING && endpoint->sends == 0)
        say_bye(endpoint);
    check_end(endpoint);
    return made;
}

unsigned pf_ofi_endpoint_progress(struct pf_ofi_endpoint *endpoint, unsigned budget)
{
    unsigned made = 0;
    if (!pf_list_empty(&endpoint->finished))
        made = pf_ofi_finished_report(&endpoint->finished, budget);
    if (endpoint->state < PF_OFI_ENDED)
        made += work(endpoint, budget);
    if (endpoint->state == PF_OFI_ENDED && pf_list_empty(&endpoint->finished)) {
        report_closed(endpoint);
        made++;
    }
    return made;
}
