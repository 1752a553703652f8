/* SPDX-License-Identifier: BSD-2-Clause */
/* Posting on a bare connection: between link.c, which keeps it, and measure.c, which times it. */
#ifndef PF_BENCH_LINK_POST_H
#define PF_BENCH_LINK_POST_H

#include "bench/link.h"

/* One look, and a rest if there was nothing. 0, or the link's failure. */
int pf_link_step(struct pf_link *link);

/* A free post, waiting for one if need be. NULL: the link has failed. */
struct pf_link_post *pf_link_take(struct pf_link *link);

/*
 * Hand in what posting answered. 0: posted, or the queue was full (then the post is free again, one
 * step was made, and the caller tries once more); else the link's failure.
 */
int pf_link_posted(struct pf_link *link, struct pf_link_post *post, int error);

/* Send one request. */
int pf_link_ask(struct pf_link *link);

/* Flush and wait for it. */
int pf_link_flush(struct pf_link *link);

#endif
