/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/e2e/grid.h"

#include <stdlib.h>
#include <unistd.h>

enum { WORDS = RIG_PAGE / sizeof(uint64_t) };

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

void grid_fill(struct grid *grid)
{
    for (size_t i = 0; i < grid->pages * WORDS; i++)
        grid->words[i] = mix(i + 1);
}

/*
 * Every page's word of this step takes in a word of the page after it. Rounds of pre-copy read the
 * words meanwhile, and send again what was written then: no race to be reported.
 */
__attribute__((no_sanitize_thread)) void grid_step(struct grid *grid)
{
    size_t word = (size_t)grid->step % WORDS;
    for (size_t page = 0; page < grid->pages; page++) {
        size_t other = (page + 1) % grid->pages;
        grid->words[page * WORDS + word] =
            mix(grid->words[page * WORDS + word] + grid->words[other * WORDS + WORDS - 1 - word]);
    }
}

uint64_t grid_sum(const struct grid *grid)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < grid->pages * WORDS; i++)
        sum = mix(sum + grid->words[i]);
    return sum;
}

uint64_t grid_expected(size_t pages, long steps)
{
    struct grid grid = {.words = malloc(pages * RIG_PAGE), .pages = pages};
    grid_fill(&grid);
    for (; grid.step < steps; grid.step++)
        grid_step(&grid);
    uint64_t sum = grid_sum(&grid);
    free(grid.words);
    return sum;
}

void grid_await_complete(struct rig_side *side)
{
    struct ferry_status status;
    while (ferry_job_status(side->job, &status) == 0 && !status.complete)
        usleep(1000);
}

static void call(void (*hook)(struct rig_side *, struct grid *), struct rig_side *side,
                 struct grid *grid)
{
    if (hook)
        hook(side, grid);
}

/* Where this side leaves: the source for the destination, a destination for the one after it. */
static const char *leaves_for(const struct rig_side *side, const struct grid_play *play, long step)
{
    if (!side->destination)
        return step == play->move_at ? side->uri : NULL;
    return side->next[0] && step == play->move_at + 1 ? side->next : NULL;
}

/* FERRY_MOVED when the job has left. */
static int compute(struct rig_side *side, const struct grid_play *play, struct grid *grid)
{
    for (; grid->step < play->steps; grid->step++) {
        const char *uri = leaves_for(side, play, grid->step);
        if (uri && side->destination)
            grid_await_complete(side);
        if (uri && rig_move(side, uri) == FERRY_MOVED)
            return FERRY_MOVED;
        if (uri) {
            rig_say(side, "why %s", ferry_job_why(side->job));
            call(play->stayed, side, grid);
        }
        grid_step(grid);
    }
    return FERRY_CONTINUE;
}

int grid_job(struct rig_side *side)
{
    const struct grid_play *play = side->ctx;
    struct grid grid = {.pages = play->pages};
    rig_open(side);
    grid.words =
        ferry_job_alloc(side->job, "grid", grid.pages * RIG_PAGE, play->page_size, play->flags);
    if (!grid.words || ferry_job_state(side->job, &grid.step, sizeof grid.step) < 0)
        return 96;
    call(play->declared, side, &grid);
    int how = rig_start(side);
    if (how < 0) {
        rig_say(side, "why %s", ferry_job_why(side->job));
        rig_close(side);
        return 3;
    }
    if (how == FERRY_FRESH)
        grid_fill(&grid);
    else
        call(play->arrived, side, &grid);
    if (compute(side, play, &grid) == FERRY_MOVED) {
        call(play->moved, side, &grid);
        return rig_close(side);
    }
    rig_say(side, "answer %llu", (unsigned long long)grid_sum(&grid));
    call(play->finished, side, &grid);
    return rig_close(side);
}
