/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping: one epoll descriptor over the descriptors of the queues, the side sockets, and a timer
 * for what has to end at a certain time although nothing comes.
 */
#include "rdma/ofi/internal.h"

#include "base/clock.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

int pf_ofi_sleep_open(struct pf_ofi_lane *lane)
{
    lane->epoll_fd = -1;
    lane->timer_fd = -1;
    if (!lane->lane.device->caps.can_sleep)
        return 0;
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->epoll_fd < 0)
        return -errno;
    lane->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int error = lane->timer_fd < 0 ? -errno : pf_ofi_sleep_watch(lane, lane->timer_fd);
    if (error)
        pf_ofi_sleep_close(lane);
    return error;
}

void pf_ofi_sleep_close(struct pf_ofi_lane *lane)
{
    if (lane->timer_fd >= 0)
        close(lane->timer_fd);
    if (lane->epoll_fd >= 0)
        close(lane->epoll_fd);
}

int pf_ofi_sleep_watch(struct pf_ofi_lane *lane, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (lane->epoll_fd < 0)
        return 0;
    return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void pf_ofi_sleep_forget(struct pf_ofi_lane *lane, int fd)
{
    if (lane->epoll_fd >= 0)
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Returns 0 or an error of libfabric's. */
int pf_ofi_sleep_watch_fid(struct pf_ofi_lane *lane, struct fid *fid)
{
    int fd;
    if (lane->epoll_fd < 0)
        return 0;
    int error = fi_control(fid, FI_GETWAIT, &fd);
    return error ? error : pf_ofi_sleep_watch(lane, fd);
}

void pf_ofi_sleep_forget_fid(struct pf_ofi_lane *lane, struct fid *fid)
{
    int fd;
    if (lane->epoll_fd >= 0 && fi_control(fid, FI_GETWAIT, &fd) == 0)
        pf_ofi_sleep_forget(lane, fd);
}

int pf_ofi_lane_fd(struct pf_lane *lane)
{
    return lane->device->caps.can_sleep ? pf_ofi_lane_of(lane)->epoll_fd : -EOPNOTSUPP;
}

/* Something is due that no descriptor will tell of. */
static bool has_work(const struct pf_ofi_endpoint *endpoint)
{
    return !pf_list_empty(&endpoint->finished) || endpoint->state == PF_OFI_ENDED ||
           endpoint->answers_owed || endpoint->bye_owed || pf_ofi_receive_ready(endpoint) ||
           (endpoint->state == PF_OFI_DRAINING && endpoint->sends == 0);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

static uint64_t next_deadline(const struct pf_ofi_endpoint *endpoint)
{
    return pf_list_empty(&endpoint->held) ? endpoint->deadline
                                          : sooner(endpoint->deadline, endpoint->held_until);
}

/* A time in the past makes the timer expire at once; 0 stops it. */
static void set_timer(struct pf_ofi_lane *lane, uint64_t at)
{
    if (at)
        at++; /* the deadline itself is not yet late */
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / PF_OFI_SECOND), .tv_nsec = (long)(at % PF_OFI_SECOND)},
    };
    timerfd_settime(lane->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static int try_wait(struct pf_ofi_lane *lane, struct fid *fid)
{
    int error = fi_trywait(pf_ofi_device_of(lane->lane.device)->fabric, &fid, 1);
    return error ? pf_ofi_error(error) : 0;
}

static int arm_endpoint(struct pf_ofi_lane *lane, struct pf_ofi_endpoint *endpoint,
                        uint64_t *deadline)
{
    if (has_work(endpoint))
        return -EAGAIN;
    *deadline = sooner(next_deadline(endpoint), *deadline);
    return endpoint->cq ? try_wait(lane, &endpoint->cq->fid) : 0;
}

/* The next pf_progress() after this looks at connections too: the caller sleeps on what it says. */
int pf_ofi_lane_arm(struct pf_lane *base)
{
    struct pf_ofi_lane *lane = pf_ofi_lane_of(base);
    uint64_t deadline = 0;
    if (!base->device->caps.can_sleep)
        return -EOPNOTSUPP;
    lane->ticks = 0;
    if (!pf_list_empty(&lane->orphans))
        return -EAGAIN;
    int error = lane->eq ? try_wait(lane, &lane->eq->fid) : 0;
    if (error)
        return error;
    pf_list_for_each (item, &lane->endpoints) {
        error = arm_endpoint(lane, pf_container_of(item, struct pf_ofi_endpoint, link), &deadline);
        if (error)
            return error;
    }
    set_timer(lane, deadline);
    return 0;
}
