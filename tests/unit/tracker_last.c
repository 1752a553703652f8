/* SPDX-License-Identifier: BSD-2-Clause */
/* The last look: what was written since the last collect, by whichever way it is known. */
#include "core/memory/thp.h"
#include "tests/unit/tracker_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

static bool has_exactly(struct pf_pageset *set, const size_t *pages)
{
    size_t count = 0;
    bool all = true;
    for (; pages[count] != SIZE_MAX; count++)
        all = all && pf_pageset_has(set, pages[count]);
    return all && pf_pageset_count(set) == count;
}

/* Finds exactly these, in order; ends with SIZE_MAX. */
static bool finds_last(struct stand *stand, const size_t *pages)
{
    struct pf_why why = {""};
    struct pf_pageset *dirty[] = {&stand->dirty};
    pf_pageset_remove_run(&stand->dirty, (struct pf_run){0, pf_region_pages(stand->region)});
    int error = pf_tracker_collect_last(stand->tracker, dirty, &why);
    if (error)
        printf("%s\n", why.text);
    return !error && has_exactly(&stand->dirty, pages);
}

#define FINDS_LAST(stand, ...)                                                                     \
    finds_last(stand, (const size_t[]){__VA_ARGS__ __VA_OPT__(, ) SIZE_MAX})

static void fill(struct stand *stand)
{
    for (size_t page = 0; page < pf_region_pages(stand->region); page++)
        write_page(stand, page);
    collect(stand);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void finds_writes_in(unsigned flags)
{
    struct stand *stand = set_up(flags);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    write_page(stand, 2);
    write_page(stand, 3); /* touched for the first time */
    CU_ASSERT_TRUE(FINDS_LAST(stand, 2, 3));
    take_down(stand);
}

static void finds_writes(void)
{
    finds_writes_in(FERRY_ANON);
    finds_writes_in(FERRY_SHARED);
}

static void finds_writes_where_no_hole_is_in(unsigned flags)
{
    struct stand *stand = set_up(flags);
    fill(stand);
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    write_page(stand, 7);
    write_page(stand, 63);
    write_page(stand, 63);
    CU_ASSERT_TRUE(FINDS_LAST(stand, 7, 63));
    take_down(stand);
}

static void finds_writes_where_no_hole_is(void)
{
    finds_writes_where_no_hole_is_in(FERRY_ANON);
    finds_writes_where_no_hole_is_in(FERRY_SHARED);
}

static void finds_nothing_where_nothing_was(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    CU_ASSERT_TRUE(FINDS_LAST(stand));
    fill(stand);
    CU_ASSERT_TRUE(FINDS_LAST(stand));
    take_down(stand);
}

/* ---- what page tables don't tell ------------------------------------------------------------- */

static void finds_what_was_given_back_in(unsigned flags, int advice)
{
    struct stand *stand = set_up(flags);
    fill(stand);
    CU_ASSERT_EQUAL(madvise(stand->base + 9 * PAGE, PAGE, advice), 0);
    write_page(stand, 7);
    CU_ASSERT_TRUE(FINDS_LAST(stand, 7, 9));
    take_down(stand);
}

static void finds_what_was_given_back(void)
{
    finds_what_was_given_back_in(FERRY_ANON, MADV_DONTNEED);
    finds_what_was_given_back_in(FERRY_SHARED, MADV_REMOVE);
}

/* Nobody told it, but the file has a hole where something was. */
static void finds_what_was_punched_out(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    fill(stand);
    CU_ASSERT_EQUAL(fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              (off_t)(9 * PAGE), (off_t)PAGE),
                    0);
    CU_ASSERT_TRUE(FINDS_LAST(stand, 9));
    CU_ASSERT_EQUAL(stand->renewed.first, 9);
    take_down(stand);
}

static void finds_what_was_told(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    fill(stand);
    pf_pageset_add(&stand->marked, 11);
    CU_ASSERT_TRUE(FINDS_LAST(stand, 11));
    CU_ASSERT_EQUAL(pf_pageset_count(&stand->marked), 0);
    take_down(stand);
}

/* A page that lost its protection without an event, as one that the kernel has merged. */
static void looks_at_all_where_pages_are_merged(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    if (!stand->tracker->ops->events) {
        take_down(stand);
        return;
    }
    fill(stand);
    CU_ASSERT_FALSE(stand->tracker->merging);
    CU_ASSERT_EQUAL(pf_uffd_protect(&stand->tracker->uffd, stand->base + PAGE, PAGE, false), 0);
    write_page(stand, 1);
    write_page(stand, 2);
    stand->tracker->merging = true;
    CU_ASSERT_TRUE(FINDS_LAST(stand, 1, 2));
    take_down(stand);
}

/* ---- by several ------------------------------------------------------------------------------ */

enum { HELPERS = 2, SECOND = (5 << 14) + 3 }; /* more than one piece, the last of them short */

/* Pages of two regions, some in each piece, none twice and none in the wrong set. */
static void several_look_at_several_regions(void)
{
    static const size_t written[] = {0, 4095, 4096, 16384, 40000, SECOND - 1};
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_region *second;
    struct pf_pageset found = {.words = NULL};
    struct pf_why why = {""};
    pf_tracker_close(stand->tracker);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&stand->regions, "second", SECOND * PAGE, 0, 0, &second, &why), 0);
    pf_thp_off(second); /* one that comes later is dirty as a whole */
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&found, SECOND), 0);
    struct pf_tracker_attr attr = {.regions = &stand->regions, .choice = kind};
    CU_ASSERT_EQUAL_FATAL(pf_tracker_open(&stand->tracker, &attr, &why), 0);
    pf_team_open(&stand->tracker->team, HELPERS);
    write_page(stand, 3);
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++)
        *pf_region_page(second, written[i]) = 1;
    struct pf_pageset *dirty[] = {&stand->dirty, &found};
    CU_ASSERT_EQUAL(pf_tracker_collect_last(stand->tracker, dirty, &why), 0);
    CU_ASSERT_TRUE(has_exactly(&stand->dirty, (const size_t[]){3, SIZE_MAX}));
    CU_ASSERT_TRUE(
        has_exactly(&found, (const size_t[]){0, 4095, 4096, 16384, 40000, SECOND - 1, SIZE_MAX}));
    /* A region without a set is left out. */
    pf_pageset_remove_run(&found, (struct pf_run){0, SECOND});
    dirty[1] = NULL;
    CU_ASSERT_EQUAL(pf_tracker_collect_last(stand->tracker, dirty, &why), 0);
    CU_ASSERT_EQUAL(pf_pageset_count(&found), 0);
    take_down(stand);
    pf_pageset_free(&found);
}

static void a_failure_is_told(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_pageset *dirty[] = {&stand->dirty};
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(munmap(stand->base + 2 * PAGE, PAGE), 0);
    CU_ASSERT_EQUAL(pf_tracker_collect_last(stand->tracker, dirty, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"region\" was unmapped"));
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"finds_writes", finds_writes},
        {"finds_writes_where_no_hole_is", finds_writes_where_no_hole_is},
        {"finds_nothing_where_nothing_was", finds_nothing_where_nothing_was},
        {"finds_what_was_given_back", finds_what_was_given_back},
        {"finds_what_was_punched_out", finds_what_was_punched_out},
        {"finds_what_was_told", finds_what_was_told},
        {"looks_at_all_where_pages_are_merged", looks_at_all_where_pages_are_merged},
        {"several_look_at_several_regions", several_look_at_several_regions},
        {"a_failure_is_told", a_failure_is_told},
        {NULL, NULL},
    };
    return rig_run(tests, argc, argv);
}
