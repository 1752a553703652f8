/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pull mode at the source: what is unsent is registered so that the destination may read it (and
 * nothing more), and the keys are told. After the pause and before LISTEN, so this is part of the
 * downtime; where registering pins, that is about 0.1 s per GiB.
 *
 * Where registering costs nothing, one registration covers a region. Where it pins, the populated
 * runs are registered, joined over small gaps: a gap's pages come into being by that (zeros, a few
 * of them), and there are not thousands of keys.
 */
#ifndef PF_CORE_SEND_SOURCE_KEYS_H
#define PF_CORE_SEND_SOURCE_KEYS_H

#include "core/send/source_memory.h"
#include "core/session/session.h"

struct pf_keyed {
    unsigned region;
    size_t first, pages;
    struct pf_mr *mrs[PF_RAILS_MAX]; /* with each rail's device; NULL: not yet */
};

/* All zero: nothing is registered. */
struct pf_source_keys {
    struct pf_keyed *list;
    unsigned count;
};

/* What to register, and nothing registered yet. -ENOMEM with a sentence, as below. */
int pf_source_keys_plan(struct pf_source_keys *keys, const struct pf_source_memory *memory,
                        struct pf_why *why);

/* Register one extent with every rail's device. */
int pf_source_keys_register(struct pf_keyed *keyed, const struct pf_source_memory *memory,
                            struct pf_why *why);

/*
 * Plan, register and tell (KEYS, as many as it takes). The urgent and bulk connections are up.
 * -ENOMEM with a sentence: the memlock limit is too low, or the device refuses.
 */
int pf_source_keys_give(struct pf_source_keys *keys, struct pf_session *session,
                        struct pf_source_memory *memory);

/* After the endpoints that could read from it are closed. */
void pf_source_keys_close(struct pf_source_keys *keys);

#endif
