/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that wait to help with a piece of work of some milliseconds. The caller does his share,
 * and all of it if nobody comes.
 */
#ifndef PF_CORE_TEAM_H
#define PF_CORE_TEAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { PF_TEAM_HELPERS_MAX = 3 };

/* All zero: nobody but the caller. */
struct pf_team {
    pthread_t helpers[PF_TEAM_HELPERS_MAX];
    unsigned count;
    bool made;
    pthread_mutex_t lock; /* for all that follows */
    pthread_cond_t wake, done;
    void (*work)(void *ctx, size_t item);
    void *ctx;
    size_t next, items;
    unsigned busy; /* helpers with an item */
    bool stop;
};

/* As many helpers as can be had, `wanted` at most. They block all signals. */
void pf_team_open(struct pf_team *team, unsigned wanted);

/* work(ctx, item) for each item below `items`, by several threads, in about this order. Returns
 * when all is done. */
void pf_team_run(struct pf_team *team, size_t items, void (*work)(void *ctx, size_t item),
                 void *ctx);

/* Harmless for one that was not opened. */
void pf_team_close(struct pf_team *team);

#endif
