/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What travels as the connection manager's private data, in requests, answers and rejections.
 * An InfiniBand request has room for 56 bytes behind the connection manager's own header; it
 * arrives padded with zeros, so that the length must be in it.
 */
#ifndef PF_RDMA_VERBS_HELLO_H
#define PF_RDMA_VERBS_HELLO_H

#include "transport/transport.h"

struct pf_verbs_hello {
    uint8_t magic[2];
    uint8_t version;
    uint8_t length;         /* of data */
    uint8_t mailbox_key[4]; /* big-endian; 0 in a rejection */
    uint8_t data[PF_PRIVATE_DATA_MAX];
};
_Static_assert(sizeof(struct pf_verbs_hello) == 56, "must fit into a connection request");

/* -EINVAL if there is more data than fits. */
int pf_verbs_hello_write(struct pf_verbs_hello *hello, uint32_t mailbox_key, const void *data,
                         size_t len);

/* -EPROTO if the other side is no pageferry, or one of another version. */
int pf_verbs_hello_read(const void *bytes, size_t size, struct pf_verbs_hello *hello);

size_t pf_verbs_hello_size(const struct pf_verbs_hello *hello);
uint32_t pf_verbs_hello_key(const struct pf_verbs_hello *hello);

#endif
