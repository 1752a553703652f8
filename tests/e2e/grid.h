/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small computation over pages whose answer depends on every word and on every step: a page that
 * is lost, stale or moved twice shows in the sum.
 */
#ifndef PF_TESTS_E2E_GRID_H
#define PF_TESTS_E2E_GRID_H

#include "tests/e2e/rig.h"

struct grid {
    uint64_t *words;
    size_t pages;
    long step;
};

void grid_fill(struct grid *grid);
void grid_step(struct grid *grid);
uint64_t grid_sum(const struct grid *grid);
/* What a run of so many steps ends with that was never moved. */
uint64_t grid_expected(size_t pages, long steps);

/* What grid_job() does beside computing; every function may be NULL. */
struct grid_play {
    size_t pages; /* of RIG_PAGE */
    long steps, move_at;
    size_t page_size; /* of the region; 0: the default */
    unsigned flags;
    void (*declared)(struct rig_side *side, struct grid *grid); /* before ferry_job_start() */
    void (*arrived)(struct rig_side *side, struct grid *grid);  /* at the destination, at once */
    void (*stayed)(struct rig_side *side, struct grid *grid);   /* after a move that failed */
    void (*moved)(struct rig_side *side, struct grid *grid);    /* at the source, after its move */
    void (*finished)(struct rig_side *side, struct grid *grid); /* after the answer */
};

/* A body: ctx is a struct grid_play. Says "answer SUM" where it ends. */
int grid_job(struct rig_side *side);

/* At a destination: wait until every page is here. */
void grid_await_complete(struct rig_side *side);

#endif
