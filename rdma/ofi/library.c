/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libfabric, loaded when it is first used and not with the program.
 *
 * Debian's libfabric brings libraries of several vendors along whose constructors take 0.2 s and
 * touch the process's CPU affinity: too much for every command and every job that never opens an
 * ofi device. Only five functions are exported by it, the rest of its interface are tables behind
 * objects. Those five stand here under their own names (hidden in the shared library) and hand
 * over. The dynamic loader keeps the library once it is there, so looking it up again is cheap;
 * none of them is on a path where that counts.
 */
#include <dlfcn.h>
#include <rdma/fabric.h>
#include <rdma/fi_errno.h>
#include <string.h>

/* The version of the interface whose structs the headers describe, from libfabric 1.3 to 2.x. */
#define ABI       "FABRIC_1.3"
#define FIRST_ABI "FABRIC_1.0"

/* NULL where the library isn't installed. */
static void *find(const char *name, const char *version)
{
    void *library = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return NULL;
    void *symbol = dlvsym(library, name, version);
    return symbol ? symbol : dlsym(library, name);
}

int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
               const struct fi_info *hints, struct fi_info **info)
{
    int (*getinfo)(uint32_t, const char *, const char *, uint64_t, const struct fi_info *,
                   struct fi_info **) = find("fi_getinfo", ABI);
    return getinfo ? getinfo(version, node, service, flags, hints, info) : -FI_ENOSYS;
}

void fi_freeinfo(struct fi_info *info)
{
    void (*freeinfo)(struct fi_info *) = find("fi_freeinfo", ABI);
    if (freeinfo)
        freeinfo(info);
}

struct fi_info *fi_dupinfo(const struct fi_info *info)
{
    struct fi_info *(*dupinfo)(const struct fi_info *) = find("fi_dupinfo", ABI);
    return dupinfo ? dupinfo(info) : NULL;
}

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
    int (*open)(struct fi_fabric_attr *, struct fid_fabric **, void *) =
        find("fi_fabric", "FABRIC_1.1");
    return open ? open(attr, fabric, context) : -FI_ENOSYS;
}

const char *fi_strerror(int error)
{
    const char *(*text)(int) = find("fi_strerror", FIRST_ABI);
    return text ? text(error) : "libfabric.so.1 is not installed";
}
