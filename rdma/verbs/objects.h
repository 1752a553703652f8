/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back end's objects and what its files call of each other.
 *
 *   device.c      context, protection domain, capabilities
 *   memory.c      registrations and packed keys
 *   address.c     from a URI to the address of an RDMA device
 *   async.c       events of the device itself (ports, fatal queue pairs)
 *   lane.c        completion queue, descriptor, progress
 *   completion.c  from a work completion to the operation's done()
 *   post.c        the data operations
 *   endpoint.c    queue pair, failing, hanging up, closing
 *   connect.c     the states of a connection until it is up
 *   listener.c    listeners and requests
 *   mailbox.c     the page that each side of a connection opens to the other
 *   hello.c       what travels as private data of the connection manager
 *
 * Everything below a lane belongs to the lane's owner thread. Only the device is shared; its lock
 * is never held across a call that can block or call back.
 */
#ifndef PF_RDMA_VERBS_OBJECTS_H
#define PF_RDMA_VERBS_OBJECTS_H

#include "base/list.h"
#include "base/why.h"
#include "rdma/verbs/hello.h"
#include "rdma/verbs/verbs.h"
#include "transport/transport.h"
#include "transport/uri.h"

#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum {
    PF_VERBS_GATHER = 16,  /* entries of a gather list, if the device has as many */
    PF_VERBS_INLINE = 128, /* bytes sent without a registration: asked for, more may be given */

    /*
     * Local ack timeout and retries of a queue pair: 4.096 us * 2^16 = 0.27 s, seven tries. A dead
     * peer is noticed in about 2 s (hardware may take up to four times that), a link that is
     * away for a second is sat out. A retry count of 7 would still be bounded here; that of
     * receiver-not-ready would not: there 7 means for ever.
     */
    PF_VERBS_ACK_TIMEOUT = 16,
    PF_VERBS_RETRIES = 6,

    /*
     * A missing receive: six retries after 163.84 ms each (code 28 of the InfiniBand
     * specification's table of RNR NAK timer values), so that the sender fails after 1 s.
     */
    PF_VERBS_RNR_TIMER = 28,
    PF_VERBS_RNR_RETRIES = 6,

    /* Ticks of a lane's timer, one a second and the first up to a second early. */
    PF_VERBS_CONNECT_TICKS = 6,
    PF_VERBS_HANGUP_TICKS = 3,
    PF_VERBS_FLUSH_TICKS = 3,

    PF_VERBS_ADDRESS_TEXT = 64, /* a numeric address with its scope */
};

struct pf_verbs_device {
    struct pf_device base;
    struct rdma_cm_id *id; /* holds librdmacm's reference on the context that all our ids share */
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct sockaddr_storage local; /* of this NIC, port 0 */
    struct sockaddr_storage peer;  /* what peer_host stands for, so that pf_connect() need not */
    char peer_host[128];           /* ask a name server, which may block; empty if listening */
    unsigned max_cqe;
    uint8_t reads_out; /* reads in flight on a queue pair, as initiator */
    uint8_t reads_in;  /* and as responder */
    atomic_size_t pinned;

    /* Events of the context go to whichever lane reads them first: it finds the others here. */
    pthread_mutex_t lock;
    struct pf_list lanes;
    struct pf_list endpoints;
};

struct pf_verbs_mr {
    struct pf_mr base;
    struct ibv_mr *mr;
};

/* What a work request was, kept apart from the operation, which may be gone when it completes. */
struct pf_verbs_slot {
    struct pf_op *op;
    size_t length;
    uint32_t generation; /* of this use; a completion of an earlier one is dropped */
    uint32_t next_free;
    bool receive;
    bool message; /* a send: uses the peer's receive's memory */
};

struct pf_verbs_lane {
    struct pf_lane base;
    struct pf_list device_link;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct rdma_event_channel *events;
    int epoll;  /* over all of the above, the device's events, and the two below */
    int timer;  /* ticks once a second while there are endpoints */
    int wakeup; /* eventfd: another lane read a device event that is for this one */

    unsigned depth;       /* what the caller asked for */
    unsigned used;        /* of that, by endpoints */
    unsigned slots;       /* entries of the completion queue */
    unsigned slots_taken; /* by endpoints: their depths and one of our own each */
    struct pf_verbs_slot *slot;
    uint32_t free_slot;

    struct pf_list ready;     /* operations whose done() is due */
    struct pf_list endpoints; /* all, by lane_link */
    struct pf_list due;       /* those that owe an answer to a request, connected() or closed() */
    unsigned unacked;         /* events of the completion channel not yet acknowledged */
    unsigned quiet_calls;     /* of pf_progress() since it last looked for events */
    bool armed;               /* since then nothing came but completions */
    atomic_bool attention;    /* some endpoint's async_error, or async_error below, was set */
    atomic_int async_error;
};

struct pf_verbs_cm_event {
    enum rdma_cm_event_type type;
    int status;
    struct rdma_cm_id *id; /* of a request: the new id */
    const void *data;
    size_t len;
    uint8_t reads_in, reads_out; /* what the peer offers and wants */
};

/* What an rdma_cm_id's context points to. */
struct pf_verbs_cm_owner {
    /* Returns the number of callbacks made. */
    unsigned (*event)(struct pf_verbs_cm_owner *owner, const struct pf_verbs_cm_event *event);
};

struct pf_verbs_listener {
    struct pf_listener base;
    struct pf_verbs_cm_owner owner;
    struct rdma_cm_id *id;
};

struct pf_verbs_request {
    struct pf_request base;
    struct rdma_cm_id *id;
    uint32_t mailbox_key;
    uint8_t reads_in, reads_out;
};

/*
 * Memory that the peer reads for a flush and writes when it hangs up in order. Registered at
 * address 0, so that the key alone names it: the private data has no room for more.
 */
struct pf_verbs_mailbox {
    struct ibv_mr *mr;
    volatile uint8_t *page;
};

enum pf_verbs_state {
    PF_VERBS_RESOLVING,
    PF_VERBS_CONNECTING,
    PF_VERBS_ACCEPT_DUE, /* answered from the next progress, when the receives are posted */
    PF_VERBS_ACCEPTING,
    PF_VERBS_CONNECTED,
    PF_VERBS_DRAINING, /* hung up; operations are still under way */
    PF_VERBS_HANGUP,   /* the goodbye is under way */
    PF_VERBS_LEAVING,  /* disconnected by us; waiting for the peer's confirmation */
    PF_VERBS_ENDED,
};

struct pf_verbs_endpoint {
    struct pf_endpoint base;
    struct pf_verbs_cm_owner owner;
    struct pf_list lane_link, due_link, device_link;
    struct rdma_cm_id *id;
    enum pf_verbs_state state;
    int error;
    bool guessed; /* error gives way to that of a completion, if one of those flushed tells */
    bool owes_connected, owes_closed, owes_disconnect;
    bool busy;      /* something was sent since the last tick */
    unsigned ticks; /* left for the state */
    atomic_int async_error;

    unsigned send_depth, recv_depth;
    unsigned sends, recvs; /* posted, without own */
    struct pf_list posted; /* with own */
    struct pf_op own;      /* a probe or the goodbye: never both */
    bool own_posted;

    struct pf_verbs_mailbox mailbox;
    uint32_t peer_mailbox_key;
    uint8_t reads_in, reads_out;
    struct pf_verbs_hello hello;       /* ours, to the peer */
    uint8_t data[PF_PRIVATE_DATA_MAX]; /* the peer's, for connected() or closed() */
    size_t data_len;
};

static inline struct pf_verbs_device *pf_verbs_device(struct pf_device *base)
{
    return pf_container_of(base, struct pf_verbs_device, base);
}

static inline struct pf_verbs_lane *pf_verbs_lane(struct pf_lane *base)
{
    return pf_container_of(base, struct pf_verbs_lane, base);
}

static inline struct pf_verbs_endpoint *pf_verbs_endpoint(struct pf_endpoint *base)
{
    return pf_container_of(base, struct pf_verbs_endpoint, base);
}

static inline struct pf_verbs_lane *pf_verbs_lane_of(struct pf_verbs_endpoint *endpoint)
{
    return pf_verbs_lane(endpoint->base.lane);
}

static inline struct pf_verbs_device *pf_verbs_device_of(struct pf_verbs_lane *lane)
{
    return pf_verbs_device(lane->base.device);
}

/* librdmacm, and what returns pointers in libibverbs: failure is -1 or NULL, and errno. */
static inline int pf_verbs_errno(int rc)
{
    if (rc == 0)
        return 0;
    return errno ? -errno : -EIO;
}

/* ---- an operation's scratch: its slot while posted, then its result ---- */

static inline void pf_verbs_op_set_slot(struct pf_op *op, uint32_t slot)
{
    op->scratch[0] = slot;
}

static inline uint32_t pf_verbs_op_slot(const struct pf_op *op)
{
    return (uint32_t)op->scratch[0];
}

static inline void pf_verbs_op_set_result(struct pf_op *op, int status, size_t bytes)
{
    op->scratch[1] = (uint64_t)status;
    op->scratch[2] = bytes;
}

static inline int pf_verbs_op_status(const struct pf_op *op)
{
    return (int)op->scratch[1];
}

static inline size_t pf_verbs_op_bytes(const struct pf_op *op)
{
    return op->scratch[2];
}

/* ---- address.c ---- */

int pf_verbs_resolve(const char *host, const char *port, struct sockaddr_storage *address,
                     struct pf_why *why);
/* The host part says nothing: empty, or the wildcard, which no RDMA device answers to. */
bool pf_verbs_host_is_any(const char *host);
/* The first address of this host that is an RDMA device's. */
int pf_verbs_first_local(struct sockaddr_storage *address, struct pf_why *why);
void pf_verbs_set_port(struct sockaddr_storage *address, uint16_t port);
const char *pf_verbs_address_text(const struct sockaddr_storage *address,
                                  char text[PF_VERBS_ADDRESS_TEXT]);

/* ---- mailbox.c ---- */

int pf_verbs_mailbox_open(struct pf_verbs_mailbox *mailbox, struct pf_verbs_device *device,
                          struct pf_why *why);
void pf_verbs_mailbox_close(struct pf_verbs_mailbox *mailbox, struct pf_verbs_device *device);
/* Post what is read (a flush, a probe) or written (the goodbye) in the peer's mailbox. */
int pf_verbs_post_peek(struct pf_verbs_endpoint *endpoint, struct pf_op *op);
int pf_verbs_post_goodbye(struct pf_verbs_endpoint *endpoint, struct pf_op *op);
/* Whether the peer has written its goodbye. */
bool pf_verbs_mailbox_goodbye(const struct pf_verbs_mailbox *mailbox);

/* ---- memory.c: the sentence for a registration that failed with error (positive errno) ---- */

int pf_verbs_reg_failed(struct pf_verbs_device *device, const void *addr, size_t len, int error,
                        struct pf_why *why);

/* ---- async.c ---- */

void pf_verbs_read_async(struct pf_verbs_device *device);
void pf_verbs_lane_broken(struct pf_verbs_lane *lane);

/* ---- lane.c ---- */

/* Take an endpoint's depths off the lane's, and give them back. */
int pf_verbs_lane_admit(struct pf_verbs_lane *lane, struct pf_verbs_endpoint *endpoint,
                        struct pf_why *why);
void pf_verbs_lane_dismiss(struct pf_verbs_lane *lane, struct pf_verbs_endpoint *endpoint);

/* ---- completion.c ---- */

void pf_verbs_slots_init(struct pf_verbs_lane *lane);
uint32_t pf_verbs_slot_take(struct pf_verbs_lane *lane, struct pf_op *op, size_t length);
void pf_verbs_slot_put(struct pf_verbs_lane *lane, uint32_t index);
uint64_t pf_verbs_slot_id(const struct pf_verbs_lane *lane, uint32_t index);
/* True if the completion queue was found empty. Makes no callbacks. */
bool pf_verbs_reap(struct pf_verbs_lane *lane, unsigned budget);
unsigned pf_verbs_deliver(struct pf_verbs_lane *lane, unsigned budget);
/* Of a closed endpoint: what is posted or not yet delivered ends with -ECANCELED. */
void pf_verbs_cancel(struct pf_verbs_endpoint *endpoint);

/* ---- post.c ---- */

/* wr without identifier and flags; a bare call: the state and depth were checked. */
int pf_verbs_post_wr(struct pf_verbs_endpoint *endpoint, struct ibv_send_wr *wr, size_t length,
                     struct pf_op *op);

/* ---- connect.c ---- */

unsigned pf_verbs_connection_event(struct pf_verbs_cm_owner *owner,
                                   const struct pf_verbs_cm_event *event);
void pf_verbs_answer(struct pf_verbs_endpoint *endpoint);

/* ---- endpoint.c ---- */

/* Takes id on success. */
int pf_verbs_endpoint_make(struct pf_verbs_lane *lane, const struct pf_endpoint_attr *attr,
                           struct rdma_cm_id *id, struct pf_verbs_endpoint **out,
                           struct pf_why *why);
void pf_verbs_make_due(struct pf_verbs_endpoint *endpoint);
void pf_verbs_keep_data(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_hello *hello);
void pf_verbs_established(struct pf_verbs_endpoint *endpoint);
void pf_verbs_fail(struct pf_verbs_endpoint *endpoint, int error);
void pf_verbs_fail_unknown(struct pf_verbs_endpoint *endpoint);
void pf_verbs_refused(struct pf_verbs_endpoint *endpoint, const struct pf_verbs_hello *hello);
void pf_verbs_disconnected(struct pf_verbs_endpoint *endpoint);
/* After each completed operation; own_done is that of the endpoint's own before. */
void pf_verbs_ended_one(struct pf_verbs_endpoint *endpoint);
void pf_verbs_own_done(struct pf_verbs_endpoint *endpoint, int status);
void pf_verbs_tick(struct pf_verbs_endpoint *endpoint);
/* drained: the completion queue is empty, so closed() may be called. Returns callbacks made. */
unsigned pf_verbs_report(struct pf_verbs_endpoint *endpoint, bool drained);

/* ---- the table's entries: described in transport/transport.h ---- */

int pf_verbs_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
int pf_verbs_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                         struct pf_why *why);
void pf_verbs_device_close(struct pf_device *device);
int pf_verbs_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                    struct pf_mr **mr, struct pf_why *why);
void pf_verbs_mr_dereg(struct pf_mr *mr);
int pf_verbs_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
int pf_verbs_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                         struct pf_rkey *rkey);
int pf_verbs_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                       struct pf_lane **lane, struct pf_why *why);
void pf_verbs_lane_close(struct pf_lane *lane);
int pf_verbs_progress(struct pf_lane *lane, unsigned budget);
int pf_verbs_lane_fd(struct pf_lane *lane);
int pf_verbs_lane_arm(struct pf_lane *lane);
int pf_verbs_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                    void *ctx, struct pf_listener **listener, struct pf_why *why);
int pf_verbs_listener_uri(struct pf_listener *listener, char *out, size_t size);
void pf_verbs_listener_close(struct pf_listener *listener);
int pf_verbs_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                     const void *data, size_t len, struct pf_endpoint **endpoint,
                     struct pf_why *why);
int pf_verbs_accept(struct pf_request *request, struct pf_lane *lane,
                    const struct pf_endpoint_attr *attr, const void *data, size_t len,
                    struct pf_endpoint **endpoint, struct pf_why *why);
void pf_verbs_reject(struct pf_request *request, const void *data, size_t len);
void pf_verbs_shutdown(struct pf_endpoint *endpoint);
void pf_verbs_endpoint_close(struct pf_endpoint *endpoint);
int pf_verbs_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  struct pf_op *op);
int pf_verbs_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
int pf_verbs_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                   uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_verbs_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                       uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op);
int pf_verbs_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                  uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_verbs_flush(struct pf_endpoint *endpoint, struct pf_op *op);

#endif
