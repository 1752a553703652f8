/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    DEFAULT_DEPTH = 4096,
    /*
     * Connection, device and timer events cost a system call to look for; a spinning owner does
     * so once in this many calls of pf_progress(), an armed lane every time.
     */
    LOOK_EVERY = 32,
    ACK_BATCH = 64, /* acknowledging completion events takes a lock */
};

enum source { COMPLETIONS, CONNECTIONS, DEVICE, TIMER, WAKEUP, SOURCES };

/* ---- opening ---- */

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ? -errno : 0;
}

static int watch(struct pf_verbs_lane *lane, int fd, enum source source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = source};
    return epoll_ctl(lane->epoll, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

static int open_descriptors(struct pf_verbs_lane *lane)
{
    lane->epoll = epoll_create1(EPOLL_CLOEXEC);
    lane->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    lane->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (lane->epoll < 0 || lane->timer < 0 || lane->wakeup < 0)
        return -errno;
    lane->events = rdma_create_event_channel();
    if (!lane->events)
        return pf_verbs_errno(-1);
    return set_nonblocking(lane->events->fd);
}

/* After open_queue(). */
static int watch_all(struct pf_verbs_lane *lane)
{
    const int fds[SOURCES] = {[COMPLETIONS] = lane->channel->fd,
                              [CONNECTIONS] = lane->events->fd,
                              [DEVICE] = pf_verbs_device_of(lane)->context->async_fd,
                              [TIMER] = lane->timer,
                              [WAKEUP] = lane->wakeup};
    int rc = 0;
    for (unsigned i = 0; i < SOURCES && rc == 0; i++)
        rc = watch(lane, fds[i], i);
    return rc;
}

static int create_completion_queue(struct pf_verbs_lane *lane)
{
    struct ibv_context *context = pf_verbs_device_of(lane)->context;
    errno = 0;
    lane->channel = ibv_create_comp_channel(context);
    if (!lane->channel)
        return pf_verbs_errno(-1);
    lane->cq = ibv_create_cq(context, (int)lane->slots, lane, lane->channel, 0);
    if (!lane->cq)
        return pf_verbs_errno(-1);
    return set_nonblocking(lane->channel->fd);
}

/* Everything that is sized by the depth. */
static int open_queue(struct pf_verbs_lane *lane, struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    const char *name = ibv_get_device_name(device->context->device);
    if (lane->depth > device->max_cqe) {
        pf_why(why, -EINVAL,
               "a lane of depth %u on %s: its completion queues have at most %u entries",
               lane->depth, name, device->max_cqe);
        return -EINVAL;
    }
    /* Beside what the callers post every endpoint has one work request of its own. */
    lane->slots = lane->depth > device->max_cqe / 2 ? device->max_cqe : 2 * lane->depth;
    lane->slot = calloc(lane->slots, sizeof *lane->slot);
    if (!lane->slot) {
        pf_why(why, -ENOMEM, "out of memory for a lane of depth %u", lane->depth);
        return -ENOMEM;
    }
    pf_verbs_slots_init(lane);
    int rc = create_completion_queue(lane);
    if (rc != 0)
        pf_why(why, rc, "creating a completion queue of %u entries on %s: %s", lane->slots, name,
               strerrordesc_np(-rc));
    return rc;
}

/* Those beside the queue's own; then one descriptor over all. */
static int open_events(struct pf_verbs_lane *lane, struct pf_why *why)
{
    int rc = open_descriptors(lane);
    if (rc == 0)
        rc = watch_all(lane);
    if (rc != 0)
        pf_why(why, rc, "opening a lane's event descriptors: %s", strerrordesc_np(-rc));
    return rc;
}

static void destroy(struct pf_verbs_lane *lane)
{
    if (lane->cq) {
        ibv_ack_cq_events(lane->cq, lane->unacked); /* ibv_destroy_cq() waits for this */
        ibv_destroy_cq(lane->cq);
    }
    if (lane->channel)
        ibv_destroy_comp_channel(lane->channel);
    if (lane->events)
        rdma_destroy_event_channel(lane->events);
    const int fds[] = {lane->epoll, lane->timer, lane->wakeup};
    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(lane->slot);
    free(lane);
}

static void list_in_device(struct pf_verbs_lane *lane)
{
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    pthread_mutex_lock(&device->lock);
    pf_list_append(&device->lanes, &lane->device_link);
    pthread_mutex_unlock(&device->lock);
}

int pf_verbs_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                       struct pf_lane **out, struct pf_why *why)
{
    struct pf_verbs_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return pf_why(why, -ENOMEM, "out of memory");
    lane->base.device = device;
    lane->depth = attr && attr->depth ? attr->depth : DEFAULT_DEPTH;
    if ((!attr || !attr->depth) && lane->depth > pf_verbs_device(device)->max_cqe / 2)
        lane->depth = pf_verbs_device(device)->max_cqe / 2;
    lane->epoll = lane->timer = lane->wakeup = -1;
    pf_list_init(&lane->ready);
    pf_list_init(&lane->endpoints);
    pf_list_init(&lane->due);

    int rc = open_queue(lane, why);
    if (rc == 0)
        rc = open_events(lane, why);
    if (rc != 0) {
        destroy(lane);
        return rc;
    }
    list_in_device(lane);
    *out = &lane->base;
    return 0;
}

void pf_verbs_lane_close(struct pf_lane *base)
{
    struct pf_verbs_lane *lane = pf_verbs_lane(base);
    struct pf_verbs_device *device = pf_verbs_device_of(lane);
    while (!pf_list_empty(&lane->ready))
        pf_verbs_deliver(lane, UINT32_MAX);
    pthread_mutex_lock(&device->lock);
    pf_list_remove(&lane->device_link);
    pthread_mutex_unlock(&device->lock);
    destroy(lane);
}

/* ---- endpoints come and go ---- */

static void set_timer(struct pf_verbs_lane *lane, time_t seconds)
{
    const struct itimerspec every = {.it_interval.tv_sec = seconds, .it_value.tv_sec = seconds};
    timerfd_settime(lane->timer, 0, &every, NULL);
}

int pf_verbs_lane_admit(struct pf_verbs_lane *lane, struct pf_verbs_endpoint *endpoint,
                        struct pf_why *why)
{
    unsigned depths = endpoint->send_depth + endpoint->recv_depth;
    if (depths > lane->depth - lane->used || depths + 1 > lane->slots - lane->slots_taken)
        return pf_why(why, -ENOMEM,
                      "an endpoint of depths %u and %u: %u of the lane's %u completions are taken; "
                      "open the lane with more",
                      endpoint->send_depth, endpoint->recv_depth, lane->used, lane->depth);
    lane->used += depths;
    lane->slots_taken += depths + 1;
    if (pf_list_empty(&lane->endpoints))
        set_timer(lane, 1);
    pf_list_append(&lane->endpoints, &endpoint->lane_link);
    return 0;
}

void pf_verbs_lane_dismiss(struct pf_verbs_lane *lane, struct pf_verbs_endpoint *endpoint)
{
    unsigned depths = endpoint->send_depth + endpoint->recv_depth;
    lane->used -= depths;
    lane->slots_taken -= depths + 1;
    pf_list_remove(&endpoint->lane_link);
    pf_list_remove(&endpoint->due_link);
    if (pf_list_empty(&lane->endpoints))
        set_timer(lane, 0);
}

/* ---- events ---- */

/* The event is copied and acknowledged first: destroying its id would wait for that. */
static unsigned dispatch_connection_event(struct rdma_cm_event *event)
{
    uint8_t data[UINT8_MAX];
    struct pf_verbs_cm_owner *owner = event->id->context;
    const struct rdma_conn_param *param = &event->param.conn;
    struct pf_verbs_cm_event copy = {.type = event->event,
                                     .status = event->status,
                                     .id = event->id,
                                     .data = data,
                                     .len = param->private_data ? param->private_data_len : 0,
                                     .reads_in = param->responder_resources,
                                     .reads_out = param->initiator_depth};
    if (copy.len > 0)
        memcpy(data, param->private_data, copy.len);
    rdma_ack_cm_event(event);
    return owner->event(owner, &copy);
}

static unsigned read_connection_events(struct pf_verbs_lane *lane)
{
    struct rdma_cm_event *event;
    unsigned calls = 0;
    while (rdma_get_cm_event(lane->events, &event) == 0)
        calls += dispatch_connection_event(event);
    return calls;
}

static void tick(struct pf_verbs_lane *lane)
{
    uint64_t expirations;
    if (read(lane->timer, &expirations, sizeof expirations) < 0)
        return;
    pf_list_for_each (item, &lane->endpoints)
        pf_verbs_tick(pf_container_of(item, struct pf_verbs_endpoint, lane_link));
}

static void take_async_errors(struct pf_verbs_lane *lane)
{
    int lane_error = atomic_load(&lane->async_error);
    pf_list_for_each (item, &lane->endpoints) {
        struct pf_verbs_endpoint *endpoint =
            pf_container_of(item, struct pf_verbs_endpoint, lane_link);
        int error = atomic_exchange(&endpoint->async_error, 0);
        if (lane_error != 0)
            pf_verbs_fail(endpoint, lane_error);
        else if (error == -ECONNRESET)
            pf_verbs_fail_unknown(endpoint);
        else if (error != 0)
            pf_verbs_fail(endpoint, error);
    }
}

static unsigned handle(struct pf_verbs_lane *lane, enum source source)
{
    eventfd_t count;
    switch (source) {
    case CONNECTIONS:
        return read_connection_events(lane);
    case DEVICE:
        pf_verbs_read_async(pf_verbs_device_of(lane));
        return 0;
    case TIMER:
        tick(lane);
        return 0;
    case WAKEUP:
        eventfd_read(lane->wakeup, &count);
        return 0;
    default:
        /*
         * A completion event stays until pf_lane_arm() takes it: taken here, and its completion
         * being one of ours that calls nobody, the caller would sleep on an unarmed queue.
         */
        return 0;
    }
}

static unsigned look(struct pf_verbs_lane *lane)
{
    struct epoll_event events[SOURCES];
    unsigned calls = 0;
    lane->quiet_calls = 0;
    int found = epoll_wait(lane->epoll, events, SOURCES, 0);
    for (int i = 0; i < found; i++)
        calls += handle(lane, events[i].data.u32);
    if (found > 0)
        lane->armed = false;
    if (atomic_exchange(&lane->attention, false))
        take_async_errors(lane);
    return calls;
}

/* Each endpoint once: it may put itself back on the list. Callbacks may close any of them. */
static unsigned report(struct pf_verbs_lane *lane, bool drained)
{
    struct pf_list now, *item;
    unsigned calls = 0;
    pf_list_init(&now);
    while ((item = pf_list_pop(&lane->due)))
        pf_list_append(&now, item);
    while ((item = pf_list_pop(&now)))
        calls +=
            pf_verbs_report(pf_container_of(item, struct pf_verbs_endpoint, due_link), drained);
    return calls;
}

int pf_verbs_progress(struct pf_lane *base, unsigned budget)
{
    struct pf_verbs_lane *lane = pf_verbs_lane(base);
    unsigned calls = 0;
    if (lane->armed || ++lane->quiet_calls >= LOOK_EVERY)
        calls += look(lane);
    bool drained = pf_verbs_reap(lane, budget);
    calls += pf_verbs_deliver(lane, budget);
    if (!pf_list_empty(&lane->due))
        calls += report(lane, drained && pf_list_empty(&lane->ready));
    if (calls == 0 && atomic_load_explicit(&lane->async_error, memory_order_relaxed) != 0 &&
        pf_list_empty(&lane->due))
        return atomic_load(&lane->async_error);
    return (int)calls;
}

int pf_verbs_lane_fd(struct pf_lane *base)
{
    return pf_verbs_lane(base)->epoll;
}

static void take_completion_events(struct pf_verbs_lane *lane)
{
    struct ibv_cq *cq;
    void *context;
    while (ibv_get_cq_event(lane->channel, &cq, &context) == 0)
        lane->unacked++;
    if (lane->unacked >= ACK_BATCH) {
        ibv_ack_cq_events(lane->cq, lane->unacked);
        lane->unacked = 0;
    }
}

/*
 * Old events are taken first, then the queue is armed: a completion from here on makes the
 * descriptor readable, and one before it is found by the caller's pf_progress() after arming.
 */
int pf_verbs_lane_arm(struct pf_lane *base)
{
    struct pf_verbs_lane *lane = pf_verbs_lane(base);
    take_completion_events(lane);
    int error = ibv_req_notify_cq(lane->cq, 0);
    if (error != 0)
        return -error;
    lane->armed = true;
    return pf_list_empty(&lane->ready) && pf_list_empty(&lane->due) ? 0 : -EAGAIN;
}
