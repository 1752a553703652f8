/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a range have content: present or swapped out, and not the shared zero page. Pages
 * that were never touched read as zeros and need not travel.
 */
#ifndef PF_CORE_POPULATED_H
#define PF_CORE_POPULATED_H

#include "base/why.h"
#include "core/pageset.h"
#include "core/region.h"

/*
 * Add the populated pages of a region to a set, by the PAGEMAP_SCAN ioctl (Linux 6.7), else by
 * reading /proc/self/pagemap. The region's memory must not change meanwhile. -errno.
 */
int pf_populated_scan(const struct pf_region *region, struct pf_pageset *set, struct pf_why *why);

/* How many bytes of a region have content, about: its memory may change meanwhile. -errno. */
int pf_populated_bytes(const struct pf_region *region, uint64_t *bytes, struct pf_why *why);

#endif
