/* SPDX-License-Identifier: BSD-2-Clause */
/* Posting operations: checked, turned into frames, sent by the next pf_progress(). */
#ifndef PF_TRANSPORT_TCP_POST_H
#define PF_TRANSPORT_TCP_POST_H

#include "transport/transport.h"

int pf_tcp_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                struct pf_op *op);
int pf_tcp_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
int pf_tcp_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                 uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_tcp_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op);
int pf_tcp_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_tcp_flush(struct pf_endpoint *endpoint, struct pf_op *op);

#endif
