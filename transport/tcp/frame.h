/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames on their way out, and the pools that an endpoint takes them from. */
#ifndef PF_TRANSPORT_TCP_FRAME_H
#define PF_TRANSPORT_TCP_FRAME_H

#include "transport/tcp/wire.h"
#include "transport/transport.h"

#include <sys/uio.h>

enum {
    PF_TCP_INLINE = 128, /* longest payload that is copied behind its header */
    PF_TCP_GATHER = 32,
};

struct pf_tcp_frame {
    struct pf_list link; /* in a pool, queued, or awaiting its answer */
    struct pf_op *op;    /* NULL: an answer or a control frame */
    size_t length;       /* of the operation, for its done() */
    uint8_t type;        /* enum pf_tcp_type */

    /* The registration that an answer reads from, checked again whenever bytes leave. */
    uint64_t key, addr;

    size_t left; /* bytes that the kernel has not taken yet */
    unsigned iov_at, iov_count;
    unsigned scatter;  /* READ: entries behind the header's where the answer goes */
    struct iovec *iov; /* the header's, then the payload's */
    uint8_t wire[PF_TCP_HEADER_BYTES + PF_TCP_INLINE];
};

/* A fixed number of frames; the last given back, still in the cache, is the next taken. */
struct pf_tcp_pool {
    struct pf_list free;
    struct pf_tcp_frame *frames;
    struct iovec *iov;
};

/* -ENOMEM. A pool that is all zero may be freed too. */
int pf_tcp_pool_init(struct pf_tcp_pool *pool, unsigned count, unsigned iov_each);
void pf_tcp_pool_fini(struct pf_tcp_pool *pool);
struct pf_tcp_frame *pf_tcp_pool_take(struct pf_tcp_pool *pool); /* NULL: all in use */
void pf_tcp_pool_give(struct pf_tcp_pool *pool, struct pf_tcp_frame *frame);

/* Make it a frame of a header alone; payload is added with pf_tcp_frame_add(). */
void pf_tcp_frame_start(struct pf_tcp_frame *frame, const struct pf_tcp_header *header);

/* Payload that is sent from where it lies, or copied behind the header (at most PF_TCP_INLINE). */
void pf_tcp_frame_add(struct pf_tcp_frame *frame, void *data, size_t len);
void pf_tcp_frame_copy(struct pf_tcp_frame *frame, const void *data, size_t len);

/* True when some, but not all, of it has left. */
bool pf_tcp_frame_partial(const struct pf_tcp_frame *frame);

#endif
