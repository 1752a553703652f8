/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the source makes pages shorter during pre-copy: what all its movers share. The order of
 * choices for a page is: all zero, a mark; else, with XBZRLE and after the first round, the
 * difference from what was sent before, or whole; else compressed; else whole.
 */
#ifndef PF_CORE_ENCODE_ENCODER_H
#define PF_CORE_ENCODE_ENCODER_H

#include "core/counters.h"
#include "core/encode/squeeze_pool.h"
#include "core/encode/xbzrle_cache.h"
#include "core/knobs.h"

enum pf_shorter {
    PF_SHORTER_NOT, /* pages go as they are, into windows where there are some */
    PF_SHORTER_XBZRLE,
    PF_SHORTER_COMPRESSED,
};

/* By the user's word. */
struct pf_encoder_wish {
    bool automatic; /* the rest is to be found out: --fewer-bytes auto */
    bool xbzrle;
    unsigned compress; /* enum pf_compress */
};

struct pf_encoder {
    struct pf_squeeze_pool pool;
    struct pf_xbzrle_cache cache;    /* open where xbzrle is on */
    struct pf_xbzrle_counts counted; /* of caches that were given up */
    struct pf_encoder_wish wish;     /* the latest that was heeded */
    const struct pf_knobs *knobs;
    struct pf_counters *counters;
    atomic_bool undecided; /* the link is being measured: little is to be under way */
    atomic_uint compress;  /* enum pf_compress */
    atomic_bool xbzrle;
    atomic_uint round;
    bool open;
};

/*
 * With what the user asks for now, or, if it is to be measured first, with nothing. -EINVAL (this
 * build can't compress so, or the cache), -ENOMEM.
 */
int pf_encoder_open(struct pf_encoder *encoder, const struct pf_knobs *knobs,
                    struct pf_counters *counters, struct pf_why *why);
/* Harmless for one that is all zero. No mover uses it any more. */
void pf_encoder_close(struct pf_encoder *encoder);

/* From here on it is this, also in mid-round. The control thread. -EINVAL, -ENOMEM: the cache. */
int pf_encoder_set(struct pf_encoder *encoder, unsigned compress, bool xbzrle, struct pf_why *why);

/*
 * A round begins, counted from 1, and no mover is at work: from here on it is what the user asks
 * for now, and the cache is a round older. What can't be had is said and left out. True if the user
 * wants something else than before.
 */
bool pf_encoder_round(struct pf_encoder *encoder, unsigned number);

/* What it does to pages now. Any thread. */
enum pf_shorter pf_encoder_shorter(struct pf_encoder *encoder);

/* Tell the counters what the cache has counted. Any thread. */
void pf_encoder_count(struct pf_encoder *encoder);

#endif
