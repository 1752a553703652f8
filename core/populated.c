/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/populated.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * From the kernel's uapi (Documentation/admin-guide/mm/pagemap.rst); the headers of Debian 12 are
 * older than the call.
 */
enum {
    SCAN_PRESENT = 1 << 3,
    SCAN_SWAPPED = 1 << 4,
    SCAN_PFNZERO = 1 << 5,
};

struct scan_range {
    uint64_t start, end, categories;
};

struct scan_request {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_request)

static int open_pagemap(struct pf_why *why)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pf_why(why, -errno, "cannot open /proc/self/pagemap: %s", strerror(errno));
    return fd;
}

static void add_range(const struct pf_region *region, struct pf_pageset *set, uint64_t start,
                      uint64_t end)
{
    uint64_t base = (uintptr_t)region->addr;
    size_t first = (size_t)(start - base) >> region->page_shift;
    size_t last = (size_t)(end - 1 - base) >> region->page_shift;
    pf_pageset_add_run(set, (struct pf_run){first, last - first + 1});
}

/* -ENOTTY where the kernel doesn't have the call. */
static int scan_by_ioctl(int fd, const struct pf_region *region, struct pf_pageset *set)
{
    enum { RANGES = 256 };
    struct scan_range ranges[RANGES];
    uint64_t end = (uintptr_t)region->addr + region->bytes;
    uint64_t at = (uintptr_t)region->addr;
    while (at < end) {
        struct scan_request request = {
            .size = sizeof request,
            .start = at,
            .end = end,
            .vec = (uintptr_t)ranges,
            .vec_len = RANGES,
            .category_inverted = SCAN_PFNZERO,
            .category_mask = SCAN_PFNZERO,
            .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
            .return_mask = SCAN_PRESENT | SCAN_SWAPPED,
        };
        int found = ioctl(fd, SCAN_IOCTL, &request);
        if (found < 0)
            return -errno;
        for (int i = 0; i < found; i++)
            add_range(region, set, ranges[i].start, ranges[i].end);
        if (request.walk_end <= at)
            return -EIO;
        at = request.walk_end;
    }
    return 0;
}

/* Bits of a pagemap entry. The shared zero page can't be told here: it travels as a zero page. */
static bool entry_populated(uint64_t entry)
{
    return entry >> 63 & 1 || entry >> 62 & 1;
}

static int scan_by_reading(int fd, const struct pf_region *region, struct pf_pageset *set)
{
    enum { ENTRIES = 4096 };
    static const size_t entry_bytes = sizeof(uint64_t);
    uint64_t entries[ENTRIES];
    size_t base_pages = region->bytes / PF_PAGE_SIZE;
    uint64_t first = (uintptr_t)region->addr / PF_PAGE_SIZE;
    for (size_t done = 0; done < base_pages;) {
        size_t wanted = base_pages - done < ENTRIES ? base_pages - done : ENTRIES;
        ssize_t got =
            pread(fd, entries, wanted * entry_bytes, (off_t)((first + done) * entry_bytes));
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        size_t count = (size_t)got / entry_bytes;
        for (size_t i = 0; i < count; i++)
            if (entry_populated(entries[i]))
                pf_pageset_add(set, (done + i) * PF_PAGE_SIZE >> region->page_shift);
        done += count;
    }
    return 0;
}

/* What this process has mapped of the region. */
static int scan_mapping(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why)
{
    int fd = open_pagemap(why);
    if (fd < 0)
        return fd;
    int error = scan_by_ioctl(fd, region, set);
    if (error == -ENOTTY || error == -EINVAL)
        error = scan_by_reading(fd, region, set);
    close(fd);
    return error ? pf_why(why, error, "cannot scan region \"%s\" for populated pages: %s",
                          region->name, strerror(-error))
                 : 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/*
 * A page of a file may be there without being mapped here: written by another process, or swapped
 * out. tmpfs tells data from holes; the descriptor is one of our own, since the position is moved.
 */
static int scan_tmpfs(int fd, const struct pf_region *region, struct pf_pageset *set)
{
    off_t start = (off_t)region->offset;
    off_t end = start + (off_t)region->bytes;
    for (off_t at = start; at < end;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return 0; /* no more */
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        if (data >= end)
            return 0;
        uint64_t base = (uintptr_t)region->addr;
        add_range(region, set, base + (uint64_t)(data - start),
                  base + (uint64_t)((hole < end ? hole : end) - start));
        at = hole;
    }
    return 0;
}

/*
 * hugetlbfs tells only how much there is in the whole file: if that is what is mapped here, these
 * are the pages, else it may be any.
 */
static int scan_hugetlbfs(int fd, const struct pf_region *region, struct pf_pageset *set,
                          struct pf_why *why)
{
    enum { BLOCK = 512 };
    struct stat file;
    int error = scan_mapping(region, set, why);
    if (error)
        return error;
    if (fstat(fd, &file) < 0)
        return -errno;
    if ((uint64_t)file.st_blocks * BLOCK != (uint64_t)pf_pageset_count(set) << region->page_shift)
        pf_pageset_add_run(set, (struct pf_run){0, set->pages});
    return 0;
}

static int scan_file(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0                   ? -errno
                : pf_region_huge(region) ? scan_hugetlbfs(fd, region, set, why)
                                         : scan_tmpfs(fd, region, set);
    if (fd >= 0)
        close(fd);
    return error ? pf_why(why, error, "cannot scan the file of region \"%s\" for data: %s",
                          region->name, strerror(-error))
                 : 0;
}

int pf_populated_scan(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why)
{
    return pf_region_shared(region) ? scan_file(region, set, why) : scan_mapping(region, set, why);
}

int pf_populated_bytes(const struct pf_region *region, uint64_t *bytes, struct pf_why *why)
{
    struct pf_pageset set;
    if (pf_pageset_init(&set, pf_region_pages(region)))
        return pf_why(why, -ENOMEM, "region \"%s\": no memory for its page set", region->name);
    int error = pf_populated_scan(region, &set, why);
    *bytes = (uint64_t)pf_pageset_count(&set) << region->page_shift;
    pf_pageset_free(&set);
    return error;
}
