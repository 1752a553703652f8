/* SPDX-License-Identifier: BSD-2-Clause */
/* The send side of an endpoint: queued frames become system calls, gathered and resumed. */
#ifndef PF_TRANSPORT_TCP_TRANSMIT_H
#define PF_TRANSPORT_TCP_TRANSMIT_H

#include "transport/tcp/endpoint.h"

int pf_tcp_tx_init(struct pf_tcp_tx *tx, unsigned depth);
void pf_tcp_tx_fini(struct pf_tcp_tx *tx);

/*
 * Send what the socket takes and complete what has left, within the lane's budget. Callbacks may
 * have changed the endpoint's state on return. An error of the socket is only remembered: input
 * that came before it may say more.
 */
void pf_tcp_tx_run(struct pf_tcp_endpoint *ep);

/* True if pf_tcp_tx_run() could do something without the socket becoming writable. */
bool pf_tcp_tx_ready(const struct pf_tcp_endpoint *ep);

/* Every operation that was not completed, oldest first, ends with this status. */
void pf_tcp_tx_abort(struct pf_tcp_endpoint *ep, int status);

/* Queue HELLO, ACCEPT or BYE; its payload, if any, is copied. -EBUSY: the last has not left. */
int pf_tcp_tx_control(struct pf_tcp_tx *tx, const struct pf_tcp_header *header, const void *data);

/* Put aside what has not begun to leave, and end with this frame. -EBUSY as above. */
int pf_tcp_tx_last(struct pf_tcp_tx *tx, const struct pf_tcp_header *header);

/* Answer a request of the peer: flushed, or data of ours. -EPROTO: it has too many open. */
int pf_tcp_tx_flush_ack(struct pf_tcp_tx *tx);
int pf_tcp_tx_read_data(struct pf_tcp_tx *tx, const struct pf_tcp_header *request);

/* The oldest request of ours, if it is of this type; else NULL: the peer answers out of turn. */
struct pf_tcp_frame *pf_tcp_tx_awaiting(const struct pf_tcp_tx *tx, uint8_t type);

/* Give an operation's frame back to its pool and call done(0); the caller has spent a callback. */
void pf_tcp_tx_complete(struct pf_tcp_endpoint *ep, struct pf_tcp_frame *frame);

#endif
