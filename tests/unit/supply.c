/* SPDX-License-Identifier: BSD-2-Clause */
/* supply.h: in which order the movers of several rails take a job's pages. */
#include "core/send/supply.h"

#include "tests/suite.h"

#include <stdlib.h>

enum {
    RAILS = 2,
    REGIONS = 2,
    STRIPE = PF_STRIPE_BYTES / PF_PAGE_SIZE,
    PAGES = 4 * STRIPE,
    TAKE = 256,
};

struct stand {
    struct pf_region regions[REGIONS];
    struct pf_source_memory memory;
    struct pf_supply supplies[RAILS];
    struct pf_hint hints[RAILS];
    struct pf_background cursors[RAILS];
};

static void set_up(struct stand *stand)
{
    memset(stand, 0, sizeof *stand);
    stand->memory.count = REGIONS;
    stand->memory.regions = calloc(REGIONS, sizeof *stand->memory.regions);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stand->memory.regions);
    for (unsigned i = 0; i < REGIONS; i++) {
        struct pf_source_region *source = &stand->memory.regions[i];
        stand->regions[i].page_shift = PF_PAGE_SHIFT;
        source->region = &stand->regions[i];
        CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&source->unsent, PAGES), 0);
        CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&source->stripes, PAGES, PF_PAGE_SHIFT, RAILS), 0);
        pf_pageset_add_run(&source->unsent, (struct pf_run){0, PAGES});
    }
    for (unsigned i = 0; i < RAILS; i++) {
        pf_supply_init(&stand->supplies[i], &stand->memory, i);
        stand->cursors[i].hint = &stand->hints[i];
    }
}

static void take_down(struct stand *stand)
{
    pf_source_memory_close(&stand->memory);
}

/* What the mover of a rail does with a run: claim it and go on behind it. */
static struct pf_run take(struct stand *stand, unsigned rail)
{
    struct pf_background *cursor = &stand->cursors[rail];
    struct pf_run run = pf_supply_next(&stand->supplies[rail], cursor, TAKE * (size_t)PF_PAGE_SIZE);
    if (run.pages > 0) {
        struct pf_pageset *unsent = &stand->memory.regions[cursor->region].unsent;
        CU_ASSERT_EQUAL(pf_pageset_claim(unsent, run.first, run.pages), run.pages);
        cursor->page = run.first + run.pages;
    }
    return run;
}

static void take_all_of(struct stand *stand, unsigned rail, size_t pages)
{
    for (size_t taken = 0; taken < pages;) {
        struct pf_run run = take(stand, rail);
        CU_ASSERT_NOT_EQUAL_FATAL(run.pages, 0);
        taken += run.pages;
    }
}

/* Both at the same pace: each sends its own half of each region, and all is sent once. */
static void own_stripes_first(void)
{
    struct stand stand;
    size_t taken = 0;
    set_up(&stand);
    for (;;) {
        struct pf_run first = take(&stand, 0);
        struct pf_run second = take(&stand, 1);
        if (first.pages == 0 && second.pages == 0)
            break;
        taken += first.pages + second.pages;
        CU_ASSERT_TRUE(first.first + first.pages <= PAGES / 2);
        CU_ASSERT_TRUE(second.first >= PAGES / 2);
    }
    CU_ASSERT_EQUAL(taken, (size_t)REGIONS * PAGES);
    take_down(&stand);
}

/* Who has nothing left begins with the others' last stripe, and goes down. */
static void helps_from_the_far_end(void)
{
    struct stand stand;
    set_up(&stand);
    take_all_of(&stand, 0, REGIONS * (size_t)PAGES / 2);
    CU_ASSERT_EQUAL(take(&stand, 0).first, PAGES - STRIPE);
    CU_ASSERT_EQUAL(take(&stand, 0).first, PAGES - STRIPE + TAKE);
    CU_ASSERT_EQUAL(take(&stand, 1).first, PAGES / 2);
    take_all_of(&stand, 0, STRIPE - 2 * (size_t)TAKE);
    CU_ASSERT_EQUAL(take(&stand, 0).first, PAGES - 2 * STRIPE + TAKE);
    take_all_of(&stand, 0, pf_source_memory_unsent(&stand.memory) / PF_PAGE_SIZE);
    CU_ASSERT_EQUAL(take(&stand, 0).pages, 0);
    CU_ASSERT_EQUAL(take(&stand, 1).pages, 0);
    take_down(&stand);
}

/* A dead rail's pages are unsent again: whoever is alive finds them, wherever it was. */
static void takes_what_came_back(void)
{
    struct stand stand;
    set_up(&stand);
    take_all_of(&stand, 0, REGIONS * (size_t)PAGES);
    CU_ASSERT_EQUAL(take(&stand, 0).pages, 0);
    pf_source_memory_return(&stand.memory, 0, (struct pf_run){PAGES - 10, 3});
    pf_source_memory_return(&stand.memory, 1, (struct pf_run){7, 2});
    struct pf_run run = take(&stand, 0);
    CU_ASSERT_EQUAL(run.first, 7);
    CU_ASSERT_EQUAL(run.pages, 2);
    run = take(&stand, 0);
    CU_ASSERT_EQUAL(run.first, PAGES - 10);
    CU_ASSERT_EQUAL(run.pages, 3);
    CU_ASSERT_EQUAL(take(&stand, 0).pages, 0);
    take_down(&stand);
}

/* The urgent lane sends the cursor of the rail whose stripe it is; the others only hold back. */
static void follows_a_request(void)
{
    enum { ASKED = PAGES / 2 + 5000, LARGE = 1 << 20 };
    struct stand stand;
    set_up(&stand);
    CU_ASSERT_FALSE(pf_background_follow(&stand.cursors[0]));
    CU_ASSERT_EQUAL(pf_background_bytes(&stand.cursors[0], LARGE), LARGE);
    pf_hint_warn(&stand.hints[0]);
    pf_hint_give(&stand.hints[1], 1, ASKED);
    CU_ASSERT_FALSE(pf_background_follow(&stand.cursors[0]));
    CU_ASSERT_TRUE(pf_background_follow(&stand.cursors[1]));
    CU_ASSERT_TRUE(stand.cursors[0].careful_until > 0);
    CU_ASSERT_TRUE(stand.cursors[1].careful_until > 0);
    CU_ASSERT_EQUAL(take(&stand, 0).first, 0);
    CU_ASSERT_EQUAL(take(&stand, 1).first, ASKED + 1);
    CU_ASSERT_EQUAL(stand.cursors[1].region, 1);
    take_down(&stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"own_stripes_first", own_stripes_first},
        {"helps_from_the_far_end", helps_from_the_far_end},
        {"takes_what_came_back", takes_what_came_back},
        {"follows_a_request", follows_a_request},
        {NULL, NULL},
    };
    return pf_suite_run("supply", tests, argc > 1 ? argv[1] : NULL);
}
