/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/inproc/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int watch(int poll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void close_descriptors(struct inproc_lane *lane)
{
    const int fds[] = {lane->poll_fd, lane->timer_fd, lane->wake_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int open_descriptors(struct inproc_lane *lane)
{
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lane->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    lane->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->wake_fd >= 0 && lane->timer_fd >= 0 && lane->poll_fd >= 0 &&
        watch(lane->poll_fd, lane->wake_fd) == 0 && watch(lane->poll_fd, lane->timer_fd) == 0)
        return 0;
    int err = -errno;
    close_descriptors(lane);
    return err;
}

int pf_inproc_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                        struct pf_lane **lane, struct pf_why *why)
{
    (void)attr; /* the list of events has no bound */
    struct inproc_lane *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "opening an in-process lane: out of memory");
    self->base.device = device;
    pf_list_init(&self->endpoints);
    pf_list_init(&self->listeners);
    pf_list_init(&self->events);
    int err = open_descriptors(self);
    if (err) {
        free(self);
        return pf_why(why, err,
                      "opening an in-process lane: making its event descriptors failed: %s; if too "
                      "many files are open, raise the limit with ulimit -n",
                      strerror(-err));
    }
    *lane = &self->base;
    return 0;
}

/* Give the place in the endpoint's queue back before done(), so that done() may post again. */
static void call_done(struct pf_op *op)
{
    if (op->endpoint) {
        struct inproc_endpoint *endpoint =
            pf_container_of(op->endpoint, struct inproc_endpoint, base);
        if (op->scratch[ROOM_IS_RECEIVE])
            endpoint->receives_left++;
        else
            endpoint->sends_left++;
    }
    op->done(op, (int)(int64_t)op->scratch[ROOM_STATUS], op->scratch[ROOM_BYTES]);
}

static unsigned dispatch(struct inproc_lane *lane, unsigned budget)
{
    unsigned calls = 0;
    struct pf_list *item;
    while (calls < budget && (item = pf_list_pop(&lane->events))) {
        call_done(pf_container_of(item, struct pf_op, link));
        calls++;
    }
    return calls;
}

void pf_inproc_lane_close(struct pf_lane *lane)
{
    struct inproc_lane *self = pf_container_of(lane, struct inproc_lane, base);
    while (dispatch(self, 64) > 0)
        continue;
    close_descriptors(self);
    free(self);
}

void pf_inproc_lane_event(struct inproc_lane *lane, struct pf_op *op, int status, size_t bytes)
{
    op->scratch[ROOM_STATUS] = (uint64_t)(int64_t)status;
    op->scratch[ROOM_BYTES] = bytes;
    pf_list_append(&lane->events, &op->link);
}

/* Two steps, so that callbacks, which may close anything, run while no list is being walked. */
static void collect(struct inproc_lane *lane, unsigned budget)
{
    pf_list_for_each (item, &lane->listeners) {
        struct inproc_listener *listener = pf_container_of(item, struct inproc_listener, on_lane);
        if (pf_list_empty(&listener->request_event.link) && pf_inproc_asked(listener))
            pf_inproc_lane_event(lane, &listener->request_event, 0, 0);
    }
    pf_list_for_each (item, &lane->endpoints)
        pf_inproc_endpoint_collect(pf_container_of(item, struct inproc_endpoint, on_lane), budget);
}

int pf_inproc_progress(struct pf_lane *lane, unsigned budget)
{
    struct inproc_lane *self = pf_container_of(lane, struct inproc_lane, base);
    collect(self, budget);
    return (int)dispatch(self, budget);
}

int pf_inproc_lane_fd(struct pf_lane *lane)
{
    return pf_container_of(lane, struct inproc_lane, base)->poll_fd;
}

void pf_inproc_lane_wake(struct inproc_lane *lane)
{
    if (!atomic_exchange(&lane->armed, false))
        return;
    uint64_t one = 1;
    ssize_t written = write(lane->wake_fd, &one, sizeof one);
    (void)written; /* fails only if the counter is full: it is readable then */
}

void pf_inproc_lane_wake_at(struct inproc_lane *lane, uint64_t deadline)
{
    if (lane->timer_at && lane->timer_at <= deadline)
        return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(deadline / 1000000000),
                                         .tv_nsec = (long)(deadline % 1000000000)}};
    timerfd_settime(lane->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    lane->timer_at = deadline;
}

static void drain(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got; /* -EAGAIN: it was not readable */
}

static bool anything_ready(struct inproc_lane *lane)
{
    if (!pf_list_empty(&lane->events))
        return true;
    pf_list_for_each (item, &lane->listeners)
        if (pf_inproc_asked(pf_container_of(item, struct inproc_listener, on_lane)))
            return true;
    pf_list_for_each (item, &lane->endpoints)
        if (pf_inproc_endpoint_ready(pf_container_of(item, struct inproc_endpoint, on_lane)))
            return true;
    return false;
}

int pf_inproc_lane_arm(struct pf_lane *lane)
{
    struct inproc_lane *self = pf_container_of(lane, struct inproc_lane, base);
    drain(self->wake_fd);
    if (self->timer_at && self->timer_at <= pf_now_ns()) {
        drain(self->timer_fd);
        self->timer_at = 0;
    }
    pf_list_for_each (item, &self->endpoints) {
        uint64_t deadline = pf_container_of(item, struct inproc_endpoint, on_lane)->deadline;
        if (deadline)
            pf_inproc_lane_wake_at(self, deadline);
    }
    /* Before looking: a peer that posts after the look must find the lane armed. */
    atomic_store(&self->armed, true);
    return anything_ready(self) ? -EAGAIN : 0;
}
