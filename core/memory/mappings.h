/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel says of this process's mappings, from /proc/self/smaps: page size, backing,
 * whether they are locked, whether huge pages may be put under them. Reading it walks page tables,
 * about a millisecond for each GiB in use, so it is asked once for many regions where it matters.
 */
#ifndef PF_CORE_MEMORY_MAPPINGS_H
#define PF_CORE_MEMORY_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct pf_mapping {
    uintptr_t start, end;
    bool readable;
    bool shared; /* MAP_SHARED */
    unsigned device_major, device_minor;
    unsigned long inode;  /* 0: no file */
    uint64_t offset;      /* in the file */
    size_t page_size;     /* the kernel's: 4 KiB, or that of its huge pages */
    bool locked;          /* mlock */
    bool hugetlb;         /* made of pages of the huge page pool */
    bool reserved;        /* not MAP_NORESERVE */
    bool thp_on, thp_off; /* MADV_HUGEPAGE, MADV_NOHUGEPAGE */
    bool thp_eligible;    /* the kernel may put a transparent huge page there now */
};

/* Going through all mappings, in order of address. */
struct pf_mappings {
    FILE *smaps;
};

/* -errno. */
int pf_mappings_open(struct pf_mappings *mappings);
/* The next one; false at the end. */
bool pf_mappings_next(struct pf_mappings *mappings, struct pf_mapping *mapping);
void pf_mappings_close(struct pf_mappings *mappings);

static inline bool pf_mapping_overlaps(const struct pf_mapping *mapping, const void *addr,
                                       size_t bytes)
{
    return mapping->start < (uintptr_t)addr + bytes && mapping->end > (uintptr_t)addr;
}

#endif
