/* SPDX-License-Identifier: BSD-2-Clause */
/* Registrations and their keys. */
#include "rdma/ofi/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

enum { KEY_ATTEMPTS = 16, ADDRESS_BITS = 57 /* of user space, on the machine with most */ };

static uint64_t access_flags(unsigned access)
{
    uint64_t flags = FI_SEND | FI_WRITE;
    if (access & (PF_LOCAL_WRITE | PF_REMOTE_WRITE))
        flags |= FI_RECV | FI_READ;
    if (access & PF_REMOTE_WRITE)
        flags |= FI_REMOTE_WRITE;
    if (access & PF_REMOTE_READ)
        flags |= FI_REMOTE_READ;
    return flags;
}

/*
 * Where we choose the keys they are random, so that a peer can't guess one that it was not given.
 * The provider refuses a key that is in use (FI_ENOKEY).
 */
static uint64_t random_key(const struct fi_info *info)
{
    uint64_t key = 0;
    size_t size = info->domain_attr->mr_key_size;
    if (getrandom(&key, sizeof key, 0) != (ssize_t)sizeof key)
        key = (uint64_t)rand();
    return size > 0 && size < sizeof key ? key & ((1ull << (8 * size)) - 1) : key;
}

/* Register with libfabric's flags. */
int pf_ofi_mr_open(struct pf_ofi_device *device, void *addr, size_t len, uint64_t access,
                   struct fid_mr **fid)
{
    struct iovec iov = {.iov_base = addr, .iov_len = len};
    struct fi_mr_attr attr = {.mr_iov = &iov, .iov_count = 1, .access = access};
    bool ours = !(device->info->domain_attr->mr_mode & FI_MR_PROV_KEY);
    int error = -FI_ENOKEY;
    for (int i = 0; i < KEY_ATTEMPTS && error == -FI_ENOKEY; i++) {
        attr.requested_key = ours ? random_key(device->info) : 0;
        error = fi_mr_regattr(device->domain, &attr, 0, fid);
    }
    return error;
}

static int explain(int error, const struct pf_ofi_device *device, size_t len, struct pf_why *why)
{
    struct rlimit limit;
    const char *provider = device->info->fabric_attr->prov_name;
    if (error == -FI_ENOMEM && device->device.caps.needs_pinning &&
        getrlimit(RLIMIT_MEMLOCK, &limit) == 0)
        return pf_why(why, -ENOMEM,
                      "registering %zu bytes with ofi+%s: they are pinned, and RLIMIT_MEMLOCK is "
                      "%llu bytes: raise it with \"ulimit -l\" or in limits.d",
                      len, provider, (unsigned long long)limit.rlim_cur);
    return pf_why(why, pf_ofi_error(error), "registering %zu bytes with ofi+%s: %s", len, provider,
                  fi_strerror(-error));
}

/* Keys bound to an endpoint are made when one is asked for; a local descriptor may be needed now.
 */
static int open_unbound(struct pf_ofi_mr *mr, struct pf_ofi_device *device)
{
    int mode = device->info->domain_attr->mr_mode;
    if ((mode & FI_MR_ENDPOINT) && !(mode & FI_MR_LOCAL))
        return 0;
    unsigned access = mode & FI_MR_ENDPOINT ? PF_LOCAL_WRITE : mr->mr.access;
    return pf_ofi_mr_open(device, mr->mr.addr, mr->mr.len, access_flags(access), &mr->fid);
}

int pf_ofi_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **mr, struct pf_why *why)
{
    if (len == 0)
        return pf_why(why, -EINVAL, "registering memory: it has no bytes");
    struct pf_ofi_mr *made = calloc(1, sizeof *made);
    if (!made)
        return pf_why(why, -ENOMEM, "registering %zu bytes: out of memory", len);
    made->mr = (struct pf_mr){.device = device, .addr = addr, .len = len, .access = access};
    pf_list_init(&made->grants);
    int error = open_unbound(made, pf_ofi_device_of(device));
    if (error) {
        free(made);
        return explain(error, pf_ofi_device_of(device), len, why);
    }
    *mr = &made->mr;
    return 0;
}

void pf_ofi_mr_dereg(struct pf_mr *mr)
{
    struct pf_ofi_mr *closed = pf_container_of(mr, struct pf_ofi_mr, mr);
    pf_ofi_grant_end_mr(closed);
    if (closed->fid)
        fi_close(&closed->fid->fid);
    free(closed);
}

void *pf_ofi_mr_desc(const struct pf_ofi_device *device, const struct pf_mr *mr)
{
    if (!mr || !(device->info->domain_attr->mr_mode & FI_MR_LOCAL))
        return NULL;
    return fi_mr_desc(pf_container_of(mr, struct pf_ofi_mr, mr)->fid);
}

/* On the wire: the key, then what the peer takes off an address, both little endian. */
static void put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *in)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | in[i];
    return value;
}

int pf_ofi_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES])
{
    struct pf_ofi_endpoint *to = pf_ofi_endpoint_of(endpoint);
    bool virtual_addresses = (to->device->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    uint64_t key;
    int error = pf_ofi_grant_key(pf_container_of(mr, struct pf_ofi_mr, mr), to, &key);
    if (error)
        return error;
    put_u64(out, key);
    put_u64(out + 8, virtual_addresses ? 0 : (uint64_t)(uintptr_t)mr->addr);
    return 0;
}

int pf_ofi_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                       struct pf_rkey *rkey)
{
    const struct fi_info *info = pf_ofi_endpoint_of(endpoint)->device->info;
    *rkey = (struct pf_rkey){.key = get_u64(in), .base = get_u64(in + 8)};
    bool virtual_addresses = (info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    bool possible = virtual_addresses ? rkey->base == 0 : rkey->base >> ADDRESS_BITS == 0;
    return possible ? 0 : -EINVAL;
}
