/* SPDX-License-Identifier: BSD-2-Clause */
/* Every way of looking for zeros that this CPU has, against a loop over bytes. */
#include "core/memory/zero.h"

#include "tests/suite.h"

#include <stdlib.h>

enum { PAGE = 4096 };

static bool bytes_zero(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i])
            return false;
    return true;
}

static void one_byte_anywhere_is_seen(void)
{
    struct pf_zero_way ways[PF_ZERO_WAYS_MAX];
    unsigned count = pf_zero_ways(ways);
    unsigned char *page = aligned_alloc(PAGE, PAGE);
    memset(page, 0, PAGE);
    for (unsigned way = 0; way < count; way++) {
        CU_ASSERT_TRUE(ways[way].all_zero(page, PAGE));
        unsigned missed = 0;
        for (size_t at = 0; at < PAGE; at++) {
            page[at] = (unsigned char)(1 << at % 8);
            missed += ways[way].all_zero(page, PAGE) || pf_all_zero(page, PAGE);
            page[at] = 0;
        }
        CU_ASSERT_EQUAL(missed, 0);
    }
    CU_ASSERT_TRUE(pf_all_zero(page, PAGE));
    free(page);
}

/* What lies before and behind does not count: every size, at every place a size may begin. */
static void only_what_is_asked_for_counts(void)
{
    enum { LINES = 24, ROOM = (LINES + 2) * PF_ZERO_LINE };
    struct pf_zero_way ways[PF_ZERO_WAYS_MAX];
    unsigned count = pf_zero_ways(ways), wrong = 0;
    unsigned char *room = aligned_alloc(PF_ZERO_LINE, ROOM);
    for (unsigned way = 0; way < count; way++)
        for (size_t size = PF_ZERO_LINE; size <= (size_t)LINES * PF_ZERO_LINE; size += PF_ZERO_LINE)
            for (size_t shift = 8; shift <= PF_ZERO_LINE; shift += 8) {
                memset(room, 0xff, ROOM);
                memset(room + shift, 0, size);
                wrong += !ways[way].all_zero(room + shift, size);
                room[shift + size - 1] = 1;
                wrong += ways[way].all_zero(room + shift, size) != bytes_zero(room + shift, size);
            }
    CU_ASSERT_EQUAL(wrong, 0);
    free(room);
}

static void a_row_ends_where_the_kind_changes(void)
{
    enum { PAGES = 6 };
    char *pages = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
    bool zero;
    memset(pages, 0, (size_t)PAGES * PAGE);
    CU_ASSERT_EQUAL(pf_same_kind(pages, PAGE, PAGES, &zero), PAGES);
    CU_ASSERT_TRUE(zero);
    pages[3 * PAGE - 1] = 1;
    CU_ASSERT_EQUAL(pf_same_kind(pages, PAGE, PAGES, &zero), 2);
    CU_ASSERT_TRUE(zero);
    pages[3 * PAGE] = 1;
    CU_ASSERT_EQUAL(pf_same_kind(pages + 2 * PAGE, PAGE, PAGES - 2, &zero), 2);
    CU_ASSERT_FALSE(zero);
    free(pages);
}

static void the_widest_comes_first(void)
{
    struct pf_zero_way ways[PF_ZERO_WAYS_MAX];
    unsigned count = pf_zero_ways(ways);
    CU_ASSERT_STRING_EQUAL(ways[count - 1].name, "plain");
    if (count == PF_ZERO_WAYS_MAX)
        CU_ASSERT_STRING_EQUAL(ways[0].name, "avx512");
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"one_byte_anywhere_is_seen", one_byte_anywhere_is_seen},
        {"only_what_is_asked_for_counts", only_what_is_asked_for_counts},
        {"a_row_ends_where_the_kind_changes", a_row_ends_where_the_kind_changes},
        {"the_widest_comes_first", the_widest_comes_first},
        {NULL, NULL},
    };
    return pf_suite_run("zero", tests, argc > 1 ? argv[1] : NULL);
}
