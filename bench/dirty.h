/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's own call for finding written pages, and nothing around it: what trackers are
 * compared with. */
#ifndef PF_BENCH_DIRTY_H
#define PF_BENCH_DIRTY_H

#include "core/memory/pagemap.h"
#include "core/memory/uffd.h"

struct pf_bare_scan {
    struct pf_uffd uffd;
    int pagemap_fd;
    struct pf_scan_range *ranges; /* as many as there can be */
    size_t room;
};

/* Watch a region. Errors: this kernel has no such call. pf_bare_scan_close() in any case. */
int pf_bare_scan_open(struct pf_bare_scan *bare, const struct pf_region *region,
                      struct pf_why *why);
void pf_bare_scan_close(struct pf_bare_scan *bare, const struct pf_region *region);

/* Find what was written and watch it again, in one call. How many ranges, or -errno. */
int pf_bare_scan(struct pf_bare_scan *bare, const struct pf_region *region);

#endif
