/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/region.h"

#include "core/memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Where regions with FERRY_FIXED_ADDR go: far from heap, libraries and stack on x86-64 and arm64
 * with 47 or more bits of address space, so that both sides find the place free. One after the
 * other in the order of allocation, which is the same on both sides.
 */
static char *const fixed_area = (char *)0x200000000000;

static const size_t fixed_gap = (size_t)1 << 30;

static char *next_fixed_address(const struct pf_regions *regions)
{
    char *next = fixed_area;
    for (unsigned i = 0; i < regions->count; i++) {
        const struct pf_region *region = &regions->list[i];
        if (region->flags & FERRY_FIXED_ADDR)
            next = region->addr + (region->bytes + 2 * fixed_gap - 1) / fixed_gap * fixed_gap;
    }
    return next;
}

static int check_new(const struct pf_regions *regions, const char *name, size_t bytes,
                     struct pf_why *why)
{
    size_t length = name ? strnlen(name, PF_REGION_NAME) : 0;
    if (length == 0 || length >= PF_REGION_NAME)
        return pf_why(why, -EINVAL, "a region's name has 1 to %d bytes", PF_REGION_NAME - 1);
    if (bytes == 0 || bytes > SIZE_MAX / 4)
        return pf_why(why, -EINVAL, "region \"%s\": %zu bytes is no usable size", name, bytes);
    if (pf_regions_named(regions, name) >= 0)
        return pf_why(why, -EEXIST, "region \"%s\" is declared twice", name);
    if (regions->count == PF_REGIONS_MAX)
        return pf_why(why, -ENOSPC, "region \"%s\": a job has at most %d regions", name,
                      PF_REGIONS_MAX);
    return 0;
}

static struct pf_region *append(struct pf_regions *regions, const struct pf_region *region)
{
    unsigned id = regions->count++;
    regions->list[id] = *region;
    return &regions->list[id];
}

/* The shift of a page size that the API names. */
static int page_shift_of(const char *name, size_t page_size, unsigned *shift, struct pf_why *why)
{
    if (page_size == FERRY_PAGE_DEFAULT)
        page_size = PF_PAGE_SIZE;
    if (page_size != PF_PAGE_SIZE && page_size != FERRY_PAGE_2M && page_size != FERRY_PAGE_1G)
        return pf_why(why, -EINVAL, "region \"%s\": pages of %zu bytes are not offered", name,
                      page_size);
    *shift = (unsigned)__builtin_ctzl(page_size);
    return 0;
}

int pf_regions_map(struct pf_regions *regions, const char *name, size_t bytes, size_t page_size,
                   unsigned flags, struct pf_region **region, struct pf_why *why)
{
    struct pf_region made = {.flags = flags, .owned = true};
    int error = check_new(regions, name, bytes, why);
    if (!error)
        error = page_shift_of(name, page_size, &made.page_shift, why);
    if (error)
        return error;
    if (flags & ~(unsigned)(FERRY_FIXED_ADDR | FERRY_SHARED | FERRY_SEND_LATE))
        return pf_why(why, -EINVAL, "region \"%s\": unknown flags 0x%x", name, flags);
    size_t mask = pf_region_page_size(&made) - 1;
    made.bytes = (bytes + mask) & ~mask;
    strcpy(made.name, name);
    error =
        pf_backing_map(&made, flags & FERRY_FIXED_ADDR ? next_fixed_address(regions) : NULL, why);
    if (!error)
        *region = append(regions, &made);
    return error;
}

static bool overlaps(const struct pf_regions *regions, const char *addr, size_t bytes)
{
    for (unsigned i = 0; i < regions->count; i++) {
        const struct pf_region *other = &regions->list[i];
        if (addr < other->addr + other->bytes && other->addr < addr + bytes)
            return true;
    }
    return false;
}

static int check_added(const struct pf_regions *regions, const struct pf_region *region,
                       struct pf_why *why)
{
    if (((uintptr_t)region->addr | region->bytes | region->offset) &
        (pf_region_page_size(region) - 1))
        return pf_why(why, -EINVAL,
                      "region \"%s\" is not made of whole pages: address, length and offset have "
                      "to be multiples of %s",
                      region->name, pf_page_size_name(region->page_shift));
    if (overlaps(regions, region->addr, region->bytes))
        return pf_why(why, -EEXIST, "region \"%s\" overlaps another region", region->name);
    return 0;
}

int pf_regions_add(struct pf_regions *regions, const char *name, void *addr, size_t bytes,
                   unsigned page_shift, struct pf_why *why)
{
    struct pf_region made = {.addr = addr, .bytes = bytes, .page_shift = page_shift, .fd = -1};
    int error = check_new(regions, name, bytes, why);
    if (error)
        return error;
    strcpy(made.name, name);
    error = check_added(regions, &made, why);
    if (!error)
        append(regions, &made);
    return error;
}

int pf_region_check_file(const struct pf_region *region, struct pf_why *why)
{
    struct stat file;
    if (!pf_region_shared(region))
        return 0;
    if (fstat(region->fd, &file) < 0)
        return pf_why(why, -errno, "region \"%s\": %s", region->name, strerror(errno));
    uint64_t end = region->offset + region->bytes;
    if ((uint64_t)file.st_size < end)
        return pf_why(why, -EINVAL,
                      "region \"%s\": its memfd has %lld bytes, the region ends at %llu: it must "
                      "not shrink while it is a region",
                      region->name, (long long)file.st_size, (unsigned long long)end);
    return 0;
}

int pf_regions_add_file(struct pf_regions *regions, const char *name, void *addr, size_t bytes,
                        int fd, uint64_t offset, struct pf_why *why)
{
    struct pf_region made = {.addr = addr, .bytes = bytes, .offset = offset, .fd = fd};
    int error = check_new(regions, name, bytes, why);
    if (error)
        return error;
    made.flags = FERRY_SHARED;
    strcpy(made.name, name);
    error = pf_backing_of_file(&made, why);
    if (!error)
        error = check_added(regions, &made, why);
    if (!error)
        error = pf_region_check_file(&made, why);
    if (error)
        return error;
    made.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (made.fd < 0)
        return pf_why(why, -errno, "region \"%s\": no descriptor to be had: %s", name,
                      strerror(errno));
    /* Who shortens it gets an error there and then; a file without seals is looked at later. */
    (void)fcntl(made.fd, F_ADD_SEALS, F_SEAL_SHRINK);
    append(regions, &made);
    return 0;
}

int pf_regions_add_foreign(struct pf_regions *regions, const char *name, size_t bytes,
                           size_t page_size, struct pf_why *why)
{
    struct pf_region made = {.bytes = bytes, .foreign = true, .fd = -1};
    int error = check_new(regions, name, bytes, why);
    if (!error)
        error = page_shift_of(name, page_size, &made.page_shift, why);
    if (error)
        return error;
    strcpy(made.name, name);
    append(regions, &made);
    return 0;
}

int pf_regions_named(const struct pf_regions *regions, const char *name)
{
    for (unsigned i = 0; i < regions->count; i++)
        if (strcmp(regions->list[i].name, name) == 0)
            return (int)i;
    return -1;
}

uint64_t pf_regions_bytes(const struct pf_regions *regions)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < regions->count; i++)
        bytes += regions->list[i].bytes;
    return bytes;
}

void pf_regions_unmap(struct pf_regions *regions)
{
    for (unsigned i = 0; i < regions->count; i++) {
        struct pf_region *region = &regions->list[i];
        if (region->owned)
            munmap(region->addr, region->bytes);
        if (pf_region_shared(region))
            close(region->fd);
    }
    regions->count = 0;
}
