/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/populated.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
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

int pf_populated_scan(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why)
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
