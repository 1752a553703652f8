/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How it works: the two endpoints of a connection share a link. Posting puts a message on the
 * peer's inbox there; the peer's pf_progress() carries it out (copies the data, checks keys and
 * rights) and puts it on the poster's list of finished messages; the poster's pf_progress() turns
 * it into an event. Nothing is carried out by a thread that does not own the memory it writes,
 * except that a read is carried out by the thread that owns what is read.
 *
 * Who locks what: a link's lock guards everything in the link, including the memory that queued
 * messages name: they are carried out under it, so that closing an endpoint (which takes the lock)
 * cuts off the peer. The registry's lock guards names and requests not yet delivered. A device's
 * lock guards its table of registrations. Order: link, then device; the registry's is taken alone.
 * No callback is made under a lock. All else belongs to the thread that owns the lane.
 */
#ifndef PF_TRANSPORT_INPROC_INTERNAL_H
#define PF_TRANSPORT_INPROC_INTERNAL_H

#include "transport/inproc/inproc.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    INPROC_NAME_BYTES = 128,
    INPROC_MAX_GATHER = 16,
    INPROC_INLINE_BYTES = 64,
};

struct inproc_mr {
    struct pf_mr base;
    uint64_t key; /* serial number << 32 | place in the device's table: never given twice */
};

struct inproc_place {
    struct inproc_mr *mr; /* NULL: free */
};

struct inproc_device {
    struct pf_device base;
    pthread_mutex_t lock;
    struct inproc_place *table;
    uint32_t table_size;
    uint32_t serial;
};

struct inproc_lane {
    struct pf_lane base;
    struct pf_list endpoints;
    struct pf_list listeners;
    struct pf_list events; /* pf_op.link: done() is due, in this order */
    atomic_bool armed;     /* who takes it away writes to wake_fd */
    uint64_t timer_at;     /* what timer_fd is set to, 0 if it is not */
    int wake_fd;
    int timer_fd;
    int poll_fd; /* epoll over both: the lane's one descriptor */
};

enum message_kind {
    MESSAGE_SEND,
    MESSAGE_WRITE,
    MESSAGE_WRITE_IMM,
    MESSAGE_READ,
    MESSAGE_FLUSH,
    MESSAGE_BYE,
};

/* A posted operation on its way to the peer and back. Lives in the poster's endpoint. */
struct message {
    struct pf_list node;
    enum message_kind kind;
    int status;
    struct pf_op *op; /* NULL for a bye */
    size_t len;
    unsigned count;
    struct pf_sge sgl[INPROC_MAX_GATHER];
    uint64_t remote;
    uint64_t key;
    uint32_t imm;
    uint8_t inline_data[INPROC_INLINE_BYTES];
};

struct private_data {
    uint8_t bytes[PF_PRIVATE_DATA_MAX];
    size_t len;
};

enum link_state { LINK_ASKED, LINK_UP, LINK_DOWN };

struct side {
    struct inproc_lane *lane; /* to be woken; NULL before accept and after close */
    struct pf_list inbox;     /* messages of the peer, in order */
    struct pf_list finished;  /* own messages, carried out or cancelled */
};

enum { SIDE_CONNECTING, SIDE_ACCEPTING, SIDES };

struct link {
    pthread_mutex_t lock;
    unsigned holders; /* endpoints, and a request not yet answered */
    enum link_state state;
    int status; /* once down: why */
    struct side sides[SIDES];
    struct private_data question; /* given to connect */
    struct private_data answer;   /* given to accept or reject */
};

struct inproc_endpoint {
    struct pf_endpoint base;
    struct pf_list on_lane;
    struct link *link;
    unsigned me; /* which side of the link */
    struct message *messages;
    struct pf_list free_messages;
    struct pf_list receives; /* pf_op.link */
    unsigned sends_left;     /* operations that may still be posted */
    unsigned receives_left;
    bool connected; /* connected() is due or was called */
    bool ended;     /* closed() is due or was called */
    bool hung_up;   /* pf_shutdown() was called */
    struct message bye;
    uint64_t deadline; /* of the connect, or of a receive the peer waits for; 0: none */
    /* Connection events stand in the lane's list of events as operations of our own. */
    struct pf_op connected_event;
    struct pf_op closed_event;
};

struct inproc_listener {
    struct pf_listener base;
    struct pf_list on_lane;
    char name[INPROC_NAME_BYTES];
    struct pf_list published;   /* in the registry */
    struct pf_list requests;    /* registry's lock */
    struct pf_op request_event; /* as the endpoint's events */
};

struct inproc_request {
    struct pf_request base;
    struct pf_list node;
    struct link *link;
};

/* What a posted receive, or an operation whose done() is due, keeps in pf_op.scratch. */
enum { ROOM_STATUS, ROOM_BYTES, ROOM_IS_RECEIVE, ROOM_ADDR, ROOM_LEN };

/* device.c */
int pf_inproc_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
int pf_inproc_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                          struct pf_why *why);
void pf_inproc_device_close(struct pf_device *device);

/* mr.c */
int pf_inproc_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                     struct pf_mr **mr, struct pf_why *why);
void pf_inproc_mr_dereg(struct pf_mr *mr);
int pf_inproc_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
int pf_inproc_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                          struct pf_rkey *rkey);
/* The local memory that a peer's message names, or NULL where key, bounds or right don't fit. */
char *pf_inproc_mr_resolve(struct inproc_device *device, uint64_t key, uint64_t remote, size_t len,
                           unsigned right);

/* lane.c */
int pf_inproc_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                        struct pf_lane **lane, struct pf_why *why);
void pf_inproc_lane_close(struct pf_lane *lane);
int pf_inproc_progress(struct pf_lane *lane, unsigned budget);
int pf_inproc_lane_fd(struct pf_lane *lane);
int pf_inproc_lane_arm(struct pf_lane *lane);
/* Any thread that holds the lock which keeps the lane alive. */
void pf_inproc_lane_wake(struct inproc_lane *lane);
void pf_inproc_lane_wake_at(struct inproc_lane *lane, uint64_t deadline);
void pf_inproc_lane_event(struct inproc_lane *lane, struct pf_op *op, int status, size_t bytes);

/* link.c: all but make with the lock held; put releases the lock. */
struct link *pf_inproc_link_make(void);
void pf_inproc_link_put(struct link *link);
void pf_inproc_link_fail(struct link *link, int status);
void pf_inproc_link_finish(struct link *link, struct message *message, unsigned poster, int status);

/* registry.c */
int pf_inproc_publish(struct inproc_listener *listener);
/* Refuses what was asked and not yet delivered. */
void pf_inproc_withdraw(struct inproc_listener *listener);
bool pf_inproc_ask(const char *name, struct inproc_request *request);
bool pf_inproc_asked(struct inproc_listener *listener);
struct inproc_request *pf_inproc_next_request(struct inproc_listener *listener);

/* connect.c */
int pf_inproc_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                     void *ctx, struct pf_listener **listener, struct pf_why *why);
int pf_inproc_listener_uri(struct pf_listener *listener, char *out, size_t size);
void pf_inproc_listener_close(struct pf_listener *listener);
int pf_inproc_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                      const void *data, size_t len, struct pf_endpoint **endpoint,
                      struct pf_why *why);
int pf_inproc_accept(struct pf_request *request, struct pf_lane *lane,
                     const struct pf_endpoint_attr *attr, const void *data, size_t len,
                     struct pf_endpoint **endpoint, struct pf_why *why);
void pf_inproc_reject(struct pf_request *request, const void *data, size_t len);

/* endpoint.c */
int pf_inproc_endpoint_make(struct inproc_lane *lane, const struct pf_endpoint_attr *attr,
                            struct link *link, unsigned me, struct inproc_endpoint **endpoint,
                            struct pf_why *why);
void pf_inproc_shutdown(struct pf_endpoint *endpoint);
void pf_inproc_endpoint_close(struct pf_endpoint *endpoint);
/* Carry out at most about budget messages and turn what is finished into events. */
void pf_inproc_endpoint_collect(struct inproc_endpoint *endpoint, unsigned budget);
/* Collecting would bring something about now. */
bool pf_inproc_endpoint_ready(struct inproc_endpoint *endpoint);

/* land.c: link locked; carry out one message of the peer. */
bool pf_inproc_must_wait(const struct inproc_endpoint *endpoint, const struct message *message);
int pf_inproc_land(struct inproc_endpoint *endpoint, struct message *message);

/* post.c */
int pf_inproc_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   struct pf_op *op);
int pf_inproc_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
int pf_inproc_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                    uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_inproc_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                        uint64_t remote, const struct pf_rkey *rkey, uint32_t imm,
                        struct pf_op *op);
int pf_inproc_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_inproc_flush(struct pf_endpoint *endpoint, struct pf_op *op);

#endif
