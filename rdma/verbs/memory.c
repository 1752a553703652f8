/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A packed key: a mark, then the 32-bit key big-endian; the rest is zero. */
static const uint8_t key_mark[4] = {'v', 'r', 'b', 1};

/*
 * Never IBV_ACCESS_RELAXED_ORDERING: it would let an immediate overtake the writes before it,
 * and caps.ordered_writes promises the opposite. Remote write needs local write by the
 * InfiniBand specification (and ibv_reg_mr(3)).
 */
static int access_flags(unsigned access)
{
    int flags = 0;
    if (access & PF_LOCAL_WRITE)
        flags |= IBV_ACCESS_LOCAL_WRITE;
    if (access & PF_REMOTE_WRITE)
        flags |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
    if (access & PF_REMOTE_READ)
        flags |= IBV_ACCESS_REMOTE_READ;
    return flags;
}

/* The kernel exempts holders of CAP_IPC_LOCK from RLIMIT_MEMLOCK. */
static bool exempt_from_memlock(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    return data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

static const char *bytes_text(uint64_t bytes, char text[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0, tenths = 0;
    while (bytes >= 1024) {
        tenths = (unsigned)(bytes % 1024 * 10 / 1024);
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 24, "%u.%u %s", (unsigned)bytes, tenths, units[unit]);
    return text;
}

int pf_verbs_reg_failed(struct pf_verbs_device *device, const void *addr, size_t len, int error,
                        struct pf_why *why)
{
    char limit_text[24], needed_text[24], len_text[24];
    struct rlimit limit;
    uint64_t needed = atomic_load(&device->pinned) + len;
    bytes_text(len, len_text);
    bytes_text(needed, needed_text);
    if (error == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < needed && !exempt_from_memlock())
        return pf_why(why, -ENOMEM,
                      "RLIMIT_MEMLOCK is %s, %s needed (with what is registered already): raise "
                      "it with ulimit -l or in /etc/security/limits.d",
                      bytes_text(limit.rlim_cur, limit_text), needed_text);
    if (error == ENOMEM)
        return pf_why(why, -ENOMEM,
                      "the kernel or %s could not pin %s at %p: out of memory or of memory "
                      "regions (ibv_devinfo -v: max_mr)",
                      ibv_get_device_name(device->context->device), len_text, addr);
    if (error == EFAULT)
        return pf_why(why, -EFAULT,
                      "registering %s at %p: part of it is not mapped, or not writable although "
                      "writing was asked for",
                      len_text, addr);
    return pf_why(why, error ? -error : -EIO, "registering %s at %p with %s: %s", len_text, addr,
                  ibv_get_device_name(device->context->device), strerrordesc_np(error));
}

int pf_verbs_mr_reg(struct pf_device *base, void *addr, size_t len, unsigned access,
                    struct pf_mr **out, struct pf_why *why)
{
    struct pf_verbs_device *device = pf_verbs_device(base);
    if (len == 0)
        return pf_why(why, -EINVAL, "registering 0 bytes at %p: nothing to register", addr);
    struct pf_verbs_mr *mr = calloc(1, sizeof *mr);
    if (!mr)
        return pf_why(why, -ENOMEM, "out of memory");
    mr->mr = ibv_reg_mr(device->pd, addr, len, access_flags(access));
    if (!mr->mr) {
        int rc = pf_verbs_reg_failed(device, addr, len, errno, why);
        free(mr);
        return rc;
    }
    atomic_fetch_add(&device->pinned, len);
    mr->base = (struct pf_mr){.device = base, .addr = addr, .len = len, .access = access};
    *out = &mr->base;
    return 0;
}

void pf_verbs_mr_dereg(struct pf_mr *base)
{
    struct pf_verbs_mr *mr = pf_container_of(base, struct pf_verbs_mr, base);
    atomic_fetch_sub(&pf_verbs_device(base->device)->pinned, base->len);
    ibv_dereg_mr(mr->mr);
    free(mr);
}

/* Keys belong to the protection domain: any peer connected within it may use one that it knows. */
int pf_verbs_rkey_pack(struct pf_mr *base, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES])
{
    (void)endpoint;
    uint32_t key = htonl(pf_container_of(base, struct pf_verbs_mr, base)->mr->rkey);
    memset(out, 0, PF_RKEY_BYTES);
    memcpy(out, key_mark, sizeof key_mark);
    memcpy(out + sizeof key_mark, &key, sizeof key);
    return 0;
}

int pf_verbs_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                         struct pf_rkey *rkey)
{
    (void)endpoint;
    static const uint8_t zeros[PF_RKEY_BYTES];
    const size_t used = sizeof key_mark + sizeof(uint32_t);
    uint32_t key;
    if (memcmp(in, key_mark, sizeof key_mark) != 0 ||
        memcmp(in + used, zeros, PF_RKEY_BYTES - used) != 0)
        return -EINVAL;
    memcpy(&key, in + sizeof key_mark, sizeof key);
    *rkey = (struct pf_rkey){.key = ntohl(key), .base = 0};
    return 0;
}
