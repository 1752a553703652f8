/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a rail's mover sends next. Its own stripes first, from its cursor on; then what others have
 * left, from the far end of their stretches backwards, so that two of them meet once and do not run
 * side by side.
 */
#ifndef PF_CORE_SEND_SUPPLY_H
#define PF_CORE_SEND_SUPPLY_H

#include "core/send/source_memory.h"
#include "core/session/background.h"

struct pf_supply {
    struct pf_source_memory *memory;
    unsigned rail;
    /* Where it takes of others. */
    bool helping;
    unsigned returns; /* of the memory, when it began to */
    unsigned region;
    size_t stripe; /* behind the one it looks at */
};

void pf_supply_init(struct pf_supply *supply, struct pf_source_memory *memory, unsigned rail);

/* Go on with its own stripes: the cursor has been moved to one. */
static inline void pf_supply_follow(struct pf_supply *supply)
{
    supply->helping = false;
}

/*
 * The next unsent run, of `bytes` at most but a page at least; the cursor is put on it. 0 pages if
 * nothing is unsent.
 */
struct pf_run pf_supply_next(struct pf_supply *supply, struct pf_background *cursor, size_t bytes);

#endif
