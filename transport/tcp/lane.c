/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/lane.h"

#include "base/clock.h"
#include "transport/tcp/endpoint.h"
#include "transport/tcp/listener.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    FEW_ENDPOINTS = 8, /* up to here each is tried, beyond epoll is asked */
    LOOK_EVERY = 16,   /* calls between two looks at epoll, with few endpoints and nobody asleep */
    EVENTS_AT_ONCE = 64,
};

static struct pf_tcp_lane *to_lane(struct pf_lane *lane)
{
    return (struct pf_tcp_lane *)lane;
}

static bool many(const struct pf_tcp_lane *lane)
{
    return lane->endpoint_count > FEW_ENDPOINTS;
}

/* ---- watches and timers ---------------------------------------------------------------------- */

int pf_tcp_watch_start(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    watch->events = events;
    return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) ? -errno : 0;
}

void pf_tcp_watch_change(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch, uint32_t events)
{
    if (watch->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = watch};
    watch->events = events;
    (void)epoll_ctl(lane->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void pf_tcp_watch_stop(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch)
{
    (void)epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

/* Absolute; 1 is long past, so that the alarm goes off at once. */
static void set_alarm(struct pf_tcp_lane *lane, uint64_t at)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)}};
    if (lane->alarm_at != 0 && lane->alarm_at <= at)
        return;
    lane->alarm_at = at;
    (void)timerfd_settime(lane->alarm.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void alarm_ready(struct pf_tcp_watch *watch, uint32_t events)
{
    (void)events;
    struct pf_tcp_lane *lane = pf_container_of(watch, struct pf_tcp_lane, alarm);
    uint64_t times;
    ssize_t got = read(watch->fd, &times, sizeof times);
    (void)got; /* EAGAIN: it was set anew in between */
    lane->alarm_at = 0;
}

void pf_tcp_timer_start(struct pf_tcp_lane *lane, struct pf_tcp_timer *timer, uint64_t delay_ns)
{
    pf_tcp_timer_stop(timer);
    timer->at = pf_now_ns() + delay_ns;
    pf_list_append(&lane->timers, &timer->link);
    if (lane->armed && !lane->running)
        set_alarm(lane, timer->at);
}

void pf_tcp_timer_stop(struct pf_tcp_timer *timer)
{
    pf_list_remove(&timer->link);
}

static struct pf_tcp_timer *earliest_timer(struct pf_tcp_lane *lane)
{
    struct pf_tcp_timer *earliest = NULL;
    pf_list_for_each (item, &lane->timers) {
        struct pf_tcp_timer *timer = pf_container_of(item, struct pf_tcp_timer, link);
        if (!earliest || timer->at < earliest->at)
            earliest = timer;
    }
    return earliest;
}

static void expire_timers(struct pf_tcp_lane *lane)
{
    if (pf_list_empty(&lane->timers))
        return;
    uint64_t now = pf_now_ns();
    for (;;) {
        struct pf_tcp_timer *timer = earliest_timer(lane);
        if (!timer || timer->at > now)
            return;
        pf_tcp_timer_stop(timer);
        timer->expired(timer);
    }
}

/* What wakes a sleeping owner besides the sockets. */
static void keep_alarm(struct pf_tcp_lane *lane)
{
    if (!pf_list_empty(&lane->busy) || !pf_list_empty(&lane->finished)) {
        set_alarm(lane, 1);
        return;
    }
    struct pf_tcp_timer *timer = earliest_timer(lane);
    if (timer)
        set_alarm(lane, timer->at);
}

/* ---- the lane's lists ------------------------------------------------------------------------ */

bool pf_tcp_lane_needs_interest(const struct pf_tcp_lane *lane)
{
    return lane->armed || many(lane);
}

static void keep_interest(struct pf_tcp_lane *lane)
{
    pf_list_for_each (item, &lane->endpoints)
        pf_tcp_endpoint_interest(pf_container_of(item, struct pf_tcp_endpoint, on_lane));
}

void pf_tcp_lane_add(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint)
{
    pf_list_append(&lane->endpoints, &endpoint->on_lane);
    /* From here on epoll decides, and its interest was not kept so far. */
    if (++lane->endpoint_count == FEW_ENDPOINTS + 1)
        keep_interest(lane);
}

void pf_tcp_lane_remove(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint)
{
    pf_list_remove(&endpoint->on_lane);
    pf_list_remove(&endpoint->busy);
    lane->endpoint_count--;
}

void pf_tcp_lane_busy(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint)
{
    if (pf_list_empty(&endpoint->busy))
        pf_list_append(&lane->busy, &endpoint->busy);
    if (lane->armed && !lane->running)
        set_alarm(lane, 1);
}

bool pf_tcp_lane_spend(struct pf_tcp_lane *lane)
{
    if (lane->left == 0)
        return false;
    lane->left--;
    return true;
}

void pf_tcp_lane_finish(struct pf_tcp_lane *lane, struct pf_op *op, int status)
{
    op->scratch[0] = (uint64_t)(int64_t)status;
    pf_list_append(&lane->finished, &op->link);
    if (lane->armed && !lane->running)
        set_alarm(lane, 1);
}

static void call_done(struct pf_list *item)
{
    struct pf_op *op = pf_container_of(item, struct pf_op, link);
    op->done(op, (int)(int64_t)op->scratch[0], 0);
}

bool pf_tcp_lane_deliver(struct pf_tcp_lane *lane)
{
    while (!pf_list_empty(&lane->finished)) {
        if (!pf_tcp_lane_spend(lane))
            return false;
        call_done(pf_list_pop(&lane->finished));
    }
    return true;
}

void pf_tcp_lane_bury(struct pf_tcp_lane *lane, struct pf_tcp_grave *grave)
{
    pf_list_append(&lane->graves, &grave->link);
}

static void bury_all(struct pf_tcp_lane *lane)
{
    struct pf_list *item;
    while ((item = pf_list_pop(&lane->graves))) {
        struct pf_tcp_grave *grave = pf_container_of(item, struct pf_tcp_grave, link);
        grave->bury(grave);
    }
}

/* ---- progress -------------------------------------------------------------------------------- */

static void look(struct pf_tcp_lane *lane)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    lane->looks = 0;
    int count = epoll_wait(lane->epoll_fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < count; i++) {
        struct pf_tcp_watch *watch = events[i].data.ptr;
        /* A callback of an earlier event may have closed this one. */
        if (watch->fd >= 0)
            watch->ready(watch, events[i].events);
    }
}

static bool look_is_due(struct pf_tcp_lane *lane)
{
    return lane->armed || many(lane) || ++lane->looks >= LOOK_EVERY;
}

/* Turns the list, so that a small budget does not favour the first. Callbacks may change it. */
static void visit_each(struct pf_tcp_lane *lane)
{
    for (unsigned i = lane->endpoint_count; i > 0 && !pf_list_empty(&lane->endpoints); i--) {
        struct pf_list *first = lane->endpoints.next;
        if (first->next != &lane->endpoints) {
            pf_list_remove(first);
            pf_list_append(&lane->endpoints, first);
        }
        pf_tcp_endpoint_visit(pf_container_of(first, struct pf_tcp_endpoint, on_lane));
    }
}

/* Only who is busy now: those that become so again wait for the next call. */
static void visit_busy(struct pf_tcp_lane *lane)
{
    struct pf_list now = lane->busy;
    if (pf_list_empty(&lane->busy))
        return;
    now.next->prev = now.prev->next = &now;
    pf_list_init(&lane->busy);
    struct pf_list *item;
    while ((item = pf_list_pop(&now)))
        pf_tcp_endpoint_visit(pf_container_of(item, struct pf_tcp_endpoint, busy));
}

int pf_tcp_progress(struct pf_lane *base, unsigned budget)
{
    struct pf_tcp_lane *lane = to_lane(base);
    lane->left = budget;
    lane->running = true;
    if (pf_tcp_lane_deliver(lane)) {
        expire_timers(lane);
        if (look_is_due(lane))
            look(lane);
        if (many(lane))
            visit_busy(lane);
        else
            visit_each(lane);
    }
    lane->running = false;
    bury_all(lane);
    unsigned made = budget - lane->left;
    if (made > 0)
        lane->armed = false;
    else if (lane->armed)
        keep_alarm(lane);
    return (int)made;
}

int pf_tcp_lane_fd(struct pf_lane *lane)
{
    return to_lane(lane)->epoll_fd;
}

int pf_tcp_lane_arm(struct pf_lane *base)
{
    struct pf_tcp_lane *lane = to_lane(base);
    if (!pf_list_empty(&lane->busy) || !pf_list_empty(&lane->finished))
        return -EAGAIN;
    lane->armed = true;
    keep_interest(lane);
    keep_alarm(lane);
    return 0;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int open_alarm(struct pf_tcp_lane *lane)
{
    lane->alarm.ready = alarm_ready;
    lane->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (lane->alarm.fd < 0)
        return -errno;
    int status = pf_tcp_watch_start(lane, &lane->alarm, EPOLLIN);
    if (status)
        close(lane->alarm.fd);
    return status;
}

int pf_tcp_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                     struct pf_lane **out, struct pf_why *why)
{
    (void)attr; /* completions are not queued: there is no depth to keep */
    struct pf_tcp_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return pf_why(why, -ENOMEM, "opening a tcp lane: out of memory");
    lane->base.device = device;
    struct pf_list *lists[] = {&lane->endpoints, &lane->busy,     &lane->listeners,
                               &lane->timers,    &lane->finished, &lane->graves};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        pf_list_init(lists[i]);

    int status = 0;
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->epoll_fd < 0) {
        status = -errno;
        goto free_lane;
    }
    status = open_alarm(lane);
    if (status)
        goto close_epoll;
    *out = &lane->base;
    return 0;

close_epoll:
    close(lane->epoll_fd);
free_lane:
    free(lane);
    return pf_why(why, status, "opening a tcp lane's descriptors: %s; RLIMIT_NOFILE may be low",
                  strerrordesc_np(-status));
}

/* What the owner left: streams that only wait for the peer to take the reason they ended. */
static void close_rest(struct pf_tcp_lane *lane)
{
    while (!pf_list_empty(&lane->listeners))
        pf_tcp_listener_close(
            &pf_container_of(lane->listeners.next, struct pf_tcp_listener, on_lane)->base);
    while (!pf_list_empty(&lane->endpoints))
        pf_tcp_endpoint_destroy(
            pf_container_of(lane->endpoints.next, struct pf_tcp_endpoint, on_lane));
}

void pf_tcp_lane_close(struct pf_lane *base)
{
    struct pf_tcp_lane *lane = to_lane(base);
    lane->running = true;
    close_rest(lane);
    while (!pf_list_empty(&lane->finished))
        call_done(pf_list_pop(&lane->finished));
    bury_all(lane);
    close(lane->alarm.fd);
    close(lane->epoll_fd);
    free(lane);
}
