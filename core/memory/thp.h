/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transparent huge pages under a region, which are switched off where single base pages matter:
 * while pages arrive one by one (giving back a part of one, or a page that is to come, would not
 * free it) and while writes are tracked (one write would make all of it dirty). Pre-copy into a
 * region that is nearly full gets them, up to the switch.
 */
#ifndef PF_CORE_MEMORY_THP_H
#define PF_CORE_MEMORY_THP_H

#include "core/memory/region.h"

/*
 * Which regions may have transparent huge pages: may[i] is set for those, by an advice or because
 * they are always on, and never[i] for those where they are advised against; the others are left as
 * they are. Reads /proc/self/smaps.
 */
void pf_thp_note(const struct pf_regions *regions, bool may[], bool never[]);

/*
 * Is there any under a region? Costs a tenth of pf_thp_note(), which has the kernel look at what
 * is behind each page. True where the kernel can't tell.
 */
bool pf_thp_present(const struct pf_regions *regions);

/* No new ones from here on; those that are there stay. */
void pf_thp_off(const struct pf_region *region);

/*
 * The kernel has no call to take an advice back: a region that might have them is advised to have
 * them, by whatever rule it might before.
 */
void pf_thp_on(const struct pf_region *region);

#endif
