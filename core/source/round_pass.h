/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The steps that rounds of pre-copy are made of: collecting what was written, and a pass of the
 * movers over what is unsent. All of it is the control thread's; -errno and a sentence in the
 * session.
 */
#ifndef PF_CORE_SOURCE_ROUND_PASS_H
#define PF_CORE_SOURCE_ROUND_PASS_H

struct pf_source;

/* See to the conversation, for most_ms at most: windows that were asked for, pings, failures. */
int pf_pass_attend(struct pf_source *source, unsigned most_ms);

/* What was written since the last collect is unsent now. */
int pf_pass_collect(struct pf_source *source);

/* The same while the job runs: where the tracker needs that, it stands still meanwhile. */
int pf_pass_collect_running(struct pf_source *source);

/* The last time: the job stands, and nothing is watched any more. */
int pf_pass_collect_last(struct pf_source *source);

/*
 * Something of the rounds has failed. If memory of the job is not where it was, that is why: the
 * failure with that sentence, else the same one.
 */
int pf_pass_explain(struct pf_source *source, int error);

/* The first pass collects itself: pages leave while others are still being found. */
int pf_pass_first(struct pf_source *source);

/* Send what is unsent, until it is at the destination. */
int pf_pass_send(struct pf_source *source);

#endif
