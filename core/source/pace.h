/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What comes after a round of pre-copy: another one, the switch to post-copy, or the pause in which
 * the rest is sent. And by how much the job is slowed down meanwhile. Numbers only: no threads, no
 * clock; whatever the numbers are (0, the largest there is), nothing here divides by zero or
 * overflows.
 *
 * Rates are bytes per second. "Page bytes" are bytes of the job's memory, "wire bytes" what they
 * took to be sent: fewer where pages travel encoded.
 */
#ifndef PF_CORE_SOURCE_PACE_H
#define PF_CORE_SOURCE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PF_PACE_HYBRID_ROUNDS = 2 };

/* Not known; of a time: never. */
#define PF_PACE_UNKNOWN UINT64_MAX

enum pf_pace_next {
    PF_PACE_ROUND,    /* another round */
    PF_PACE_POSTCOPY, /* pause and switch: what is left follows on demand and in the background */
    PF_PACE_FINISH,   /* pause, send what is left, then switch */
};

/* What was asked for; may differ from one call to the next. */
struct pf_pace_limits {
    unsigned mode; /* enum pf_mode */
    uint64_t downtime_us;
    unsigned max_rounds; /* 0: no limit */
    uint64_t bandwidth;  /* wire bytes per second that rounds keep to; 0: no limit */
    bool throttle;       /* may the job be slowed down? */
    unsigned throttle_initial, throttle_step, throttle_max; /* percent of its time */
};

/* A round that has ended, and the collect behind it. */
struct pf_pace_round {
    unsigned number; /* from 1 on */
    uint64_t duration_ns;
    uint64_t held_ns; /* of it: nothing was under way, for the rate limit forbade more */
    uint64_t sent_bytes;
    uint64_t page_bytes; /* what sent_bytes carried; 0: as many */
    uint64_t left_bytes; /* what the collect found dirty: page bytes */
    uint64_t dirtied_ns; /* from the collect before to this one */
    uint64_t pause_ns;   /* expected: from asking the job to pause until it stands, dirtying on */
    uint64_t fixed_ns;   /* expected of a switch besides sending pages: last collect, state, ... */
};

/* Starts as zero. The first group is for people to look at, and for the engine's estimates. */
struct pf_pace {
    uint64_t bandwidth;   /* wire bytes per second while nothing held them; 0: not known yet */
    uint64_t page_rate;   /* the same in page bytes */
    uint64_t dirty_rate;  /* page bytes per second */
    uint64_t downtime_us; /* expected of finishing now; PF_PACE_UNKNOWN */
    uint64_t eta_ms;      /* until the job has moved if things go on like this; PF_PACE_UNKNOWN */
    unsigned throttle;    /* percent of the job's time that it is to be kept from running */
    uint64_t known_ns;    /* what the estimates are made of: time of sending, */
    uint64_t known_wire;  /* and the bytes of that time */
    uint64_t known_pages;
    uint64_t most_dirty; /* page bytes, between any two collects */
    uint64_t fixed_ns;   /* of a switch, as told with the latest round */
    unsigned hot_rounds; /* that the job dirtied more in than half of what was sent; in a row */
};

struct pf_pace_verdict {
    enum pf_pace_next next;
    const char *reason; /* a few plain words, for logs and the run record; static memory */
};

/* Before the first round: is there to be one? */
struct pf_pace_verdict pf_pace_begin(const struct pf_pace_limits *limits);

/* A round has ended: take it into account and say what comes next; sets pace->throttle as well. */
struct pf_pace_verdict pf_pace_round(struct pf_pace *pace, const struct pf_pace_limits *limits,
                                     const struct pf_pace_round *round);

/*
 * FINISH was the word, the job stands, and so much is really left: should it be FINISH still? The
 * job may have dirtied more than expected before it paused. Precopy mode always finishes.
 */
struct pf_pace_verdict pf_pace_paused(const struct pf_pace *pace,
                                      const struct pf_pace_limits *limits, uint64_t left_bytes);

/*
 * Milliseconds until `left` page bytes have gone, at `rate`, while `dirty_rate` come anew: all of
 * these, or in modes that soon let the job go, those of the time until then. PF_PACE_UNKNOWN if
 * that has no end.
 */
uint64_t pf_pace_eta_ms(unsigned mode, uint64_t left, uint64_t rate, uint64_t dirty_rate);

/* The page bytes per second of a round that keeps to a bandwidth limit (0: none). */
uint64_t pf_pace_limited_rate(const struct pf_pace *pace, uint64_t bandwidth);

#endif
