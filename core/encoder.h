/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the source makes pages shorter during pre-copy: what all its movers share. The order of
 * choices for a page is: all zero, a mark; else, with XBZRLE and after the first round, the
 * difference from what was sent before, or whole; else compressed; else whole.
 */
#ifndef PF_CORE_ENCODER_H
#define PF_CORE_ENCODER_H

#include "core/counters.h"
#include "core/knobs.h"
#include "core/squeeze_pool.h"
#include "core/xbzrle_cache.h"

enum pf_shorter {
    PF_SHORTER_NOT, /* pages go as they are, into windows where there are some */
    PF_SHORTER_XBZRLE,
    PF_SHORTER_COMPRESSED,
};

struct pf_encoder {
    struct pf_squeeze_pool pool;
    struct pf_xbzrle_cache cache; /* open where xbzrle has been on */
    const struct pf_knobs *knobs;
    struct pf_counters *counters;
    atomic_bool undecided; /* the link is being measured: little is to be under way */
    atomic_uint compress;  /* enum pf_compress */
    atomic_bool xbzrle;
    atomic_uint round;
    bool open;
};

/* Whether these options may ever have it do something. */
bool pf_encoder_wanted(const struct pf_options *options);

/* With what the user asked for, or, if it is to be measured first, with nothing. */
int pf_encoder_open(struct pf_encoder *encoder, const struct pf_options *options,
                    const struct pf_knobs *knobs, struct pf_counters *counters, struct pf_why *why);
/* Harmless for one that is all zero. No mover uses it any more. */
void pf_encoder_close(struct pf_encoder *encoder);

/* From here on it is this, also in mid-round. The control thread. -EINVAL, -ENOMEM: the cache. */
int pf_encoder_set(struct pf_encoder *encoder, unsigned compress, bool xbzrle, struct pf_why *why);

/*
 * A round begins, counted from 1, and no mover is at work: the cache is a round older, and of the
 * size that is asked for now.
 */
void pf_encoder_round(struct pf_encoder *encoder, unsigned number);

/* What it does to pages now. Any thread. */
enum pf_shorter pf_encoder_shorter(struct pf_encoder *encoder);

/* Tell the counters what the cache has counted. Any thread. */
void pf_encoder_count(struct pf_encoder *encoder);

#endif
