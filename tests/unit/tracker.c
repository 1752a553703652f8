/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every tracker has to keep, run with each that works here. With arguments: only tests whose
 * name contains the first.
 */
#include "core/tracker.h"

#include "core/backing.h"
#include "core/thp.h"
#include "core/uffd.h"
#include "tests/huge.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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
    struct pf_run replaced; /* told last */
    char *base;
    size_t page;
};

static void replaced(void *ctx, unsigned region, struct pf_run run)
{
    struct stand *stand = ctx;
    (void)region;
    stand->replaced = run;
}

static void begin(struct stand *stand)
{
    struct pf_why why = {""};
    struct pf_tracker_attr attr = {
        .regions = &stand->regions,
        .choice = kind,
        .marked = &stand->marked,
        .replaced = replaced,
        .ctx = stand,
    };
    int error = pf_tracker_open(&stand->tracker, &attr, &why);
    if (error)
        printf("%s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(error, 0);
}

static struct stand *set_up_pages(unsigned flags, size_t page_size, size_t pages)
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

static struct stand *set_up(unsigned flags)
{
    return set_up_pages(flags, 0, PAGES);
}

static void take_down(struct stand *stand)
{
    pf_tracker_close(stand->tracker);
    pf_pageset_free(&stand->dirty);
    pf_pageset_free(&stand->marked);
    pf_regions_unmap(&stand->regions);
    free(stand);
}

static void write_page(struct stand *stand, size_t page)
{
    volatile char *at = stand->base + page * stand->page;
    at[0]++;
}

static void collect(struct stand *stand)
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
static bool collects(struct stand *stand, const size_t *pages)
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

static void finds_each_write_once_in(unsigned flags)
{
    struct stand *stand = set_up(flags);
    write_page(stand, 3);
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 3, 5));
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    write_page(stand, 7); /* touched for the first time */
    CU_ASSERT_TRUE(COLLECTS(stand, 7));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void finds_each_write_once(void)
{
    finds_each_write_once_in(FERRY_ANON);
}

static void finds_writes_to_a_file(void)
{
    finds_each_write_once_in(FERRY_SHARED);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"finds_each_write_once", finds_each_write_once},
        {"finds_writes_to_a_file", finds_writes_to_a_file},
        {NULL, NULL},
    };
    struct pf_why why = {""};
    kind = PF_TRACK_PAGEMAP_SCAN;
    if (pf_tracker_probe(kind, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("tracker", tests, argc > 1 ? argv[1] : NULL);
}
