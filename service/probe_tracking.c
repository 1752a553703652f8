/* SPDX-License-Identifier: BSD-2-Clause */
/* How pre-copy can find the pages that a job writes. */
#include "core/track/tracker.h"
#include "service/probe.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    unsigned choice;
    const char *name, *how;
} kinds[] = {
    {PF_TRACK_PAGEMAP_SCAN, "pagemap-scan", "the kernel lifts the protection of a page at a write"},
    {PF_TRACK_SOFT_DIRTY, "soft-dirty",
     "4 KiB pages; the job stands still while they are looked for; not where pages are pinned"},
    {PF_TRACK_WRITE_PROTECT, "write-protect", "a thread lifts the protection of a page at a write"},
};

/* Which one would be taken, for a page of memory. */
static void probe_choice(struct pf_probe *probe)
{
    struct pf_regions *regions = calloc(1, sizeof *regions);
    struct pf_region *region;
    struct pf_tracker *tracker;
    struct pf_why why = {"no memory"};
    struct pf_tracker_attr attr = {.regions = regions, .choice = PF_TRACK_AUTO};
    if (regions && !pf_regions_map(regions, "probe", PF_PAGE_SIZE, 0, 0, &region, &why) &&
        !pf_tracker_open(&tracker, &attr, &why)) {
        pf_probe_yes(probe, "tracker", "auto: %s", pf_tracker_name(tracker));
        pf_tracker_close(tracker);
    } else {
        pf_probe_remedy(pf_probe_no(probe, "tracker", "%.150s", why.text),
                        "post-copy works without: --mode postcopy");
    }
    if (regions)
        pf_regions_unmap(regions);
    free(regions);
}

void pf_probe_tracking(struct pf_probe *probe)
{
    probe_choice(probe);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char name[48];
        struct pf_why why = {""};
        snprintf(name, sizeof name, "tracker:%s", kinds[i].name);
        if (pf_tracker_probe(kinds[i].choice, &why))
            pf_probe_no(probe, name, "%.150s", why.text);
        else
            pf_probe_yes(probe, name, "%s", kinds[i].how);
    }
}
