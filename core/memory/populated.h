/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a range have content: present or swapped out, and not the shared zero page. Pages
 * that were never touched read as zeros and need not travel.
 */
#ifndef PF_CORE_MEMORY_POPULATED_H
#define PF_CORE_MEMORY_POPULATED_H

#include "base/why.h"
#include "core/memory/pageset.h"
#include "core/memory/region.h"

/*
 * Add the populated pages of a region to a set, by the PAGEMAP_SCAN ioctl (Linux 6.7), else by
 * reading /proc/self/pagemap. The region's memory must not change meanwhile. -errno.
 */
int pf_populated_scan(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why);

/*
 * How many bytes of a region have content, about: its memory may change meanwhile. Stretches (see
 * core/memory/region.h) all of whose pages have some are added to `full`, unless what is looked at
 * of them are zeros, which don't travel. -errno.
 */
int pf_populated_survey(const struct pf_region *region, uint64_t *bytes, struct pf_pageset *full,
                        struct pf_why *why);

/* A descriptor of a shared region's file with a position of its own, for the search below; -errno.
 */
int pf_populated_open_file(const struct pf_region *region);

/*
 * The first run inside a range that a file on tmpfs has data for, mapped here or not, as far as it
 * lies inside; its first page is the range's end when there is none. -errno.
 */
int pf_populated_next_data(int fd, const struct pf_region *region, struct pf_run range,
                           struct pf_run *found);

#endif
