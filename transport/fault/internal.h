/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every object stands for one of the inner back end. Operations of the caller's go to the inner
 * back end as they are, except the one that is interfered with and those that wait behind it.
 * Only the device is shared by threads; all else belongs to the owner of the lane.
 */
#ifndef PF_TRANSPORT_FAULT_INTERNAL_H
#define PF_TRANSPORT_FAULT_INTERNAL_H

#include "transport/fault/fault.h"

#include <stdatomic.h>

enum { FAULT_MAX_GATHER = 32, FAULT_URI_BYTES = 320 };

enum fault_kind { FAULT_NONE, FAULT_FAIL, FAULT_CUT, FAULT_DROP, FAULT_DELAY, FAULT_CORRUPT };

struct fault_plan {
    unsigned at; /* 0: never */
    enum fault_kind kind;
    unsigned ms;
    unsigned pins; /* 1: say that registering pins */
};

struct fault_device {
    struct pf_device base;
    struct pf_device *inner;
    struct fault_plan plan;
    atomic_uint count;
    atomic_bool fired;
};

struct fault_mr {
    struct pf_mr base;
    struct pf_mr *inner;
};

struct fault_lane {
    struct pf_lane base;
    struct pf_lane *inner;
    struct pf_list endpoints;
    struct pf_list events; /* pf_op.link: done() is due, not from the inner back end */
    uint64_t timer_at;     /* what timer_fd is set to, 0 if it is not */
    int timer_fd;          /* -1 if the inner back end can't sleep */
    int poll_fd;           /* epoll over timer_fd and the inner lane's descriptor */
};

struct fault_listener {
    struct pf_listener base;
    struct pf_listener *inner;
};

struct fault_request {
    struct pf_request base;
    struct pf_request *inner;
};

struct fault_endpoint {
    struct pf_endpoint base;
    struct pf_list on_lane;
    struct pf_endpoint *inner;     /* NULL once cut, or if there never was one */
    struct pf_request *unanswered; /* an accept that was dropped */
    struct pf_list waiting;        /* struct fault_waiting: delayed, or behind what is */
    struct pf_list lost;           /* pf_op.link: receives that get nothing */
    unsigned room;                 /* how many more may wait */
    bool connected;
    bool ended;   /* closed() is due or was called */
    bool hung_up; /* pf_shutdown() was called */
    struct pf_op closed_event;
};

enum fault_post_kind {
    FAULT_SEND,
    FAULT_RECV,
    FAULT_WRITE,
    FAULT_WRITE_IMM,
    FAULT_READ,
    FAULT_FLUSH,
};

/* The arguments of a post; mr's are this back end's. */
struct fault_post {
    enum fault_post_kind kind;
    const struct pf_sge *sgl;
    unsigned count;
    uint64_t remote;
    struct pf_rkey rkey;
    uint32_t imm;
};

/* A post that waits, with copies of all that its caller need not keep. */
struct fault_waiting {
    struct pf_list node;
    struct fault_post post;
    struct pf_op *op;
    uint64_t due;
    struct pf_sge sgl[FAULT_MAX_GATHER];
    uint8_t inline_data[];
};

/* plan.c */
/* The inner back end's URI, and what is to go wrong. -EINVAL, with a sentence. */
int pf_fault_parse(const char *uri, char inner[FAULT_URI_BYTES], struct fault_plan *plan,
                   struct pf_why *why);
/* Count an operation; what is to go wrong with it. */
enum fault_kind pf_fault_next(struct fault_device *device);
/* The operation was not posted for want of room: it will come again. */
void pf_fault_uncount(struct fault_device *device, enum fault_kind kind);
void pf_fault_sleep(const struct fault_device *device);

/* device.c */
int pf_fault_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
int pf_fault_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                         struct pf_why *why);
void pf_fault_device_close(struct pf_device *device);
int pf_fault_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                    struct pf_mr **mr, struct pf_why *why);
void pf_fault_mr_dereg(struct pf_mr *mr);
int pf_fault_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
int pf_fault_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                         struct pf_rkey *rkey);
/*
 * For a call that makes an object: count it and do what can be done before it.
 * 0: go on, with the kind left to the caller; -EIO: fail.
 */
int pf_fault_before(struct fault_device *device, const char *what, enum fault_kind *kind,
                    struct pf_why *why);

/* lane.c */
int pf_fault_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                       struct pf_lane **lane, struct pf_why *why);
void pf_fault_lane_close(struct pf_lane *lane);
int pf_fault_progress(struct pf_lane *lane, unsigned budget);
int pf_fault_lane_fd(struct pf_lane *lane);
int pf_fault_lane_arm(struct pf_lane *lane);
void pf_fault_event(struct fault_lane *lane, struct pf_op *op, int status, size_t bytes);
void pf_fault_wake_at(struct fault_lane *lane, uint64_t due);

/* connect.c */
int pf_fault_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                    void *ctx, struct pf_listener **listener, struct pf_why *why);
int pf_fault_listener_uri(struct pf_listener *listener, char *out, size_t size);
void pf_fault_listener_close(struct pf_listener *listener);
int pf_fault_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                     const void *data, size_t len, struct pf_endpoint **endpoint,
                     struct pf_why *why);
int pf_fault_accept(struct pf_request *request, struct pf_lane *lane,
                    const struct pf_endpoint_attr *attr, const void *data, size_t len,
                    struct pf_endpoint **endpoint, struct pf_why *why);
void pf_fault_reject(struct pf_request *request, const void *data, size_t len);

/* endpoint.c */
struct fault_endpoint *pf_fault_endpoint_make(struct fault_lane *lane,
                                              const struct pf_endpoint_attr *attr);
/* The same attributes with the events led through this endpoint. */
struct pf_endpoint_attr pf_fault_endpoint_attr(struct fault_endpoint *endpoint,
                                               const struct pf_endpoint_attr *attr);
void pf_fault_endpoint_free(struct fault_endpoint *endpoint);
void pf_fault_shutdown(struct pf_endpoint *endpoint);
void pf_fault_endpoint_close(struct pf_endpoint *endpoint);
/* closed(status) follows, whatever the inner endpoint does. */
void pf_fault_end(struct fault_endpoint *endpoint, int status);
/* The same, and cut the link. */
void pf_fault_sever(struct fault_endpoint *endpoint, int status);

/* wait.c */
/* Put a post behind those that wait, or let it wait until due. -EAGAIN, -ENOMEM. */
int pf_fault_wait(struct fault_endpoint *endpoint, const struct fault_post *post, struct pf_op *op,
                  uint64_t due);
/* Post what is due. */
void pf_fault_wait_over(struct fault_endpoint *endpoint);
void pf_fault_wait_cancel(struct fault_endpoint *endpoint);

/* corrupt.c */
/* Post with one bit wrong. */
int pf_fault_corrupt(struct fault_endpoint *endpoint, const struct fault_post *post,
                     struct pf_op *op);

/* post.c */
int pf_fault_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  struct pf_op *op);
int pf_fault_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
int pf_fault_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_fault_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                       uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op);
int pf_fault_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_fault_flush(struct pf_endpoint *endpoint, struct pf_op *op);
/* What the inner back end would check; *len: the bytes in all. */
bool pf_fault_valid(const struct fault_endpoint *endpoint, const struct fault_post *post,
                    size_t *len);
/* Give a post to the inner back end as it is. */
int pf_fault_forward(struct fault_endpoint *endpoint, const struct fault_post *post,
                     struct pf_op *op);
/* The same with an inner gather list. */
int pf_fault_forward_inner(struct fault_endpoint *endpoint, const struct fault_post *post,
                           const struct pf_sge *inner, unsigned count, struct pf_op *op);

#endif
