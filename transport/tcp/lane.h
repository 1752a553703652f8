/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane: the sockets of its endpoints and listeners, their timers, and one epoll descriptor over
 * all of them. Everything here is called by the lane's owner alone.
 *
 * With few endpoints a pf_progress() tries each endpoint's socket and looks at the epoll
 * descriptor only now and then, for connections and timers; with many it asks epoll which to try.
 * An endpoint with work that no socket event announces (something posted, bytes read ahead) is on
 * the busy list.
 */
#ifndef PF_TRANSPORT_TCP_LANE_H
#define PF_TRANSPORT_TCP_LANE_H

#include "transport/transport.h"

struct pf_tcp_lane;
struct pf_tcp_endpoint;

/* A descriptor that the lane's epoll watches. fd is -1 while there is none. */
struct pf_tcp_watch {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT: as given to epoll */
    void (*ready)(struct pf_tcp_watch *watch, uint32_t events);
};

/* Something to do at a time of pf_now_ns(). On the lane's list while running. */
struct pf_tcp_timer {
    struct pf_list link;
    uint64_t at;
    void (*expired)(struct pf_tcp_timer *timer);
};

/* Objects are freed when no frame of the stack and no fetched event can refer to them any more. */
struct pf_tcp_grave {
    struct pf_list link;
    void (*bury)(struct pf_tcp_grave *grave);
};

struct pf_tcp_lane {
    struct pf_lane base;
    int epoll_fd;
    struct pf_tcp_watch alarm; /* a timerfd: wakes a sleeping owner for timers and busy work */
    uint64_t alarm_at;         /* what it is set to; 0: not set */

    struct pf_list endpoints;
    unsigned endpoint_count;
    struct pf_list busy;
    struct pf_list listeners;
    struct pf_list timers;
    struct pf_list finished; /* operations whose done() is due, their status in scratch[0] */
    struct pf_list graves;

    unsigned left;  /* callbacks that this pf_progress() may still make */
    unsigned looks; /* calls since the epoll descriptor was last looked at */
    bool running;   /* inside pf_progress() */
    bool armed;     /* the owner may sleep: keep epoll's interest and the alarm exact */
};

int pf_tcp_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                     struct pf_lane **lane, struct pf_why *why);
void pf_tcp_lane_close(struct pf_lane *lane);
int pf_tcp_progress(struct pf_lane *lane, unsigned budget);
int pf_tcp_lane_fd(struct pf_lane *lane);
int pf_tcp_lane_arm(struct pf_lane *lane);

/* Before each callback to the owner: false if the budget is used up. */
bool pf_tcp_lane_spend(struct pf_tcp_lane *lane);

void pf_tcp_lane_add(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint);
void pf_tcp_lane_remove(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint);
void pf_tcp_lane_busy(struct pf_tcp_lane *lane, struct pf_tcp_endpoint *endpoint);

/* True if epoll's interest in endpoints has to be exact: it decides who is tried, or who wakes. */
bool pf_tcp_lane_needs_interest(const struct pf_tcp_lane *lane);

/* Have done(op, status) called later; and call those that the budget allows. True if all were. */
void pf_tcp_lane_finish(struct pf_tcp_lane *lane, struct pf_op *op, int status);
bool pf_tcp_lane_deliver(struct pf_tcp_lane *lane);

void pf_tcp_lane_bury(struct pf_tcp_lane *lane, struct pf_tcp_grave *grave);

int pf_tcp_watch_start(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch, uint32_t events);
void pf_tcp_watch_change(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch, uint32_t events);
void pf_tcp_watch_stop(struct pf_tcp_lane *lane, struct pf_tcp_watch *watch); /* keeps the fd */

void pf_tcp_timer_start(struct pf_tcp_lane *lane, struct pf_tcp_timer *timer, uint64_t delay_ns);
void pf_tcp_timer_stop(struct pf_tcp_timer *timer);

#endif
