/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int pf_bare_scan_open(struct pf_bare_scan *bare, const struct pf_region *region, struct pf_why *why)
{
    const uint64_t wanted =
        UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | PF_UFFD_WP_ASYNC;
    *bare = (struct pf_bare_scan){.uffd = {.fd = -1}, .room = pf_region_pages(region) / 2 + 1};
    bare->pagemap_fd = pf_pagemap_open(why);
    if (bare->pagemap_fd < 0)
        return bare->pagemap_fd;
    int error = pf_uffd_open(&bare->uffd, wanted, why);
    if (!error && !(bare->uffd.features & PF_UFFD_WP_ASYNC))
        error = pf_why(why, -ENOTSUP, "no asynchronous write-protection");
    if (!error)
        error = pf_uffd_register_writes(&bare->uffd, region->addr, region->bytes);
    if (error)
        return error;
    bare->ranges = calloc(bare->room, sizeof *bare->ranges);
    if (!bare->ranges)
        return pf_why(why, -ENOMEM, "no memory for %zu ranges", bare->room);
    memset(bare->ranges, 1, bare->room * sizeof *bare->ranges);
    return 0;
}

void pf_bare_scan_close(struct pf_bare_scan *bare, const struct pf_region *region)
{
    if (bare->uffd.fd >= 0)
        pf_uffd_unregister(&bare->uffd, region->addr, region->bytes);
    pf_uffd_close(&bare->uffd);
    if (bare->pagemap_fd >= 0)
        close(bare->pagemap_fd);
    free(bare->ranges);
    *bare = (struct pf_bare_scan){.uffd = {.fd = -1}, .pagemap_fd = -1};
}

int pf_bare_scan(struct pf_bare_scan *bare, const struct pf_region *region)
{
    struct pf_scan_request request = {
        .size = sizeof request,
        .flags = PF_SCAN_PROTECT | PF_SCAN_CHECK,
        .start = (uintptr_t)region->addr,
        .end = (uintptr_t)region->addr + region->bytes,
        .vec = (uintptr_t)bare->ranges,
        .vec_len = bare->room,
        .category_mask = PF_SCAN_WRITTEN,
        .return_mask = PF_SCAN_WRITTEN,
    };
    int found = ioctl(bare->pagemap_fd, PF_SCAN_IOCTL, &request);
    return found < 0 ? -errno : found;
}
