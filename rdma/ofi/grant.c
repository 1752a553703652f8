/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys given out: one grant for each registration and endpoint that the caller packed a key for.
 *
 * Some providers bind a key to one endpoint (FI_MR_ENDPOINT: cxi): the grant has a registration of
 * its own then. Others don't report a wrong key (shm): there the peer is told on the side
 * connection what the key stands for, and when it is withdrawn, and checks before it posts. A Unix
 * stream is in the peer's hands as soon as send() returns, and so before the key, whichever way
 * that travels.
 *
 * A registration may be given back by any thread, so the device's lock guards all grants.
 */
#include "rdma/ofi/internal.h"

#include <stdlib.h>

struct grant {
    struct pf_list in_mr, in_endpoint;
    struct pf_ofi_mr *mr;
    struct pf_ofi_endpoint *endpoint;
    struct fid_mr *bound; /* or NULL */
    uint64_t key;
};

static int tell(const struct grant *grant, bool valid)
{
    const struct pf_mr *mr = &grant->mr->mr;
    struct pf_ofi_key told = {
        .key = grant->key,
        .address = (uint64_t)(uintptr_t)mr->addr,
        .length = valid ? mr->len : 0,
        .access = valid ? mr->access : 0,
    };
    if (!grant->endpoint->device->checks_keys)
        return 0;
    if (!grant->endpoint->side)
        return -ENOTCONN;
    return pf_ofi_side_send(grant->endpoint->side, PF_OFI_FRAME_KEY, &told, sizeof told);
}

static uint64_t remote_flags(unsigned access)
{
    return (access & PF_REMOTE_WRITE ? FI_REMOTE_WRITE : 0) |
           (access & PF_REMOTE_READ ? FI_REMOTE_READ : 0);
}

static int open_bound(struct grant *grant)
{
    const struct pf_mr *mr = &grant->mr->mr;
    if (!grant->endpoint->ep)
        return -ENOTCONN;
    int error = pf_ofi_mr_open(grant->endpoint->device, mr->addr, mr->len, remote_flags(mr->access),
                               &grant->bound);
    if (error)
        return pf_ofi_error(error);
    error = fi_mr_bind(grant->bound, &grant->endpoint->ep->fid, 0);
    if (!error)
        error = fi_mr_enable(grant->bound);
    grant->key = fi_mr_key(grant->bound);
    if (error)
        fi_close(&grant->bound->fid);
    return error ? pf_ofi_error(error) : 0;
}

static int make(struct pf_ofi_mr *mr, struct pf_ofi_endpoint *endpoint, struct grant **out)
{
    struct grant *grant = calloc(1, sizeof *grant);
    if (!grant)
        return -ENOMEM;
    *grant = (struct grant){.mr = mr, .endpoint = endpoint};
    int error = 0;
    if (endpoint->device->info->domain_attr->mr_mode & FI_MR_ENDPOINT)
        error = open_bound(grant);
    else
        grant->key = fi_mr_key(mr->fid);
    if (error)
        goto free_grant;
    error = tell(grant, true);
    if (error)
        goto close_bound;
    pf_list_append(&mr->grants, &grant->in_mr);
    pf_list_append(&endpoint->grants, &grant->in_endpoint);
    *out = grant;
    return 0;

close_bound:
    if (grant->bound)
        fi_close(&grant->bound->fid);
free_grant:
    free(grant);
    return error;
}

static struct grant *find(struct pf_ofi_mr *mr, const struct pf_ofi_endpoint *endpoint)
{
    pf_list_for_each (item, &mr->grants) {
        struct grant *grant = pf_container_of(item, struct grant, in_mr);
        if (grant->endpoint == endpoint)
            return grant;
    }
    return NULL;
}

/* -EAGAIN: the peer has too much unread on its side connection. */
int pf_ofi_grant_key(struct pf_ofi_mr *mr, struct pf_ofi_endpoint *endpoint, uint64_t *key)
{
    int error = 0;
    pthread_mutex_lock(&endpoint->device->lock);
    struct grant *grant = find(mr, endpoint);
    if (!grant)
        error = make(mr, endpoint, &grant);
    if (!error)
        *key = grant->key;
    pthread_mutex_unlock(&endpoint->device->lock);
    return error;
}

static void end(struct grant *grant)
{
    if (grant->bound)
        fi_close(&grant->bound->fid);
    pf_list_remove(&grant->in_mr);
    pf_list_remove(&grant->in_endpoint);
    free(grant);
}

/* A peer that can't be told is refused by the provider, without an error that it would see. */
void pf_ofi_grant_end_mr(struct pf_ofi_mr *mr)
{
    pthread_mutex_t *lock = &pf_ofi_device_of(mr->mr.device)->lock;
    pthread_mutex_lock(lock);
    for (struct pf_list *item; (item = pf_list_pop(&mr->grants)) != NULL;) {
        struct grant *grant = pf_container_of(item, struct grant, in_mr);
        tell(grant, false);
        end(grant);
    }
    pthread_mutex_unlock(lock);
}

/* Before the endpoint is closed: libfabric closes none that registrations are bound to. */
void pf_ofi_grant_end_endpoint(struct pf_ofi_endpoint *endpoint)
{
    pthread_mutex_lock(&endpoint->device->lock);
    for (struct pf_list *item; (item = pf_list_pop(&endpoint->grants)) != NULL;)
        end(pf_container_of(item, struct grant, in_endpoint));
    pthread_mutex_unlock(&endpoint->device->lock);
}
