/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measurements of a transport and of the engine over it, between two processes of one host. Each
 * forks its peer before it opens any device; so call them while the process has one thread.
 *
 * The calling process is the requester, the writer and the destination of jobs; the peer answers,
 * is written to, and is the source.
 */
#ifndef PF_BENCH_BENCH_H
#define PF_BENCH_BENCH_H

#include "base/why.h"
#include "bench/report.h"
#include "core/options.h"
#include "transport/uri_list.h"

#include <stdbool.h>
#include <stddef.h>

enum { PF_BENCH_URI_MAX = PF_URI_LIST_MAX };

struct pf_bench {
    char uri[PF_BENCH_URI_MAX]; /* where the calling process listens; see pf_bench_address() */
    struct pf_options engine;   /* `wait` holds for the bare measurements too */
    size_t bytes;               /* of the job's region; 0: the measurement's default */
    size_t page_size;           /* of the region: FERRY_PAGE_DEFAULT or FERRY_PAGE_2M */
    unsigned flags;             /* of the region: FERRY_ANON or FERRY_SHARED */
    bool thp;                   /* 4 KiB pages may be transparent huge pages */
    bool one_mode;              /* downtime: of engine.mode only */
    unsigned threads;           /* of the job, that fault at once; fault only. 0: one */
    size_t link_bytes;          /* of the bare connection's regions; 0: PF_LINK_REGION_BYTES */
    bool prefetch;              /* jobs that arrive here grant trays for neighbours */
    double seconds;             /* about how long to measure; setting up comes on top */
};

/*
 * The URI to measure on, from what the user wrote: a URI is taken as it is, a bare scheme gets an
 * address of this host. -EINVAL, -EPROTONOSUPPORT, -ENODEV (no verbs device with an address).
 */
int pf_bench_address(const char *text, char out[PF_BENCH_URI_MAX], struct pf_why *why);

/* The placement of a page by itself: no transport. */
int pf_bench_place(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
/* Looking for zero pages, in `bytes` of memory: no transport either. */
int pf_bench_scan(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
/* Differences of pages: likewise. */
int pf_bench_xbzrle(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
/* Finding the pages that were written: likewise. */
int pf_bench_dirty(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
/* Compression of pages. */
int pf_bench_compress(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);

/* Each returns 0, or -errno and the sentence; nothing waits without end. */
int pf_bench_raw(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
int pf_bench_fault(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
/* fault with several threads at once. */
int pf_bench_fault_crowd(const struct pf_bench *bench, struct pf_report *report,
                         struct pf_why *why);
int pf_bench_prefetch(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
int pf_bench_fetch(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
int pf_bench_precopy(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
int pf_bench_downtime(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
int pf_bench_bulk(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);

#endif
