/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /proc/self/pagemap: what the page tables say of a region's pages, by the PAGEMAP_SCAN ioctl
 * (Linux 6.7) or by reading entries. From the kernel's uapi,
 * Documentation/admin-guide/mm/pagemap.rst; the headers of Debian 12 are older than the call.
 */
#ifndef PF_CORE_MEMORY_PAGEMAP_H
#define PF_CORE_MEMORY_PAGEMAP_H

#include "base/why.h"
#include "core/memory/pageset.h"
#include "core/memory/region.h"

/* Categories of PAGEMAP_SCAN. */
enum {
    PF_SCAN_WRITTEN = 1 << 1, /* not write-protected by userfaultfd */
    PF_SCAN_PRESENT = 1 << 3,
    PF_SCAN_SWAPPED = 1 << 4,
    PF_SCAN_PFNZERO = 1 << 5, /* the shared zero page */
    PF_SCAN_HUGE = 1 << 6,    /* part of a huge page */
};

/* Flags: write-protect what was found, in one step; fail where that isn't possible. */
enum { PF_SCAN_PROTECT = 1 << 0, PF_SCAN_CHECK = 1 << 1 };

/* A page is found if it is in all categories of `all` and in one of `any`, once those of `inverted`
 * are taken for their opposite. */
struct pf_scan_query {
    uint64_t flags, inverted, all, any;
};

/* What the ioctl reads and writes: struct pm_scan_arg and struct page_region of <linux/fs.h>. */
struct pf_scan_range {
    uint64_t start, end, categories;
};

struct pf_scan_request {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PF_SCAN_IOCTL _IOWR('f', 16, struct pf_scan_request)

/* A descriptor of /proc/self/pagemap, or -errno. */
int pf_pagemap_open(struct pf_why *why);

/*
 * Add the pages of a run that a query finds to a set. -ENOTTY where the kernel doesn't have the
 * call; -EPERM with PF_SCAN_CHECK where the memory is not registered for it.
 */
int pf_pagemap_scan(int fd, const struct pf_region *region, struct pf_run run,
                    const struct pf_scan_query *query, struct pf_pageset *set);

/* Bits of an entry. */
#define PF_ENTRY_PRESENT    (1ull << 63)
#define PF_ENTRY_SWAPPED    (1ull << 62)
#define PF_ENTRY_PROTECTED  (1ull << 57) /* by userfaultfd; also on a page that is not there */
#define PF_ENTRY_SOFT_DIRTY (1ull << 55)

/* What of an entry says that its page was not written: a bit, which is set then, or else. */
struct pf_entry_mark {
    uint64_t bit;
    bool set;
};

/* Add the pages of a run to a set that have an entry which is wanted. -errno. */
int pf_pagemap_read(int fd, const struct pf_region *region, struct pf_run run,
                    bool (*wanted)(uint64_t entry, const struct pf_entry_mark *mark),
                    const struct pf_entry_mark *mark, struct pf_pageset *set);

#endif
