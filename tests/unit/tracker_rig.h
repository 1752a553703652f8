/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tests of the trackers share: a region that is tracked, looking at what is collected, and a
 * main that runs them with each tracker that works here. Arguments: only tests whose name contains
 * the first; the tracker of the second has to work here.
 */
#ifndef PF_TESTS_TRACKER_RIG_H
#define PF_TESTS_TRACKER_RIG_H

#include "core/track/tracker_ops.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES = 64 };
#define PAGE ((size_t)PF_PAGE_SIZE)

/* Which tracker the tests run with: CUnit's tests have no arguments. */
static unsigned kind;

struct stand {
    struct pf_regions regions;
    struct pf_region *region;
    struct pf_tracker *tracker;
    struct pf_pageset dirty;
    struct pf_pageset marked;
    struct pf_run replaced, renewed; /* told last */
    char *base;
    size_t page;
};

static inline void replaced(void *ctx, unsigned region, struct pf_run run)
{
    struct stand *stand = ctx;
    (void)region;
    stand->replaced = run;
}

static inline void renewed(void *ctx, unsigned region, struct pf_run run)
{
    struct stand *stand = ctx;
    (void)region;
    stand->renewed = run;
}

static inline void begin(struct stand *stand)
{
    struct pf_why why = {""};
    struct pf_tracker_attr attr = {
        .regions = &stand->regions,
        .choice = kind,
        .marked = &stand->marked,
        .replaced = replaced,
        .renewed = renewed,
        .ctx = stand,
    };
    int error = pf_tracker_open(&stand->tracker, &attr, &why);
    if (error)
        printf("%s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(error, 0);
}

static inline struct stand *set_up_pages(unsigned flags, size_t page_size, size_t pages)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_why why = {""};
    stand->page = page_size ? page_size : PAGE;
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "region", pages * stand->page, page_size,
                                         flags, &stand->region, &why),
                          0);
    stand->base = stand->region->addr;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->dirty, pages), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->marked, pages), 0);
    begin(stand);
    return stand;
}

static inline struct stand *set_up(unsigned flags)
{
    return set_up_pages(flags, 0, PAGES);
}

static inline void take_down(struct stand *stand)
{
    pf_tracker_close(stand->tracker);
    pf_pageset_free(&stand->dirty);
    pf_pageset_free(&stand->marked);
    pf_regions_unmap(&stand->regions);
    free(stand);
}

static inline void write_page(struct stand *stand, size_t page)
{
    volatile char *at = stand->base + page * stand->page;
    at[0]++;
}

static inline void collect(struct stand *stand)
{
    struct pf_why why = {""};
    struct pf_run all = {0, pf_region_pages(stand->region)};
    pf_pageset_remove_run(&stand->dirty, all);
    int error = pf_tracker_collect(stand->tracker, 0, all, &stand->dirty, &why);
    if (error)
        printf("%s\n", why.text);
    CU_ASSERT_EQUAL(error, 0);
}

/* Collects exactly these pages, in order; ends with SIZE_MAX. */
static inline bool collects(struct stand *stand, const size_t *pages)
{
    size_t count = 0;
    bool all = true;
    collect(stand);
    for (; pages[count] != SIZE_MAX; count++)
        all = all && pf_pageset_has(&stand->dirty, pages[count]);
    if (!all || pf_pageset_count(&stand->dirty) != count)
        for (size_t page = 0; page < stand->dirty.pages; page++)
            if (pf_pageset_has(&stand->dirty, page))
                printf("got %zu\n", page);
    return all && pf_pageset_count(&stand->dirty) == count;
}

#define COLLECTS(stand, ...) collects(stand, (const size_t[]){__VA_ARGS__ __VA_OPT__(, ) SIZE_MAX})

static inline int rig_run(const struct pf_test *tests, int argc, char **argv)
{
    static const char *const names[] = {"auto", "pagemap-scan", "soft-dirty", "write-protect"};
    int failed = 0;
    unsigned worked = 0;
    for (kind = PF_TRACK_AUTO + 1; kind <= PF_TRACK_WRITE_PROTECT; kind++) {
        struct pf_why why = {""};
        if (pf_tracker_probe(kind, &why)) {
            printf("skipped: %s\n", why.text);
            failed |= argc > 2 && strcmp(argv[2], names[kind]) == 0;
            continue;
        }
        worked++;
        failed |= pf_suite_run(names[kind], tests, argc > 1 ? argv[1] : NULL);
    }
    return worked ? failed : PF_TEST_SKIPPED;
}

#endif
