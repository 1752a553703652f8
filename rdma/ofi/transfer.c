/* SPDX-License-Identifier: BSD-2-Clause */
/* Posting sends, writes, reads and flushes. */
#include "rdma/ofi/internal.h"

#include <string.h>

static void fill(struct pf_ofi_record *record, const struct pf_ofi_device *device,
                 const struct pf_sge *sgl, unsigned count, size_t total)
{
    for (unsigned i = 0; i < count; i++) {
        record->iov[i] = (struct iovec){.iov_base = sgl[i].addr, .iov_len = sgl[i].len};
        record->desc[i] = pf_ofi_mr_desc(device, sgl[i].mr);
    }
    record->count = count;
    record->bytes = total;
}

/*
 * fi_inject() copies the message and makes no completion, which on tcp saves two system calls
 * against fi_send(); done() comes from the next pf_progress().
 */
static ssize_t inject(struct pf_ofi_endpoint *to, const struct pf_sge *sgl, unsigned count,
                      size_t total)
{
    char copy[PF_OFI_INLINE];
    size_t at = 0;
    if (count == 1)
        return fi_inject(to->ep, sgl[0].addr, total, to->peer);
    for (unsigned i = 0; i < count; at += sgl[i++].len)
        memcpy(copy + at, sgl[i].addr, sgl[i].len);
    return fi_inject(to->ep, copy, total, to->peer);
}

/* No provider that has room refuses to inject for long: -EAGAIN goes to the caller. */
static int send_inline(struct pf_ofi_endpoint *to, const struct pf_sge *sgl, unsigned count,
                       size_t total, struct pf_op *op)
{
    if (to->sends >= to->send_depth || !pf_list_empty(&to->waiting))
        return -EAGAIN;
    ssize_t error = inject(to, sgl, count, total);
    if (error == -FI_EAGAIN)
        return -EAGAIN;
    if (error) {
        pf_ofi_endpoint_fail(to, pf_ofi_error(error));
        return pf_ofi_error(error);
    }
    to->spoken++;
    pf_ofi_finish(to, op, 0, total);
    return 0;
}

/* The operation is accepted, ends with status, and takes the endpoint with it. */
static int refuse(struct pf_ofi_endpoint *to, int status, struct pf_op *op)
{
    pf_ofi_finish(to, op, status, 0);
    pf_ofi_endpoint_fail(to, status);
    return 0;
}

int pf_ofi_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                struct pf_op *op)
{
    struct pf_ofi_endpoint *to = pf_ofi_endpoint_of(endpoint);
    size_t total;
    if (to->state != PF_OFI_CONNECTED)
        return -ENOTCONN;
    if (!pf_sgl_valid(&to->device->device.caps, sgl, count, &total))
        return -EINVAL;
    if (total > to->peer_recv_size)
        return refuse(to, -EMSGSIZE, op);
    if (total <= to->device->device.caps.inline_size)
        return send_inline(to, sgl, count, total, op);
    struct pf_ofi_record *record = pf_ofi_record_take(to, PF_OFI_SEND, op);
    if (!record)
        return -EAGAIN;
    fill(record, to->device, sgl, count, total);
    return pf_ofi_record_start(to, record);
}

/* A read scatters, so its memory has to be registered for that. */
static bool registered(const struct pf_sge *sgl, unsigned count, enum pf_ofi_kind kind)
{
    unsigned needed = kind == PF_OFI_READ ? PF_LOCAL_WRITE | PF_REMOTE_WRITE : 0;
    for (unsigned i = 0; i < count; i++)
        if (!sgl[i].mr || (needed && !(sgl[i].mr->access & needed)))
            return false;
    return true;
}

static int post_access(struct pf_ofi_endpoint *to, enum pf_ofi_kind kind, const struct pf_sge *sgl,
                       unsigned count, uint64_t remote, const struct pf_rkey *rkey,
                       const uint32_t *imm, struct pf_op *op)
{
    unsigned access = kind == PF_OFI_READ ? PF_REMOTE_READ : PF_REMOTE_WRITE;
    size_t total;
    if (to->state != PF_OFI_CONNECTED)
        return -ENOTCONN;
    if (!pf_sgl_valid(&to->device->device.caps, sgl, count, &total) ||
        !registered(sgl, count, kind))
        return -EINVAL;
    if (to->device->checks_keys && !pf_ofi_keys_allow(to, rkey->key, remote, total, access))
        return to->state == PF_OFI_CONNECTED ? refuse(to, -EACCES, op) : -ENOTCONN;
    struct pf_ofi_record *record = pf_ofi_record_take(to, kind, op);
    if (!record)
        return -EAGAIN;
    fill(record, to->device, sgl, count, total);
    record->remote = remote - rkey->base;
    record->key = rkey->key;
    record->imm = imm ? *imm : 0;
    record->flags = imm ? FI_REMOTE_CQ_DATA : 0;
    return pf_ofi_record_start(to, record);
}

int pf_ofi_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                 uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    return post_access(pf_ofi_endpoint_of(endpoint), PF_OFI_WRITE, sgl, count, remote, rkey, NULL,
                       op);
}

int pf_ofi_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op)
{
    return post_access(pf_ofi_endpoint_of(endpoint), PF_OFI_WRITE, sgl, count, remote, rkey, &imm,
                       op);
}

int pf_ofi_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op)
{
    return post_access(pf_ofi_endpoint_of(endpoint), PF_OFI_READ, sgl, count, remote, rkey, NULL,
                       op);
}

int pf_ofi_flush(struct pf_endpoint *endpoint, struct pf_op *op)
{
    struct pf_ofi_endpoint *to = pf_ofi_endpoint_of(endpoint);
    if (to->state != PF_OFI_CONNECTED)
        return -ENOTCONN;
    struct pf_ofi_record *record = pf_ofi_record_take(to, PF_OFI_FLUSH, op);
    if (!record)
        return -EAGAIN;
    return pf_ofi_record_start(to, record);
}
