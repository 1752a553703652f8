/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/state.h"

#include <errno.h>
#include <string.h>

int pf_state_add(struct pf_state *state, void *addr, size_t bytes, struct pf_why *why)
{
    if (bytes > PF_STATE_BYTES_MAX - state->bytes)
        return pf_why(why, -EINVAL,
                      "the job's state is over %d MiB: put large arrays in a region instead",
                      PF_STATE_BYTES_MAX >> 20);
    if (state->count == PF_STATE_PIECES_MAX)
        return pf_why(why, -ENOSPC, "a job has at most %d pieces of state", PF_STATE_PIECES_MAX);
    state->pieces[state->count++] = (struct pf_piece){addr, bytes};
    state->bytes += bytes;
    return 0;
}

void pf_state_save(const struct pf_state *state, uint8_t *blob)
{
    for (unsigned i = 0; i < state->count; i++) {
        const struct pf_piece *piece = &state->pieces[i];
        if (piece->bytes)
            memcpy(blob, piece->addr, piece->bytes);
        blob += piece->bytes;
    }
}

void pf_state_restore(const struct pf_state *state, const uint8_t *blob)
{
    for (unsigned i = 0; i < state->count; i++) {
        const struct pf_piece *piece = &state->pieces[i];
        if (piece->bytes)
            memcpy(piece->addr, blob, piece->bytes);
        blob += piece->bytes;
    }
}
