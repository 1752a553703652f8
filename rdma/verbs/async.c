/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events of the device itself. A context has one queue of them and every lane of the device
 * watches it; whoever reads an event marks the endpoint or lane concerned and wakes its owner.
 * An endpoint leaves the device's list before its queue pair is destroyed, so what is found on
 * the list under the lock is alive.
 */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <sys/eventfd.h>

static void tell_lane(struct pf_verbs_lane *lane)
{
    atomic_store(&lane->attention, true);
    eventfd_write(lane->wakeup, 1);
}

void pf_verbs_lane_broken(struct pf_verbs_lane *lane)
{
    atomic_store(&lane->async_error, -EIO);
    tell_lane(lane);
}

static void tell_endpoint(struct pf_verbs_endpoint *endpoint, int error)
{
    atomic_store(&endpoint->async_error, error);
    tell_lane(pf_verbs_lane_of(endpoint));
}

static void queue_pair_failed(struct pf_verbs_device *device, const struct ibv_qp *qp, int error)
{
    pf_list_for_each (item, &device->endpoints) {
        struct pf_verbs_endpoint *endpoint =
            pf_container_of(item, struct pf_verbs_endpoint, device_link);
        if (endpoint->id->qp == qp)
            tell_endpoint(endpoint, error);
    }
}

static void completion_queue_failed(struct pf_verbs_device *device, const struct ibv_cq *cq)
{
    pf_list_for_each (item, &device->lanes) {
        struct pf_verbs_lane *lane = pf_container_of(item, struct pf_verbs_lane, device_link);
        if (lane->cq == cq)
            pf_verbs_lane_broken(lane);
    }
}

static void device_failed(struct pf_verbs_device *device)
{
    pf_list_for_each (item, &device->lanes)
        pf_verbs_lane_broken(pf_container_of(item, struct pf_verbs_lane, device_link));
}

static void dispatch(struct pf_verbs_device *device, const struct ibv_async_event *event)
{
    switch (event->event_type) {
    case IBV_EVENT_QP_FATAL:
        queue_pair_failed(device, event->element.qp, -EIO);
        break;
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR: /* what the peer asked for was refused; it knows why */
        queue_pair_failed(device, event->element.qp, -ECONNRESET);
        break;
    case IBV_EVENT_CQ_ERR:
        completion_queue_failed(device, event->element.cq);
        break;
    case IBV_EVENT_DEVICE_FATAL:
        device_failed(device);
        break;
    case IBV_EVENT_PORT_ERR: /* the link may come back: the retry counters decide */
    case IBV_EVENT_PORT_ACTIVE:
        pf_info("%s port %d: %s", ibv_get_device_name(device->context->device),
                event->element.port_num, ibv_event_type_str(event->event_type));
        break;
    default:
        break;
    }
}

void pf_verbs_read_async(struct pf_verbs_device *device)
{
    struct ibv_async_event event;
    while (ibv_get_async_event(device->context, &event) == 0) {
        pthread_mutex_lock(&device->lock);
        dispatch(device, &event);
        pthread_mutex_unlock(&device->lock);
        ibv_ack_async_event(&event);
    }
}
