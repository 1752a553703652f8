/* SPDX-License-Identifier: BSD-2-Clause */
/* What each round of pre-copy did: for status, the run record and its plot. */
#ifndef PF_CORE_JOB_ROUND_LOG_H
#define PF_CORE_JOB_ROUND_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct pf_round_record {
    unsigned number;               /* from 1 */
    bool paused;                   /* the last one of pre-copy: the job stood still */
    uint64_t began_us;             /* since the migration was asked for */
    uint64_t duration_us;          /* of sending, without collecting */
    uint64_t collect_us;           /* finding the dirty pages that it sent */
    uint64_t dirty_bytes;          /* found dirty at its beginning: what there was to send */
    uint64_t sent_bytes;           /* page data on the wire */
    uint64_t zero_pages;           /* that were all zero */
    uint64_t remaining_bytes;      /* found dirty at its end */
    uint64_t bandwidth;            /* estimates at its end, in bytes/s: of the link, */
    uint64_t dirty_rate;           /* and of the job */
    uint64_t expected_downtime_us; /* if the job were paused now; UINT64_MAX: not known */
    unsigned throttle;             /* percent */
    const char *reason;            /* of what came next, a few words; static memory, or NULL */
};

/* The last rounds; older ones are forgotten one by one. */
enum { PF_ROUND_LOG_MAX = 256 };

struct pf_round_log {
    struct pf_round_record list[PF_ROUND_LOG_MAX]; /* round n is at (n - 1) % PF_ROUND_LOG_MAX */
    unsigned rounds;                               /* that there have been */
};

static inline void pf_round_log_add(struct pf_round_log *log, const struct pf_round_record *round)
{
    log->list[log->rounds++ % PF_ROUND_LOG_MAX] = *round;
}

#endif
