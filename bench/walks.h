/* SPDX-License-Identifier: BSD-2-Clause */
/* Ways in which a job that has just arrived goes through its memory. */
#ifndef PF_BENCH_WALKS_H
#define PF_BENCH_WALKS_H

#include "bench/move.h"

struct pf_walk {
    const char *key;   /* in front of the keys of its figures */
    const char *label; /* for a person */
    bool background;   /* while the background stream brings pages, too */
    void (*go)(const struct pf_moved *moved);
    /* Puts back what it has changed, so that the region can be checked. */
    void (*undo)(const struct pf_moved *moved);
    /* Pages that it touches. */
    size_t (*touched)(const struct pf_moved *moved);
};

enum { PF_WALKS = 5 };

extern const struct pf_walk pf_walks[PF_WALKS];

#endif
