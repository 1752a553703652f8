/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int pf_pagemap_open(struct pf_why *why)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pf_why(why, -errno, "cannot open /proc/self/pagemap: %s", strerror(errno));
    return fd;
}

static void add_range(const struct pf_region *region, struct pf_pageset_adder *adder,
                      const struct pf_scan_range *range)
{
    uint64_t base = (uintptr_t)region->addr;
    size_t first = (size_t)(range->start - base) >> region->page_shift;
    size_t last = (size_t)(range->end - 1 - base) >> region->page_shift;
    pf_pageset_put(adder, (struct pf_run){first, last - first + 1});
}

int pf_pagemap_scan(int fd, const struct pf_region *region, struct pf_run run,
                    const struct pf_scan_query *query, struct pf_pageset *set)
{
    enum { RANGES = 512 };
    struct pf_scan_range ranges[RANGES];
    struct pf_scan_request request = {
        .size = sizeof request,
        .flags = query->flags,
        .start = (uintptr_t)pf_region_page(region, run.first),
        .end = (uintptr_t)pf_region_page(region, run.first + run.pages),
        .vec = (uintptr_t)ranges,
        .vec_len = RANGES,
        .category_inverted = query->inverted,
        .category_mask = query->all,
        .category_anyof_mask = query->any,
        .return_mask = query->all, /* the same for all that are found: neighbours are joined */
    };
    while (request.start < request.end) {
        int found = ioctl(fd, PF_SCAN_IOCTL, &request);
        if (found < 0)
            return -errno;
        struct pf_pageset_adder adder = pf_pageset_begin_adding(set);
        for (int i = 0; i < found; i++)
            add_range(region, &adder, &ranges[i]);
        pf_pageset_end_adding(&adder);
        if (request.walk_end <= request.start)
            return -EIO;
        request.start = request.walk_end;
    }
    return 0;
}

int pf_pagemap_read(int fd, const struct pf_region *region, struct pf_run run,
                    bool (*wanted)(uint64_t entry, const struct pf_entry_mark *mark),
                    const struct pf_entry_mark *mark, struct pf_pageset *set)
{
    enum { ENTRIES = 2048 };
    uint64_t entries[ENTRIES];
    unsigned shift = region->page_shift - PF_PAGE_SHIFT;
    size_t base_pages = run.pages << shift;
    uint64_t first = (uintptr_t)pf_region_page(region, run.first) / PF_PAGE_SIZE;
    for (size_t done = 0; done < base_pages;) {
        size_t asked = base_pages - done < ENTRIES ? base_pages - done : ENTRIES;
        ssize_t got = pread(fd, entries, asked * sizeof entries[0],
                            (off_t)((first + done) * sizeof entries[0]));
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        size_t count = (size_t)got / sizeof entries[0];
        struct pf_pageset_adder adder = pf_pageset_begin_adding(set);
        for (size_t i = 0; i < count; i++)
            if (wanted(entries[i], mark))
                pf_pageset_put(&adder, (struct pf_run){run.first + ((done + i) >> shift), 1});
        pf_pageset_end_adding(&adder);
        done += count;
    }
    return 0;
}
