/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/populated.h"

#include "core/memory/pagemap.h"
#include "core/memory/zero.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The shared zero page can't be told by an entry: it travels as a zero page. */
static bool entry_populated(uint64_t entry, const struct pf_entry_mark *mark)
{
    (void)mark;
    return entry & (PF_ENTRY_PRESENT | PF_ENTRY_SWAPPED);
}

/* What this process has mapped of the region. */
static int scan_mapping(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why)
{
    static const struct pf_scan_query populated = {
        .inverted = PF_SCAN_PFNZERO,
        .all = PF_SCAN_PFNZERO,
        .any = PF_SCAN_PRESENT | PF_SCAN_SWAPPED,
    };
    struct pf_run all = {0, pf_region_pages(region)};
    int fd = pf_pagemap_open(why);
    if (fd < 0)
        return fd;
    int error = pf_pagemap_scan(fd, region, all, &populated, set);
    if (error == -ENOTTY || error == -EINVAL)
        error = pf_pagemap_read(fd, region, all, entry_populated, NULL, set);
    close(fd);
    return error ? pf_why(why, error, "cannot scan region \"%s\" for populated pages: %s",
                          region->name, strerror(-error))
                 : 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

int pf_populated_open_file(const struct pf_region *region)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int pf_populated_next_data(int fd, const struct pf_region *region, struct pf_run range,
                           struct pf_run *found)
{
    off_t start = (off_t)region->offset;
    size_t end = range.first + range.pages;
    *found = (struct pf_run){end, 0};
    off_t data = lseek(fd, start + (off_t)(range.first << region->page_shift), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? 0 : -errno; /* no more */
    off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0)
        return -errno;
    size_t first = (size_t)(data - start) >> region->page_shift;
    size_t after = (size_t)(hole - start + PF_PAGE_SIZE - 1) >> region->page_shift;
    if (first < end)
        *found = (struct pf_run){first, (after < end ? after : end) - first};
    return 0;
}

/*
 * A page of a file may be there without being mapped here: written by another process, or swapped
 * out. tmpfs tells data from holes.
 */
static int scan_tmpfs(int fd, const struct pf_region *region, struct pf_pageset *set)
{
    size_t pages = pf_region_pages(region);
    struct pf_run found = {0, 0};
    int error = 0;
    while (!error && found.first < pages) {
        pf_pageset_add_run(set, found);
        size_t from = found.first + found.pages;
        error = pf_populated_next_data(fd, region, (struct pf_run){from, pages - from}, &found);
    }
    return error;
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
    int fd = pf_populated_open_file(region);
    int error = fd < 0                   ? fd
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

/*
 * A few base pages of a stretch, read in a way that fails where the job has just unmapped them. It
 * writes to them, too: this is a guess by nature.
 */
static bool has_zeros(const struct pf_region *region, struct pf_run pages)
{
    enum { SAMPLES = 4 };
    char copy[PF_PAGE_SIZE];
    const char *start = pf_region_page(region, pages.first);
    size_t bytes = pages.pages << region->page_shift;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t at = bytes / SAMPLES * i & ~(size_t)(PF_PAGE_SIZE - 1);
        struct iovec here = {copy, sizeof copy};
        struct iovec there = {(void *)(start + at), sizeof copy};
        if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof copy ||
            pf_all_zero(copy, sizeof copy))
            return true;
    }
    return false;
}

static void find_full(const struct pf_region *region, struct pf_pageset *set,
                      struct pf_pageset *full)
{
    for (size_t i = 0; i < pf_region_stretches(region); i++) {
        struct pf_run pages = pf_region_stretch(region, i);
        struct pf_run used = pf_pageset_next_within(set, pages, pages.pages);
        if (used.pages == pages.pages && !has_zeros(region, pages))
            pf_pageset_add(full, i);
    }
}

int pf_populated_survey(const struct pf_region *region, uint64_t *bytes, struct pf_pageset *full,
                        struct pf_why *why)
{
    struct pf_pageset set;
    if (pf_pageset_init(&set, pf_region_pages(region)))
        return pf_why(why, -ENOMEM, "region \"%s\": no memory for its page set", region->name);
    int error = pf_populated_scan(region, &set, why);
    *bytes = (uint64_t)pf_pageset_count(&set) << region->page_shift;
    if (!error)
        find_full(region, &set, full);
    pf_pageset_free(&set);
    return error;
}
