/* SPDX-License-Identifier: BSD-2-Clause */
/* A lane: the endpoints and listeners of one thread. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>

/*
 * While all endpoints are connected and busy, connections are looked at once in so many calls: a
 * look is a system call. Data shows the end of a connection too.
 */
enum { TICKS = 128 };

static int open_events(struct pf_ofi_lane *lane, struct pf_ofi_device *device)
{
    struct fi_eq_attr attr = {.wait_obj =
                                  device->device.caps.can_sleep ? FI_WAIT_FD : FI_WAIT_NONE};
    if (device->cm->type != FI_EP_MSG)
        return 0;
    int error = fi_eq_open(device->fabric, &attr, &lane->eq, lane);
    if (error)
        return pf_ofi_error(error);
    error = pf_ofi_sleep_watch_fid(lane, &lane->eq->fid);
    if (error)
        fi_close(&lane->eq->fid);
    return error;
}

int pf_ofi_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                     struct pf_lane **lane, struct pf_why *why)
{
    (void)attr; /* each endpoint brings a queue of its own, as deep as it needs */
    struct pf_ofi_lane *opened = calloc(1, sizeof *opened);
    if (!opened)
        return pf_why(why, -ENOMEM, "opening a lane: out of memory");
    opened->lane.device = device;
    pf_list_init(&opened->endpoints);
    pf_list_init(&opened->listeners);
    pf_list_init(&opened->orphans);
    int error = pf_ofi_sleep_open(opened);
    if (error)
        goto free_lane;
    error = open_events(opened, pf_ofi_device_of(device));
    if (error)
        goto close_sleep;
    *lane = &opened->lane;
    return 0;

close_sleep:
    pf_ofi_sleep_close(opened);
free_lane:
    free(opened);
    return pf_why(why, error, "opening a lane of libfabric's %s: %s",
                  pf_ofi_device_of(device)->info->fabric_attr->prov_name, fi_strerror(-error));
}

static void reap_listeners(struct pf_ofi_lane *lane)
{
    struct pf_list *item = lane->listeners.next;
    while (item != &lane->listeners) {
        struct pf_ofi_listener *listener = pf_container_of(item, struct pf_ofi_listener, link);
        item = item->next;
        if (pf_ofi_listener_idle(listener))
            pf_ofi_listener_free(listener);
    }
}

/* Free what its owner has closed, unless pf_progress() is still going over the lists. */
void pf_ofi_lane_reap(struct pf_ofi_lane *lane)
{
    if (lane->running)
        return;
    struct pf_list *item = lane->endpoints.next;
    while (item != &lane->endpoints) {
        struct pf_ofi_endpoint *endpoint = pf_container_of(item, struct pf_ofi_endpoint, link);
        item = item->next;
        if (endpoint->state == PF_OFI_GONE)
            pf_ofi_endpoint_free(endpoint);
    }
    reap_listeners(lane);
}

void pf_ofi_lane_close(struct pf_lane *lane)
{
    struct pf_ofi_lane *closed = pf_ofi_lane_of(lane);
    while (!pf_list_empty(&closed->orphans))
        pf_ofi_finished_report(&closed->orphans, 1);
    pf_ofi_lane_reap(closed);
    if (closed->eq) {
        pf_ofi_sleep_forget_fid(closed, &closed->eq->fid);
        fi_close(&closed->eq->fid);
    }
    pf_ofi_sleep_close(closed);
    free(closed);
}

static unsigned look_at_connections(struct pf_ofi_lane *lane)
{
    unsigned made = 0;
    if (lane->eq)
        made = pf_ofi_eq_progress(lane);
    pf_list_for_each (item, &lane->listeners) {
        struct pf_ofi_listener *listener = pf_container_of(item, struct pf_ofi_listener, link);
        const struct pf_ofi_cm *cm = pf_ofi_device_of(lane->lane.device)->cm;
        if (cm->poll_listener)
            made += cm->poll_listener(listener);
    }
    return made;
}

/* The next call begins with the endpoint that this one did not reach. */
static void rotate(struct pf_ofi_lane *lane)
{
    struct pf_list *first = lane->endpoints.next;
    pf_list_remove(first);
    pf_list_append(&lane->endpoints, first);
}

static unsigned move_endpoints(struct pf_ofi_lane *lane, unsigned made, unsigned budget)
{
    lane->unsettled = false;
    pf_list_for_each (item, &lane->endpoints) {
        struct pf_ofi_endpoint *endpoint = pf_container_of(item, struct pf_ofi_endpoint, link);
        if (made < budget)
            made += pf_ofi_endpoint_progress(endpoint, budget - made);
        if (endpoint->state != PF_OFI_CONNECTED && endpoint->state < PF_OFI_ENDED)
            lane->unsettled = true;
    }
    return made;
}

int pf_ofi_progress(struct pf_lane *base, unsigned budget)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(base);
    lane->running++;
    unsigned made = pf_ofi_finished_report(&lane->orphans, budget);
    lane->looking = lane->ticks++ % TICKS == 0 || lane->unsettled;
    if (lane->looking && made < budget)
        made += look_at_connections(lane);
    made = move_endpoints(lane, made, budget);
    if (made >= budget && !pf_list_empty(&lane->endpoints))
        rotate(lane);
    if (--lane->running == 0)
        pf_ofi_lane_reap(lane);
    return (int)made;
}
