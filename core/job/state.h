/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The small things that are copied at the switch, in the order they were declared: pieces of the
 * program's memory, and the edges of protected memory that are no whole pages.
 */
#ifndef PF_CORE_JOB_STATE_H
#define PF_CORE_JOB_STATE_H

#include "base/why.h"

#include <stddef.h>
#include <stdint.h>

enum { PF_STATE_PIECES_MAX = 1024, PF_STATE_BYTES_MAX = 64 << 20 };

struct pf_piece {
    void *addr;
    size_t bytes; /* may be 0: an edge that is none */
};

struct pf_state {
    struct pf_piece pieces[PF_STATE_PIECES_MAX];
    unsigned count;
    size_t bytes; /* of all pieces */
};

/* -EINVAL, -ENOSPC */
int pf_state_add(struct pf_state *state, void *addr, size_t bytes, struct pf_why *why);

/* Copy all pieces into a blob of state->bytes, and back. */
void pf_state_save(const struct pf_state *state, uint8_t *blob);
void pf_state_restore(const struct pf_state *state, const uint8_t *blob);

#endif
