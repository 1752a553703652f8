/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transport contract: what every back end offers and what its callers may rely on.
 *
 * Three objects:
 *
 *   device    one NIC, or its stand-in, with its memory registrations. Shared by threads:
 *             registration is thread-safe and made once, however many lanes use it.
 *   lane      one completion queue and the endpoints on it. Owned by ONE thread at a time: every
 *             call on a lane, its endpoints, listeners and requests is made by that thread.
 *             Ownership may pass to another thread through any synchronisation (a join, a lock).
 *   endpoint  one reliable connection, on one lane.
 *
 * An operation is memory of the caller's (struct pf_op, embedded in a struct of the caller's).
 * Once posted it belongs to the back end until its done() is called: exactly once, and only from
 * within pf_progress() or pf_lane_close() of the lane it was posted on. done() may post again,
 * also the same operation, and may close endpoints.
 *
 * No call blocks, with two exceptions that say so: pf_mr_reg() (the kernel pins pages) and
 * pf_device_open().
 *
 * Errors are negative errno values everywhere; whatever the library below returns (positive errno,
 * -1 with errno, its own codes) is converted once, inside the back end. Posting returns
 *
 *     0         posted, done() will be called
 *     -EAGAIN   the queue is full: call pf_progress() and try again
 *     -EINVAL   the arguments break the contract (too long, too many gather entries, ...)
 *     other     the endpoint is dead; nothing was posted and done() is not called
 *
 * Status of a completed operation (done's status):
 *
 *     0           see each operation for what that promises
 *     -ECANCELED  the endpoint was closed or had failed before the operation ended
 *     -EACCES     the peer refused: wrong key, outside the registration, or right not given
 *     -ENOBUFS    the peer had no receive posted for a bounded time
 *     -EMSGSIZE   a message was larger than the receive posted for it
 *     -ECONNRESET, -ETIMEDOUT, -EIO   the link or the peer failed
 *
 * After an operation ends with an error other than by pf_endpoint_close(), its endpoint is dead:
 * closed() is called with the first error, and the rest of its operations end with -ECANCELED
 * or that error. The owner still has to call pf_endpoint_close().
 */
#ifndef PF_TRANSPORT_TRANSPORT_H
#define PF_TRANSPORT_TRANSPORT_H

#include "base/list.h"
#include "base/why.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pf_transport;
struct pf_endpoint;

enum {
    PF_PRIVATE_DATA_MAX = 48, /* bytes that travel with connect, accept and reject */
    PF_RKEY_BYTES = 16,       /* a packed remote key */
    PF_NODE_ANY = -1,
};

/* What a back end can do; filled by pf_query() and kept in every open device. */
struct pf_caps {
    size_t max_message;      /* bytes in one send, write or read */
    size_t max_registration; /* bytes in one registration */
    size_t inline_size;      /* a send of at most this many bytes needs no registration */
    unsigned max_gather;     /* entries in one gather list */
    unsigned imm_bits;       /* bits of immediate data that arrive; at least 32 */
    unsigned max_depth;      /* operations posted at once on one endpoint, each direction */
    bool needs_pinning;      /* registering pins (and so populates) memory, memlock applies */
    bool can_sleep;          /* pf_lane_fd() works; if not, callers nap between looks */
    /* One-sided operations are carried out in pf_progress() of the lane they go to, which makes no
     * callback for them; without it they need no CPU there. */
    bool remote_cpu;
    bool ordered_writes; /* an immediate also certifies the earlier writes of its endpoint */
};

/* ---- operations ------------------------------------------------------------------------------ */

struct pf_op {
    /*
     * Called once. bytes: for a receive the length of the message (0 for an immediate), for the
     * others the length posted; meaningless unless status is 0.
     */
    void (*done)(struct pf_op *op, int status, size_t bytes);

    /* Set by the back end before done() of a receive. */
    bool has_imm; /* used up by a write_imm: nothing was written to the receive's buffer */
    uint32_t imm;

    /* The back end's while posted: a place on its list, the endpoint, and room for its own use. */
    struct pf_list link;
    struct pf_endpoint *endpoint;
    uint64_t scratch[8];
};

/* One piece of local memory. Write and send gather from it, receive and read scatter into it. */
struct pf_sge {
    struct pf_mr *mr; /* may be NULL for a send of at most caps.inline_size bytes in all */
    void *addr;
    size_t len;
};

/* A peer's registration as an endpoint addresses it. Made by pf_rkey_unpack(), copied freely. */
struct pf_rkey {
    uint64_t key;
    uint64_t base; /* what the back end takes off an address: 0 with virtual addressing */
};

/* ---- objects: back ends embed these first in their own structs ------------------------------- */

enum pf_access {
    PF_LOCAL_READ = 0,        /* gathered from only (send, write) */
    PF_LOCAL_WRITE = 1 << 0,  /* scattered into (receive, read) */
    PF_REMOTE_WRITE = 1 << 1, /* the peer may write; implies PF_LOCAL_WRITE */
    PF_REMOTE_READ = 1 << 2,  /* the peer may read */
};

/* Which NIC a device is, in names that the machine's topology knows; empty: not known here. */
struct pf_nic {
    char name[64]; /* of a verbs device or a network interface: "mlx5_0" */
    char bus[16];  /* on PCI: "0000:3b:00.0" */
};

struct pf_device {
    const struct pf_transport *transport;
    struct pf_caps caps;
    struct pf_nic nic;
};

struct pf_mr {
    struct pf_device *device;
    char *addr;
    size_t len;
    unsigned access; /* enum pf_access */
};

struct pf_lane {
    struct pf_device *device;
};

struct pf_listener;
struct pf_request;

/* Called from pf_progress() of the listener's lane. */
struct pf_listener_events {
    /*
     * Somebody connects, with his private data (valid during the call). Each request must be
     * given to pf_accept() or pf_reject(), now or later; neither need happen inside the call.
     */
    void (*request)(void *ctx, struct pf_request *request, const void *data, size_t len);
};

struct pf_listener {
    struct pf_lane *lane;
    const struct pf_listener_events *events;
    void *ctx;
};

/* A connection that waits for an answer. */
struct pf_request {
    struct pf_device *device;
};

/* Called from pf_progress() of the endpoint's lane. */
struct pf_endpoint_events {
    /* Both directions work now; data is what the peer gave to pf_accept() (empty at that side). */
    void (*connected)(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len);
    /*
     * The connection failed to come up or has ended; at most once, never after
     * pf_endpoint_close(). status: 0 the peer hung up in order, -ECONNREFUSED nobody listens or
     * the peer rejected (data is what it gave to pf_reject()), otherwise the first error.
     * Receives still posted end with -ECANCELED at pf_endpoint_close() or before.
     */
    void (*closed)(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                   size_t len);
};

struct pf_endpoint_attr {
    const struct pf_endpoint_events *events;
    void *ctx;
    unsigned send_depth; /* sends, writes, reads and flushes posted at once */
    unsigned recv_depth; /* receives posted at once */
    size_t recv_size;    /* bytes of the largest message that will arrive here */
};

struct pf_endpoint {
    struct pf_lane *lane;
    const struct pf_endpoint_events *events;
    void *ctx;
};

/* What a device is given. Plain data: the transport layer knows nothing of topology. */
struct pf_device_attr {
    const char *uri;       /* names the back end, and the local address or NIC */
    bool for_listen;       /* the URI's host is a local address (else a peer to be reached) */
    const cpu_set_t *cpus; /* where threads of the back end may run (if it has any), or NULL */
    int node;              /* memory node for the back end's own buffers, or PF_NODE_ANY */
    /* The table to look an inner back end up in; ends with NULL. Used by wrappers (fault). */
    const struct pf_transport *const *transports;
};

struct pf_lane_attr {
    unsigned depth; /* completions that may be outstanding over all endpoints; 0: a default */
};

/* ---- a back end ------------------------------------------------------------------------------ */

/* One table per back end; each entry is described at the pf_ function of the same name below. */
struct pf_transport {
    /* "tcp" answers tcp://; "ofi" answers ofi+ANYTHING://, because it ends in '+' below. */
    const char *scheme;
    const char *doc; /* one line for `pageferry probe` */
    bool for_tests;  /* no use to move a job with: not offered to users */

    int (*query)(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
    int (*device_open)(const struct pf_device_attr *attr, struct pf_device **device,
                       struct pf_why *why);
    void (*device_close)(struct pf_device *device);

    int (*mr_reg)(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **mr, struct pf_why *why);
    void (*mr_dereg)(struct pf_mr *mr);
    int (*rkey_pack)(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
    int (*rkey_unpack)(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                       struct pf_rkey *rkey);

    int (*lane_open)(struct pf_device *device, const struct pf_lane_attr *attr,
                     struct pf_lane **lane, struct pf_why *why);
    void (*lane_close)(struct pf_lane *lane);
    int (*progress)(struct pf_lane *lane, unsigned budget);
    int (*lane_fd)(struct pf_lane *lane);
    int (*lane_arm)(struct pf_lane *lane);

    int (*listen)(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                  void *ctx, struct pf_listener **listener, struct pf_why *why);
    int (*listener_uri)(struct pf_listener *listener, char *out, size_t size);
    void (*listener_close)(struct pf_listener *listener);
    int (*connect)(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                   const void *data, size_t len, struct pf_endpoint **endpoint, struct pf_why *why);
    int (*accept)(struct pf_request *request, struct pf_lane *lane,
                  const struct pf_endpoint_attr *attr, const void *data, size_t len,
                  struct pf_endpoint **endpoint, struct pf_why *why);
    void (*reject)(struct pf_request *request, const void *data, size_t len);
    void (*shutdown)(struct pf_endpoint *endpoint);
    void (*endpoint_close)(struct pf_endpoint *endpoint);

    int (*send)(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                struct pf_op *op);
    int (*recv)(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
    int (*write)(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                 uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
    int (*write_imm)(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op);
    int (*read)(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
    int (*flush)(struct pf_endpoint *endpoint, struct pf_op *op);
};

/*
 * The back end that answers a URI's scheme, from a table that ends with NULL.
 * NULL if none does; the caller says so.
 */
const struct pf_transport *pf_transport_find(const struct pf_transport *const *table,
                                             const char *uri);

/* ---- devices and registrations: any thread --------------------------------------------------- */

/* What a device opened with attr would offer, without opening it. -ENODEV, -EINVAL (bad URI). */
static inline int pf_query(const struct pf_transport *transport, const struct pf_device_attr *attr,
                           struct pf_caps *caps, struct pf_why *why)
{
    return transport->query(attr, caps, why);
}

/*
 * Open the NIC that a URI's host names (listening) or that leads to it (connecting). May block
 * while the address is resolved. -ENODEV no such NIC, -EINVAL bad URI, -EPERM, -ENOMEM.
 */
static inline int pf_device_open(const struct pf_transport *transport,
                                 const struct pf_device_attr *attr, struct pf_device **device,
                                 struct pf_why *why)
{
    return transport->device_open(attr, device, why);
}

/* After its lanes are closed and its registrations returned. */
static inline void pf_device_close(struct pf_device *device)
{
    device->transport->device_close(device);
}

/*
 * Register len bytes at addr (any alignment) with rights from enum pf_access. The memory stays the
 * caller's and must outlive the registration. Blocks while the kernel pins pages.
 * -ENOMEM: memlock is too low; why says how much was needed and what the limit is.
 */
static inline int pf_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                            struct pf_mr **mr, struct pf_why *why)
{
    return device->transport->mr_reg(device, addr, len, access, mr, why);
}

/* After every operation that uses it is done, and every peer that may write there is cut off. */
static inline void pf_mr_dereg(struct pf_mr *mr)
{
    mr->device->transport->mr_dereg(mr);
}

/*
 * The key that lets the peer of this endpoint, and where the back end binds keys only that peer,
 * use the registration. Sent to the peer as PF_RKEY_BYTES opaque bytes. The address that goes
 * with it on the wire is the plain virtual address, on every back end.
 */
static inline int pf_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint,
                               uint8_t out[PF_RKEY_BYTES])
{
    return mr->device->transport->rkey_pack(mr, endpoint, out);
}

/* ---- lanes: the owner's thread --------------------------------------------------------------- */

static inline int pf_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                               struct pf_lane **lane, struct pf_why *why)
{
    return device->transport->lane_open(device, attr, lane, why);
}

/*
 * After the owner closed its endpoints and listeners. Operations cancelled by that and not yet
 * reported get their done() here.
 */
static inline void pf_lane_close(struct pf_lane *lane)
{
    lane->device->transport->lane_close(lane);
}

/*
 * Move things along and make at most about budget callbacks. Never sleeps and never yields.
 * Software back ends land the peer's writes here, so a side that waits for data must call it.
 * Returns the number of callbacks made, 0 when nothing happened, or -errno when the whole lane is
 * broken (its endpoints have got their closed()).
 */
static inline int pf_progress(struct pf_lane *lane, unsigned budget)
{
    return lane->device->transport->progress(lane, budget);
}

/*
 * One descriptor, owned by the lane, that polls readable (POLLIN) when an armed lane has
 * completions, connection events or device events. -EOPNOTSUPP without caps.can_sleep.
 */
static inline int pf_lane_fd(struct pf_lane *lane)
{
    return lane->device->transport->lane_fd(lane);
}

/*
 * Ask for the descriptor to become readable at the next event. The order that loses no wake-up:
 * arm, pf_progress() once more, and only if that made no callback poll the descriptor.
 * 0 armed; -EAGAIN something is already there: don't sleep. -EOPNOTSUPP without caps.can_sleep.
 */
static inline int pf_lane_arm(struct pf_lane *lane)
{
    return lane->device->transport->lane_arm(lane);
}

/* ---- connections: the lane owner's thread ---------------------------------------------------- */

/*
 * Listen on the URI's host and port (port 0 or none: any free one; see pf_listener_uri()).
 * -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL.
 */
static inline int pf_listen(struct pf_lane *lane, const char *uri,
                            const struct pf_listener_events *events, void *ctx,
                            struct pf_listener **listener, struct pf_why *why)
{
    return lane->device->transport->listen(lane, uri, events, ctx, listener, why);
}

/* The URI that a peer on this host or network can connect to, with the port that was given. */
static inline int pf_listener_uri(struct pf_listener *listener, char *out, size_t size)
{
    return listener->lane->device->transport->listener_uri(listener, out, size);
}

/* Requests not yet answered stay valid; new connections are refused. */
static inline void pf_listener_close(struct pf_listener *listener)
{
    listener->lane->device->transport->listener_close(listener);
}

/*
 * Begin to connect; connected() or closed() reports how it went, within a bounded time (about 5 s)
 * even if the peer's host is silent. Receives may be posted at once, before connected(), and should
 * be: the peer may send as soon as it has accepted. Sends and writes before connected() get
 * -ENOTCONN. At most PF_PRIVATE_DATA_MAX bytes of data travel along.
 */
static inline int pf_connect(struct pf_lane *lane, const char *uri,
                             const struct pf_endpoint_attr *attr, const void *data, size_t len,
                             struct pf_endpoint **endpoint, struct pf_why *why)
{
    return lane->device->transport->connect(lane, uri, attr, data, len, endpoint, why);
}

/*
 * Accept on any lane of the listener's device whose owner is the caller. Takes the request, also
 * on failure. Receives may be posted at once; connected() follows.
 */
static inline int pf_accept(struct pf_request *request, struct pf_lane *lane,
                            const struct pf_endpoint_attr *attr, const void *data, size_t len,
                            struct pf_endpoint **endpoint, struct pf_why *why)
{
    return request->device->transport->accept(request, lane, attr, data, len, endpoint, why);
}

/* Refuse, with up to PF_PRIVATE_DATA_MAX bytes for the peer's closed(). Takes the request. */
static inline void pf_reject(struct pf_request *request, const void *data, size_t len)
{
    request->device->transport->reject(request, data, len);
}

/*
 * Hang up in order: operations already posted are carried out where possible, then the peer's
 * closed() gets status 0. Our own closed() follows. Posting gets -ENOTCONN from here on.
 */
static inline void pf_shutdown(struct pf_endpoint *endpoint)
{
    endpoint->lane->device->transport->shutdown(endpoint);
}

/*
 * End the endpoint now, connected or not. On return no write of the peer can land any more.
 * Operations still posted get done(-ECANCELED) from later pf_progress() or pf_lane_close() calls;
 * closed() is not called. The handle is gone for the caller. May be called from callbacks.
 */
static inline void pf_endpoint_close(struct pf_endpoint *endpoint)
{
    endpoint->lane->device->transport->endpoint_close(endpoint);
}

/* Make a peer's packed key usable on this endpoint. -EINVAL if it can't be one. */
static inline int pf_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                                 struct pf_rkey *rkey)
{
    return endpoint->lane->device->transport->rkey_unpack(endpoint, in, rkey);
}

/* ---- data: the lane owner's thread ----------------------------------------------------------- */

/*
 * Every gather list is copied before the call returns; the memory it names is not, and must stay
 * unchanged until done(). Lengths: at least 1 byte, at most caps.max_message in all.
 */

/*
 * Send one message; it uses up the peer's oldest receive. done(0): the memory may be reused.
 * At most caps.inline_size bytes: the bytes are copied before return and mr may be NULL.
 */
static inline int pf_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                          struct pf_op *op)
{
    return endpoint->lane->device->transport->send(endpoint, sgl, count, op);
}

/* Post a receive of up to sge->len bytes. Completes in the order posted. */
static inline int pf_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op)
{
    return endpoint->lane->device->transport->recv(endpoint, sge, op);
}

/*
 * One-sided write to remote .. remote + total length of the peer. done(0): the memory may be
 * reused; that it has landed is certain only after a flush or a later immediate's arrival.
 */
static inline int pf_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                           uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    return endpoint->lane->device->transport->write(endpoint, sgl, count, remote, rkey, op);
}

/*
 * A write that uses up the peer's oldest receive, whose done() gets has_imm and imm when this
 * write's own data is visible to the peer's CPU (with caps.ordered_writes: also that of all earlier
 * writes of this endpoint). If the peer has no receive posted the operation waits a bounded time
 * (about 1 s), then the endpoint fails with -ENOBUFS.
 */
static inline int pf_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl,
                               unsigned count, uint64_t remote, const struct pf_rkey *rkey,
                               uint32_t imm, struct pf_op *op)
{
    return endpoint->lane->device->transport->write_imm(endpoint, sgl, count, remote, rkey, imm,
                                                        op);
}

/* One-sided read from the peer's memory. done(0): the data is in place. */
static inline int pf_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                          uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    return endpoint->lane->device->transport->read(endpoint, sgl, count, remote, rkey, op);
}

/* done(0): all writes posted earlier on this endpoint are visible to the peer's CPU. */
static inline int pf_flush(struct pf_endpoint *endpoint, struct pf_op *op)
{
    return endpoint->lane->device->transport->flush(endpoint, op);
}

/* ---- for back ends --------------------------------------------------------------------------- */

/*
 * True if a scatter/gather list keeps the contract: 1 .. caps.max_gather entries, each at least one
 * byte long and inside its registration; *total gets the sum of the lengths, which is at most
 * caps.max_message. Entries without a registration are allowed up to inline_size bytes in all.
 */
bool pf_sgl_valid(const struct pf_caps *caps, const struct pf_sge *sgl, unsigned count,
                  size_t *total);

#endif
