/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/fault/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* What an operation, given back by this back end and not the inner, keeps in pf_op.scratch. */
enum { ROOM_STATUS, ROOM_BYTES };

static void close_descriptors(struct fault_lane *lane)
{
    if (lane->timer_fd >= 0)
        close(lane->timer_fd);
    if (lane->poll_fd >= 0)
        close(lane->poll_fd);
}

/* One descriptor over the inner lane's and a timer of our own. */
static int open_descriptors(struct fault_lane *lane)
{
    struct epoll_event event = {.events = EPOLLIN};
    int inner_fd = pf_lane_fd(lane->inner);
    if (inner_fd < 0)
        return inner_fd;
    lane->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    lane->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->timer_fd >= 0 && lane->poll_fd >= 0 &&
        epoll_ctl(lane->poll_fd, EPOLL_CTL_ADD, lane->timer_fd, &event) == 0 &&
        epoll_ctl(lane->poll_fd, EPOLL_CTL_ADD, inner_fd, &event) == 0)
        return 0;
    int err = -errno;
    close_descriptors(lane);
    return err;
}

int pf_fault_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                       struct pf_lane **lane, struct pf_why *why)
{
    struct fault_device *outer = pf_container_of(device, struct fault_device, base);
    enum fault_kind kind;
    int err = pf_fault_before(outer, "opening a lane", &kind, why);
    if (err == 0 && kind == FAULT_CUT)
        err = pf_why(why, -EIO, "opening a lane failed: this was asked for with do=cut");
    if (err)
        return err;
    struct fault_lane *self = calloc(1, sizeof *self);
    if (!self)
        return pf_why(why, -ENOMEM, "opening a lane: out of memory");
    self->base.device = device;
    self->timer_fd = self->poll_fd = -1;
    pf_list_init(&self->endpoints);
    pf_list_init(&self->events);
    err = pf_lane_open(outer->inner, attr, &self->inner, why);
    if (err)
        goto free_lane;
    err = device->caps.can_sleep ? open_descriptors(self) : 0;
    if (err) {
        pf_why(why, err, "opening a lane: making its event descriptors failed: %s", strerror(-err));
        goto close_inner;
    }
    *lane = &self->base;
    return 0;

close_inner:
    pf_lane_close(self->inner);
free_lane:
    free(self);
    return err;
}

static unsigned dispatch(struct fault_lane *lane, unsigned budget)
{
    unsigned calls = 0;
    struct pf_list *item;
    while (calls < budget && (item = pf_list_pop(&lane->events))) {
        struct pf_op *op = pf_container_of(item, struct pf_op, link);
        op->done(op, (int)(int64_t)op->scratch[ROOM_STATUS], op->scratch[ROOM_BYTES]);
        calls++;
    }
    return calls;
}

void pf_fault_lane_close(struct pf_lane *lane)
{
    struct fault_lane *self = pf_container_of(lane, struct fault_lane, base);
    close_descriptors(self);
    pf_lane_close(self->inner);
    while (dispatch(self, 64) > 0)
        continue;
    free(self);
}

int pf_fault_progress(struct pf_lane *lane, unsigned budget)
{
    struct fault_lane *self = pf_container_of(lane, struct fault_lane, base);
    pf_list_for_each (item, &self->endpoints)
        pf_fault_wait_over(pf_container_of(item, struct fault_endpoint, on_lane));
    unsigned calls = dispatch(self, budget);
    if (calls >= budget)
        return (int)calls;
    int more = pf_progress(self->inner, budget - calls);
    return more < 0 ? more : (int)calls + more;
}

int pf_fault_lane_fd(struct pf_lane *lane)
{
    struct fault_lane *self = pf_container_of(lane, struct fault_lane, base);
    return self->poll_fd >= 0 ? self->poll_fd : -EOPNOTSUPP;
}

int pf_fault_lane_arm(struct pf_lane *lane)
{
    struct fault_lane *self = pf_container_of(lane, struct fault_lane, base);
    if (self->timer_at && self->timer_at <= pf_now_ns()) {
        uint64_t count;
        ssize_t got = read(self->timer_fd, &count, sizeof count);
        (void)got; /* -EAGAIN: not yet readable */
        self->timer_at = 0;
    }
    pf_list_for_each (item, &self->endpoints) {
        struct fault_endpoint *endpoint = pf_container_of(item, struct fault_endpoint, on_lane);
        if (!pf_list_empty(&endpoint->waiting))
            pf_fault_wake_at(
                self, pf_container_of(endpoint->waiting.next, struct fault_waiting, node)->due);
    }
    int err = pf_lane_arm(self->inner);
    return err == 0 && !pf_list_empty(&self->events) ? -EAGAIN : err;
}

void pf_fault_event(struct fault_lane *lane, struct pf_op *op, int status, size_t bytes)
{
    op->scratch[ROOM_STATUS] = (uint64_t)(int64_t)status;
    op->scratch[ROOM_BYTES] = bytes;
    pf_list_append(&lane->events, &op->link);
}

void pf_fault_wake_at(struct fault_lane *lane, uint64_t due)
{
    if (lane->timer_fd < 0 || (lane->timer_at && lane->timer_at <= due))
        return;
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)}};
    timerfd_settime(lane->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    lane->timer_at = due;
}
