/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of an endpoint once it has a queue pair. How it ends:
 *
 *   in order   shutdown -> DRAINING (operations complete) -> HANGUP (a goodbye is written into
 *              the peer's mailbox) -> LEAVING (disconnect sent) -> ENDED with 0. The peer sees the
 *              disconnect and the goodbye.
 *   otherwise  an error completes, or a disconnect comes without a goodbye: ENDED at once.
 *
 * A queue pair in error flushes what is posted, so every operation completes by itself; what has
 * not when the endpoint is closed is cancelled.
 */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- making and closing ---- */

static void list_in_device(struct pf_verbs_endpoint *endpoint)
{
    struct pf_verbs_device *device = pf_verbs_device(endpoint->base.lane->device);
    pthread_mutex_lock(&device->lock);
    pf_list_append(&device->endpoints, &endpoint->device_link);
    pthread_mutex_unlock(&device->lock);
}

static void unlist_in_device(struct pf_verbs_endpoint *endpoint)
{
    struct pf_verbs_device *device = pf_verbs_device(endpoint->base.lane->device);
    pthread_mutex_lock(&device->lock);
    pf_list_remove(&endpoint->device_link);
    pthread_mutex_unlock(&device->lock);
}

static int create_queue_pair(struct pf_verbs_endpoint *endpoint, struct pf_why *why)
{
    struct pf_verbs_lane *lane = pf_verbs_lane_of(endpoint);
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    struct ibv_qp_init_attr attr = {
        .send_cq = lane->cq,
        .recv_cq = lane->cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = endpoint->send_depth + 1,
                .max_recv_wr = endpoint->recv_depth ? endpoint->recv_depth : 1,
                .max_send_sge = device->base.caps.max_gather,
                .max_recv_sge = 1,
                .max_inline_data = (uint32_t)device->base.caps.inline_size},
    };
    errno = 0;
    if (rdma_create_qp(endpoint->id, device->pd, &attr) == 0)
        return 0;
    int rc = pf_verbs_errno(-1);
    return pf_why(why, rc, "creating a queue pair of depths %u and %u on %s: %s",
                  endpoint->send_depth, endpoint->recv_depth,
                  ibv_get_device_name(device->context->device), strerrordesc_np(-rc));
}

static int check_attr(const struct pf_caps *caps, const struct pf_endpoint_attr *attr,
                      struct pf_why *why)
{
    if (attr->send_depth > caps->max_depth || attr->recv_depth > caps->max_depth)
        return pf_why(why, -EINVAL,
                      "an endpoint of depths %u and %u: the device allows at most %u each",
                      attr->send_depth, attr->recv_depth, caps->max_depth);
    return 0;
}

int pf_verbs_endpoint_make(struct pf_verbs_lane *lane, const struct pf_endpoint_attr *attr,
                           struct rdma_cm_id *id, struct pf_verbs_endpoint **out,
                           struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    int rc = check_attr(&device->base.caps, attr, why);
    if (rc != 0)
        return rc;
    struct pf_verbs_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (!endpoint)
        return pf_why(why, -ENOMEM, "out of memory");
    endpoint->base =
        (struct pf_endpoint){.lane = &lane->base, .events = attr->events, .ctx = attr->ctx};
    endpoint->owner.event = pf_verbs_connection_event;
    endpoint->id = id;
    endpoint->send_depth = attr->send_depth;
    endpoint->recv_depth = attr->recv_depth;
    endpoint->ticks = PF_VERBS_CONNECT_TICKS;
    pf_list_init(&endpoint->posted);
    pf_list_init(&endpoint->due_link);

    rc = pf_verbs_lane_admit(lane, endpoint, why);
    if (rc != 0)
        goto free_endpoint;
    rc = pf_verbs_mailbox_open(&endpoint->mailbox, device, why);
    if (rc != 0)
        goto dismiss;
    rc = create_queue_pair(endpoint, why);
    if (rc != 0)
        goto close_mailbox;
    id->context = &endpoint->owner;
    list_in_device(endpoint);
    *out = endpoint;
    return 0;

close_mailbox:
    pf_verbs_mailbox_close(&endpoint->mailbox, device);
dismiss:
    pf_verbs_lane_dismiss(lane, endpoint);
free_endpoint:
    free(endpoint);
    return rc;
}

/*
 * Once the queue pair is destroyed nothing of the peer's can land and no completion is added; the
 * ones still in the queue are reaped now, so that they take no room from a later endpoint.
 */
void pf_verbs_endpoint_close(struct pf_endpoint *base)
{
    struct pf_verbs_endpoint *endpoint = pf_verbs_endpoint(base);
    struct pf_verbs_lane *lane = pf_verbs_lane_of(endpoint);
    if ((endpoint->state >= PF_VERBS_ACCEPTING && endpoint->state < PF_VERBS_ENDED) ||
        endpoint->owes_disconnect)
        rdma_disconnect(endpoint->id);
    unlist_in_device(endpoint);
    rdma_destroy_qp(endpoint->id);
    pf_verbs_cancel(endpoint);
    pf_verbs_reap(lane, UINT32_MAX);
    pf_verbs_lane_dismiss(lane, endpoint);
    pf_verbs_mailbox_close(&endpoint->mailbox, pf_verbs_device_of(lane));
    rdma_destroy_id(endpoint->id);
    free(endpoint);
}

/* ---- ending ---- */

void pf_verbs_make_due(struct pf_verbs_endpoint *endpoint)
{
    pf_list_remove(&endpoint->due_link);
    pf_list_append(&pf_verbs_lane_of(endpoint)->due, &endpoint->due_link);
}

static void end(struct pf_verbs_endpoint *endpoint, int error)
{
    endpoint->error = error;
    endpoint->state = PF_VERBS_ENDED;
    endpoint->owes_closed = true;
    endpoint->ticks = PF_VERBS_FLUSH_TICKS;
    pf_verbs_make_due(endpoint);
}

/* Disconnecting moves the queue pair to error, which flushes it, and tells the peer. */
static void end_and_disconnect(struct pf_verbs_endpoint *endpoint, int error)
{
    end(endpoint, error);
    rdma_disconnect(endpoint->id);
}

void pf_verbs_fail(struct pf_verbs_endpoint *endpoint, int error)
{
    if (endpoint->state != PF_VERBS_ENDED) {
        end_and_disconnect(endpoint, error);
    } else if (endpoint->guessed) {
        endpoint->guessed = false;
        endpoint->error = error;
        pf_verbs_make_due(endpoint);
    }
}

/*
 * The queue pair is in error and we don't know why: what is posted is being flushed, and if one
 * of these operations was the reason, its completion overrules the guess. Or the reason is a
 * request of the peer's, and it is being told: a disconnect now could overtake that and leave the
 * peer as ignorant as we are. So the disconnect goes out with the next tick, or the close.
 */
void pf_verbs_fail_unknown(struct pf_verbs_endpoint *endpoint)
{
    if (endpoint->state >= PF_VERBS_LEAVING)
        return; /* flushed by our own disconnect */
    end(endpoint, -ECONNRESET);
    endpoint->guessed = true;
    endpoint->owes_disconnect = true;
}

/* After LEAVING the peer only confirms; otherwise it hung up, in order if it said goodbye. */
void pf_verbs_disconnected(struct pf_verbs_endpoint *endpoint)
{
    pf_verbs_reap(pf_verbs_lane_of(endpoint), UINT32_MAX); /* what completed before counts first */
    if (endpoint->owes_disconnect) {
        endpoint->owes_disconnect = false;
        rdma_disconnect(endpoint->id);
    }
    if (endpoint->state == PF_VERBS_ENDED)
        return;
    bool in_order =
        endpoint->state == PF_VERBS_LEAVING || pf_verbs_mailbox_goodbye(&endpoint->mailbox);
    end_and_disconnect(endpoint, in_order ? 0 : -ECONNRESET);
    endpoint->guessed = !in_order;
}

void pf_verbs_refused(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_hello *hello)
{
    if (endpoint->state == PF_VERBS_ENDED)
        return;
    pf_verbs_keep_data(endpoint, hello);
    end_and_disconnect(endpoint, -ECONNREFUSED);
}

void pf_verbs_keep_data(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_hello *hello)
{
    memcpy(endpoint->data, hello->data, hello->length);
    endpoint->data_len = hello->length;
}

/* ---- hanging up ---- */

static void say_goodbye(struct pf_verbs_endpoint *endpoint)
{
    endpoint->state = PF_VERBS_HANGUP;
    endpoint->own_posted = true;
    if (pf_verbs_post_goodbye(endpoint, &endpoint->own) != 0) {
        endpoint->own_posted = false;
        pf_verbs_fail(endpoint, -EIO);
    }
}

void pf_verbs_ended_one(struct pf_verbs_endpoint *endpoint)
{
    if (endpoint->state == PF_VERBS_DRAINING && endpoint->sends == 0 && !endpoint->own_posted)
        say_goodbye(endpoint);
    else if (endpoint->guessed && endpoint->owes_closed && pf_list_empty(&endpoint->posted))
        pf_verbs_make_due(endpoint);
}

void pf_verbs_shutdown(struct pf_endpoint *base)
{
    struct pf_verbs_endpoint *endpoint = pf_verbs_endpoint(base);
    if (endpoint->state < PF_VERBS_CONNECTED) {
        end_and_disconnect(endpoint, 0);
    } else if (endpoint->state == PF_VERBS_CONNECTED) {
        endpoint->state = PF_VERBS_DRAINING;
        pf_verbs_ended_one(endpoint); /* perhaps there was none */
    }
}

void pf_verbs_own_done(struct pf_verbs_endpoint *endpoint, int status)
{
    endpoint->own_posted = false;
    if (status != 0 || endpoint->state != PF_VERBS_HANGUP)
        return;
    endpoint->state = PF_VERBS_LEAVING;
    endpoint->ticks = PF_VERBS_HANGUP_TICKS;
    rdma_disconnect(endpoint->id);
}

/* ---- time ---- */

/*
 * A peer that dies is noticed by what we send to it. Who only waits sends a probe, a read of one
 * byte that costs the peer's CPU nothing, when nothing was sent for a second.
 */
static void probe(struct pf_verbs_endpoint *endpoint)
{
    if (!endpoint->busy && endpoint->sends == 0 && !endpoint->own_posted) {
        endpoint->own_posted = true;
        if (pf_verbs_post_peek(endpoint, &endpoint->own) != 0)
            endpoint->own_posted = false;
    }
    endpoint->busy = false;
}

static void out_of_time(struct pf_verbs_endpoint *endpoint)
{
    if (endpoint->state < PF_VERBS_CONNECTED) {
        pf_verbs_fail(endpoint, -ETIMEDOUT);
    } else if (endpoint->state == PF_VERBS_LEAVING) {
        pf_verbs_disconnected(endpoint);
    } else if (endpoint->state == PF_VERBS_ENDED && endpoint->owes_closed) {
        endpoint->guessed = false;
        pf_verbs_make_due(endpoint);
    }
}

void pf_verbs_tick(struct pf_verbs_endpoint *endpoint)
{
    if (endpoint->owes_disconnect) {
        endpoint->owes_disconnect = false;
        rdma_disconnect(endpoint->id);
    }
    if (endpoint->state == PF_VERBS_CONNECTED)
        probe(endpoint);
    else if (endpoint->ticks > 0 && --endpoint->ticks == 0)
        out_of_time(endpoint);
}

/* ---- telling the owner ---- */

void pf_verbs_established(struct pf_verbs_endpoint *endpoint)
{
    endpoint->state = PF_VERBS_CONNECTED;
    endpoint->owes_connected = true;
    pf_verbs_make_due(endpoint);
}

/*
 * One callback at most. closed() waits until the completion queue has been found empty, so that
 * what arrived before the end is delivered before it; and with a guess until all is flushed.
 */
unsigned pf_verbs_report(struct pf_verbs_endpoint *endpoint, bool drained)
{
    const struct pf_endpoint_events *events = endpoint->base.events;
    if (endpoint->state == PF_VERBS_ACCEPT_DUE)
        pf_verbs_answer(endpoint);
    if (endpoint->owes_connected) {
        endpoint->owes_connected = false;
        if (endpoint->owes_closed)
            pf_verbs_make_due(endpoint);
        else
            pf_list_remove(&endpoint->due_link);
        events->connected(endpoint->base.ctx, &endpoint->base, endpoint->data, endpoint->data_len);
        return 1;
    }
    if (!endpoint->owes_closed || (endpoint->guessed && !pf_list_empty(&endpoint->posted)))
        return 0;
    if (!drained) {
        pf_verbs_make_due(endpoint);
        return 0;
    }
    endpoint->owes_closed = false;
    endpoint->guessed = false;
    events->closed(endpoint->base.ctx, &endpoint->base, endpoint->error, endpoint->data,
                   endpoint->data_len);
    return 1;
}
