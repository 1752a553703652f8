/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/region.h"

#include "pageferry.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

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
    unsigned at = id;
    while (at > 0 && regions->list[regions->by_addr[at - 1]].addr > region->addr) {
        regions->by_addr[at] = regions->by_addr[at - 1];
        at--;
    }
    regions->by_addr[at] = id;
    return &regions->list[id];
}

int pf_regions_map(struct pf_regions *regions, const char *name, size_t bytes, unsigned flags,
                   struct pf_region **region, struct pf_why *why)
{
    int error = check_new(regions, name, bytes, why);
    if (error)
        return error;
    if (flags & ~(unsigned)FERRY_FIXED_ADDR)
        return pf_why(why, -EINVAL, "region \"%s\": unknown flags 0x%x", name, flags);
    bytes = (bytes + PF_PAGE_SIZE - 1) & ~(size_t)(PF_PAGE_SIZE - 1);

    bool fixed = flags & FERRY_FIXED_ADDR;
    char *wanted = fixed ? next_fixed_address(regions) : NULL;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (fixed ? MAP_FIXED_NOREPLACE : 0);
    char *addr = mmap(wanted, bytes, PROT_READ | PROT_WRITE, how, -1, 0);
    if (addr == MAP_FAILED)
        return pf_why(why, -errno, "region \"%s\": cannot map %zu bytes%s: %s", name, bytes,
                      fixed ? " at its fixed address" : "", strerror(errno));
    struct pf_region made = {
        .addr = addr,
        .bytes = bytes,
        .page_shift = PF_PAGE_SHIFT,
        .flags = flags,
        .owned = true,
    };
    strcpy(made.name, name);
    *region = append(regions, &made);
    return 0;
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

int pf_regions_add(struct pf_regions *regions, const char *name, void *addr, size_t bytes,
                   struct pf_why *why)
{
    int error = check_new(regions, name, bytes, why);
    if (error)
        return error;
    if (((uintptr_t)addr | bytes) & (PF_PAGE_SIZE - 1))
        return pf_why(why, -EINVAL, "region \"%s\" is not made of whole pages", name);
    if (overlaps(regions, addr, bytes))
        return pf_why(why, -EEXIST, "region \"%s\" overlaps another region", name);
    struct pf_region made = {.addr = addr, .bytes = bytes, .page_shift = PF_PAGE_SHIFT};
    strcpy(made.name, name);
    append(regions, &made);
    return 0;
}

int pf_regions_add_foreign(struct pf_regions *regions, const char *name, size_t bytes,
                           size_t page_size, struct pf_why *why)
{
    int error = check_new(regions, name, bytes, why);
    if (error)
        return error;
    struct pf_region made = {
        .bytes = bytes,
        .page_shift = (unsigned)__builtin_ctzll(page_size),
        .foreign = true,
    };
    strcpy(made.name, name);
    append(regions, &made);
    return 0;
}

static bool holds(const struct pf_region *region, const char *addr)
{
    return addr >= region->addr && addr < region->addr + region->bytes;
}

int pf_regions_find(const struct pf_regions *regions, const void *addr, int last)
{
    if (last >= 0 && holds(&regions->list[last], addr))
        return last;
    unsigned low = 0;
    unsigned high = regions->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct pf_region *region = &regions->list[regions->by_addr[middle]];
        if (holds(region, addr))
            return (int)regions->by_addr[middle];
        if ((const char *)addr < region->addr)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
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
    for (unsigned i = 0; i < regions->count; i++)
        if (regions->list[i].owned)
            munmap(regions->list[i].addr, regions->list[i].bytes);
    regions->count = 0;
}
