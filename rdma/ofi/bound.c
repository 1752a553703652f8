/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registrations bound to one endpoint (FI_MR_ENDPOINT: the cxi provider). A registration of the
 * caller's gets one per endpoint whose peer is given its key. Each is on two lists, the
 * registration's and the endpoint's; the registration's lock guards its own. Giving back a
 * registration while another thread closes an endpoint that its key was packed for is the caller's
 * mistake: the contract has the peers cut off first.
 */
#include "rdma/ofi/internal.h"

#include <stdlib.h>

struct bound {
    struct pf_list in_mr, in_endpoint;
    struct pf_ofi_mr *mr;
    struct pf_ofi_endpoint *endpoint;
    struct fid_mr *fid;
};

static uint64_t remote_flags(unsigned access)
{
    return (access & PF_REMOTE_WRITE ? FI_REMOTE_WRITE : 0) |
           (access & PF_REMOTE_READ ? FI_REMOTE_READ : 0);
}

static int open_bound(struct bound *bound)
{
    const struct pf_mr *mr = &bound->mr->mr;
    int error = pf_ofi_mr_open(bound->endpoint->device, mr->addr, mr->len,
                               remote_flags(mr->access), &bound->fid);
    if (error)
        return error;
    error = fi_mr_bind(bound->fid, &bound->endpoint->ep->fid, 0);
    if (!error)
        error = fi_mr_enable(bound->fid);
    if (error)
        fi_close(&bound->fid->fid);
    return error;
}

static struct bound *find(struct pf_ofi_mr *mr, const struct pf_ofi_endpoint *endpoint)
{
    pf_list_for_each(item, &mr->bound) {
        struct bound *bound = pf_container_of(item, struct bound, in_mr);
        if (bound->endpoint == endpoint)
            return bound;
    }
    return NULL;
}

static int make(struct pf_ofi_mr *mr, struct pf_ofi_endpoint *endpoint, struct bound **out)
{
    struct bound *bound = calloc(1, sizeof *bound);
    if (!bound)
        return -ENOMEM;
    *bound = (struct bound){.mr = mr, .endpoint = endpoint};
    int error = open_bound(bound);
    if (error) {
        free(bound);
        return pf_ofi_error(error);
    }
    pf_list_append(&mr->bound, &bound->in_mr);
    pf_list_append(&endpoint->bound, &bound->in_endpoint);
    *out = bound;
    return 0;
}

int pf_ofi_bound_key(struct pf_ofi_mr *mr, struct pf_ofi_endpoint *endpoint, uint64_t *key)
{
    if (!endpoint->ep)
        return -ENOTCONN;
    int error = 0;
    pthread_mutex_lock(&mr->lock);
    struct bound *bound = find(mr, endpoint);
    if (!bound)
        error = make(mr, endpoint, &bound);
    if (!error)
        *key = fi_mr_key(bound->fid);
    pthread_mutex_unlock(&mr->lock);
    return error;
}

static void close_bound(struct bound *bound)
{
    fi_close(&bound->fid->fid);
    pf_list_remove(&bound->in_mr);
    pf_list_remove(&bound->in_endpoint);
    free(bound);
}

void pf_ofi_bound_close_mr(struct pf_ofi_mr *mr)
{
    pthread_mutex_lock(&mr->lock);
    while (!pf_list_empty(&mr->bound))
        close_bound(pf_container_of(mr->bound.next, struct bound, in_mr));
    pthread_mutex_unlock(&mr->lock);
}

/* Before the endpoint is closed: libfabric does not close one that registrations refer to. */
void pf_ofi_bound_close_endpoint(struct pf_ofi_endpoint *endpoint)
{
    while (!pf_list_empty(&endpoint->bound)) {
        struct bound *bound = pf_container_of(endpoint->bound.next, struct bound, in_endpoint);
        pthread_mutex_t *lock = &bound->mr->lock;
        pthread_mutex_lock(lock);
        close_bound(bound);
        pthread_mutex_unlock(lock);
    }
}
