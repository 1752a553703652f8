/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stages of pre-copy at the destination: no job runs and no fault is served, so their pages are
 * copied to where they belong.
 */
#ifndef PF_CORE_ARRIVAL_APPLY_H
#define PF_CORE_ARRIVAL_APPLY_H

#include "core/arrival/arrival.h"
#include "core/arrival/unpack.h"

/* Are stages applied (before the switch), or placed? Any thread. */
static inline bool pf_applies(const struct pf_arrival *arrival)
{
    return atomic_load(&arrival->state) < PF_INCOMING_LISTENING;
}

/*
 * Apply one run of a stage of `stage_size` bytes, of which `left` are not used up and begin at
 * data. The bytes that it took, or -errno: -EPROTO, or what pf_unpack() says. Encoded pages are
 * there after pf_unpacker_wait() only.
 */
int64_t pf_apply_run(struct pf_arrival *arrival, struct pf_unpacker *unpacker,
                     const struct pf_stage_run *run, size_t stage_size, const char *data,
                     size_t left);

#endif
