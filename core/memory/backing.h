/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What regions are made of: private anonymous memory or a memfd, of 4 KiB pages or of the huge page
 * pool (hugetlb; the kernel's Documentation/admin-guide/mm/hugetlbpage.rst).
 */
#ifndef PF_CORE_MEMORY_BACKING_H
#define PF_CORE_MEMORY_BACKING_H

#include "core/memory/region.h"

/*
 * Map zeroed memory for a region whose name, bytes, page size and flags are set; fills in addr and
 * fd. Huge pages are reserved, so that a pool that is too small shows here and not at a fault.
 * wanted: NULL, or a free address to map it at. -errno.
 */
int pf_backing_map(struct pf_region *region, char *wanted, struct pf_why *why);

/* Find out the page size of private memory. -EINVAL if it is shared, or of mixed page sizes. */
int pf_backing_of_memory(struct pf_region *region, struct pf_why *why);

/*
 * The same for a shared mapping of a file, region->fd at region->offset. -EINVAL if something else
 * is mapped there, or the file is no memfd.
 */
int pf_backing_of_file(struct pf_region *region, struct pf_why *why);

/* Map the file of a shared region a second time. NULL with errno. */
char *pf_backing_map_again(const struct pf_region *region);

/*
 * Drop all pages of a shared region's file, and reserve huge pages for it anew: dropping one gives
 * its reservation up. No registration may pin the file: what is pinned would be cut off from it.
 */
int pf_backing_empty_file(const struct pf_region *region, struct pf_why *why);

/* After holes were punched into a file of huge pages: reserve them again. -ENOMEM. */
int pf_backing_reserve(const struct pf_region *region, struct pf_why *why);

/* "4 KiB", "2 MiB", "1 GiB". */
const char *pf_page_size_name(unsigned page_shift);

#endif
