/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include <sys/mman.h>

enum {
    BYTES = 4096, /* at most one page on every architecture */
    GOODBYE = 0,  /* where the peer writes a byte that is not 0 */
    MARK = 64,    /* our own such byte, which is written there */
    LANDING = 65, /* where what we read from the peer's mailbox goes; never looked at */
};

int pf_verbs_mailbox_open(struct pf_verbs_mailbox *mailbox, struct pf_verbs_device *device,
                          struct pf_why *why)
{
    void *page = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (page == MAP_FAILED)
        return pf_why(why, -ENOMEM, "allocating %d bytes for a connection: %m", BYTES);
    mailbox->page = page;
    mailbox->page[MARK] = 1;
    mailbox->mr =
        ibv_reg_mr_iova(device->pd, page, BYTES, 0,
                        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
    if (!mailbox->mr) {
        int rc = pf_verbs_reg_failed(device, page, BYTES, errno, why);
        munmap(page, BYTES);
        *mailbox = (struct pf_verbs_mailbox){.mr = NULL};
        return rc;
    }
    atomic_fetch_add(&device->pinned, BYTES);
    return 0;
}

void pf_verbs_mailbox_close(struct pf_verbs_mailbox *mailbox, struct pf_verbs_device *device)
{
    if (!mailbox->mr)
        return;
    ibv_dereg_mr(mailbox->mr);
    munmap((void *)mailbox->page, BYTES);
    atomic_fetch_sub(&device->pinned, BYTES);
}

/*
 * One byte read from the peer's mailbox. The responder carries out a read after all writes that
 * came before it on the queue pair (InfiniBand Architecture Specification, volume 1, "Transaction
 * ordering" of reliable connections; a read may not pass a write), and its own read of memory
 * pushes those writes ahead of it over PCI Express, where reads don't pass posted writes. So when
 * the byte has arrived the data is visible to the peer's CPU; a write's own completion promises
 * no more than that the peer's NIC has it.
 */
int pf_verbs_post_peek(struct pf_verbs_endpoint *endpoint, struct pf_op *op)
{
    struct ibv_sge landing = {.addr = LANDING, .length = 1, .lkey = endpoint->mailbox.mr->lkey};
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_RDMA_READ,
        .sg_list = &landing,
        .num_sge = 1,
        .wr.rdma = {.remote_addr = GOODBYE, .rkey = endpoint->peer_mailbox_key}};
    return pf_verbs_post_wr(endpoint, &wr, 0, op);
}

int pf_verbs_post_goodbye(struct pf_verbs_endpoint *endpoint, struct pf_op *op)
{
    struct ibv_sge list = {.addr = MARK, .length = 1, .lkey = endpoint->mailbox.mr->lkey};
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_RDMA_WRITE,
        .sg_list = &list,
        .num_sge = 1,
        .wr.rdma = {.remote_addr = GOODBYE, .rkey = endpoint->peer_mailbox_key}};
    return pf_verbs_post_wr(endpoint, &wr, 0, op);
}

bool pf_verbs_mailbox_goodbye(const struct pf_verbs_mailbox *mailbox)
{
    return mailbox->page[GOODBYE] != 0;
}
