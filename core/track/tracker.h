/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty tracking: which pages of the job were written since they were looked at last.
 *
 * Three back ends behind one contract (core/track/tracker_ops.h): PAGEMAP_SCAN with asynchronous
 * write-protection by userfaultfd (Linux 6.7), soft-dirty bits (CONFIG_MEM_SOFT_DIRTY; the job has
 * to stand still), and write-protection by userfaultfd with a thread that lifts it. Whatever the
 * page tables can't tell has to be told by ferry_job_dirty(): writes of devices into pinned pages,
 * through another mapping of the same file, by write(2) to it.
 *
 * Regions with FERRY_SEND_LATE are not tracked: a collect of them adds nothing.
 */
#ifndef PF_CORE_TRACK_TRACKER_H
#define PF_CORE_TRACK_TRACKER_H

#include "core/memory/pageset.h"
#include "core/memory/region.h"
#include "core/options.h"

struct pf_tracker;

struct pf_tracker_attr {
    const struct pf_regions *regions; /* constant, and stay until the tracker is closed */
    unsigned choice;                  /* enum pf_tracking */
    /* One for each region: what ferry_job_dirty() named. Collect takes what it finds. May be NULL.
     */
    struct pf_pageset *marked;
    /*
     * One for each region: pages that the caller has read as anything but zeros. He adds a page
     * before he reads it. What the job has given back and is in there is dirty. NULL: the tracker
     * remembers by itself what had content when it looked; that is not enough if memory may be
     * given back a second time while the caller reads. May be NULL for a region, too.
     */
    struct pf_pageset *const *sent;
    /*
     * A range has other pages from now on, since the job gave it back: told before the range counts
     * as dirty. Called by the tracker's thread with its lock held, while a thread of the job waits:
     * it must not touch the job's memory, allocate, or wait for anybody who may. May be NULL.
     */
    void (*replaced)(void *ctx, unsigned region, struct pf_run run);
    /*
     * A range of a shared region may have other pages by now: ferry_job_dirty() named it, or a hole
     * was punched into the file. Told before it counts as dirty, by the thread that collects, with
     * the same limits. May be NULL.
     */
    void (*renewed)(void *ctx, unsigned region, struct pf_run run);
    /*
     * A range is not there any more (unmapped, moved): it can be read by a guarded read
     * only (core/memory/guarded.h). Told like replaced(), as soon as it is known; from then on
     * collecting fails. May be NULL.
     */
    void (*lost)(void *ctx, unsigned region, struct pf_run run);
    void *ctx;
};

/*
 * Begin to track. Nothing is protected yet: that is done by collecting. -errno and a sentence: the
 * kernel has no such tracker, or a region can't be tracked by it.
 */
int pf_tracker_open(struct pf_tracker **tracker, const struct pf_tracker_attr *attr,
                    struct pf_why *why);

/* As the option names it: "pagemap-scan", "soft-dirty", "write-protect". */
const char *pf_tracker_name(const struct pf_tracker *tracker);

/* The job has to stand still while collect runs. */
bool pf_tracker_needs_pause(const struct pf_tracker *tracker);

/*
 * Add to *dirty the pages of a range that were written since they were collected last, and watch
 * them again from now on, in this order as seen by a later read of the page's content. The first
 * time: all that are populated. The job may run, unless needs_pause. The control thread only. After
 * a failure (-errno) nothing is known of the range.
 */
int pf_tracker_collect(struct pf_tracker *tracker, unsigned region, struct pf_run range,
                       struct pf_pageset *dirty, struct pf_why *why);

/*
 * The last collect is going to come: threads that will share it wait from now on, where there are
 * cores and memory for them. Takes time itself, so it belongs before the pause. Need not be called.
 */
void pf_tracker_ready(struct pf_tracker *tracker);

/*
 * The last collect, of all regions: add to *dirty[region] what was written since it was collected.
 * The job stands still and will not go on while it is tracked; nothing is watched any more. A
 * region whose set is NULL is left out. By several threads, but to be called by the control thread
 * only.
 */
int pf_tracker_collect_last(struct pf_tracker *tracker, struct pf_pageset *const *dirty,
                            struct pf_why *why);

/*
 * 0, or why collecting would fail: a part of a region was unmapped or moved. To be asked before
 * memory is read that was collected a while ago.
 */
int pf_tracker_failure(struct pf_tracker *tracker, struct pf_why *why);

/*
 * Leave no trace on the memory: nothing protected, nothing registered, transparent huge pages as
 * before. Takes about 5 ms for each GiB in use, so it's better done after the switch. NULL is
 * nothing.
 */
void pf_tracker_close(struct pf_tracker *tracker);

/* Does one kind (not PF_TRACK_AUTO) work on this kernel, for this user? Tries it on a page. 0 or
 * -errno. */
int pf_tracker_probe(unsigned choice, struct pf_why *why);

#endif
