/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a migration's rounds go: the user's limits as they are now, the estimates, what comes next,
 * the throttle, and the counters that tell of it. Control thread only.
 */
#ifndef PF_CORE_SOURCE_PACING_H
#define PF_CORE_SOURCE_PACING_H

#include "core/source/pace.h"
#include "core/throttle/throttle.h"

struct ferry_job;

/* Starts as zero. */
struct pf_pacing {
    struct ferry_job *job; /* NULL: not begun, or ended */
    struct pf_pace pace;
    struct pf_throttle throttle;
    const char *reason; /* of the latest verdict, in a few words */
};

/* Rounds begin: the job's safe points are counted from now on. */
void pf_pacing_begin(struct pf_pacing *pacing, struct ferry_job *job);

/* Is there to be a round at all? */
enum pf_pace_next pf_pacing_first(const struct pf_pacing *pacing);

/*
 * A round and the collect behind it have ended. Of pause_ns the caller says how much matters at
 * most; here it is cut to what the job's safe points tell. Says what comes next,
 * slows the job down if that is called for, and sets the counters.
 */
enum pf_pace_next pf_pacing_round(struct pf_pacing *pacing, struct pf_pace_round *round);

/*
 * In mid-round, with so many page bytes left: heed changed limits of the throttle, and tell how
 * long it will take.
 */
void pf_pacing_heed(struct pf_pacing *pacing, uint64_t left_bytes);

/*
 * In the middle of the first round, of which so much is known by now (duration_ns, sent_bytes,
 * page_bytes): tell what can be said before anything was measured.
 */
void pf_pacing_guess(struct pf_pacing *pacing, uint64_t left_bytes,
                     const struct pf_pace_round *round);

/* FINISH was the word, and the job stands with so much left: is it still? */
enum pf_pace_next pf_pacing_paused(const struct pf_pacing *pacing, struct ferry_job *job,
                                   uint64_t left_bytes);

/* No more rounds, however they ended: the job runs at full speed. Harmless if none began. */
void pf_pacing_end(struct pf_pacing *pacing);

#endif
