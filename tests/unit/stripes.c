/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose which part of a region is. Nodes are plain numbers here: any machine will do. */
#include "core/send/stripes.h"

#include "tests/suite.h"

enum { SHIFT = 12, UNIT = PF_STRIPE_BYTES >> SHIFT };

/* The owners of a region's stripes as a string: "0011". */
static const char *owners(const struct pf_stripes *stripes)
{
    static char text[64];
    size_t i = 0;
    for (; i < stripes->count && i < sizeof text - 1; i++)
        text[i] = (char)('0' + stripes->rails[i]);
    text[i] = '\0';
    return text;
}

static void stretches(void)
{
    struct pf_stripes stripes;
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 9 * (size_t)UNIT + 7, SHIFT, 3), 0);
    CU_ASSERT_EQUAL(stripes.unit, UNIT);
    CU_ASSERT_STRING_EQUAL(owners(&stripes), "0000111222");
    CU_ASSERT_EQUAL(pf_stripes_rail(&stripes, 0), 0);
    CU_ASSERT_EQUAL(pf_stripes_rail(&stripes, 4 * (size_t)UNIT), 1);
    CU_ASSERT_EQUAL(pf_stripes_rail(&stripes, 9 * (size_t)UNIT + 6), 2);
    CU_ASSERT_EQUAL(pf_stripes_at(&stripes, 9).first, 9 * (size_t)UNIT);
    CU_ASSERT_EQUAL(pf_stripes_at(&stripes, 9).pages, 7);
    pf_stripes_free(&stripes);
}

/* Even a region that is shorter than a stripe is everybody's. */
static void short_regions(void)
{
    struct pf_stripes stripes;
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 10, SHIFT, 4), 0);
    CU_ASSERT_STRING_EQUAL(owners(&stripes), "0123");
    CU_ASSERT_EQUAL(pf_stripes_at(&stripes, 3).pages, 1);
    pf_stripes_free(&stripes);
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 1, SHIFT, 2), 0);
    CU_ASSERT_STRING_EQUAL(owners(&stripes), "0");
    pf_stripes_free(&stripes);
    /* A host page of 1 GiB is a stripe. */
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 4, 30, 2), 0);
    CU_ASSERT_STRING_EQUAL(owners(&stripes), "0011");
    pf_stripes_free(&stripes);
}

static const char *dealt(const int *nodes, const int *rail_nodes, unsigned rails)
{
    static char text[64];
    struct pf_stripes stripes;
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, 8 * (size_t)UNIT, SHIFT, rails), 0);
    pf_stripes_deal(&stripes, nodes, rail_nodes, rails);
    snprintf(text, sizeof text, "%s", owners(&stripes));
    pf_stripes_free(&stripes);
    return text;
}

static void by_node(void)
{
    static const int interleaved[] = {0, 1, 0, 1, 0, 1, 0, 1};
    static const int halves[] = {1, 1, 1, 1, 0, 0, 0, 0};
    static const int lopsided[] = {0, 0, 0, 0, 0, 0, 0, 1};
    static const int two[] = {0, 1};
    CU_ASSERT_STRING_EQUAL(dealt(interleaved, two, 2), "01010101");
    CU_ASSERT_STRING_EQUAL(dealt(halves, two, 2), "11110000");
    CU_ASSERT_STRING_EQUAL(dealt(lopsided, two, 2), "00000001");
}

static void several_rails_on_a_node(void)
{
    static const int halves[] = {1, 1, 1, 1, 0, 0, 0, 0};
    static const int three[] = {0, 1, 1};
    CU_ASSERT_STRING_EQUAL(dealt(halves, three, 3), "11220000");
}

/* What is near no rail, or nobody knows where, is shared out evenly. */
static void nodes_without_a_rail(void)
{
    static const int far[] = {0, 0, 2, 2, 2, 2, -1, -1};
    static const int two[] = {0, 1};
    static const int unknown[] = {-1, -1};
    static const int half_known[] = {-1, 0};
    CU_ASSERT_STRING_EQUAL(dealt(far, two, 2), "00000111");
    CU_ASSERT_STRING_EQUAL(dealt(far, unknown, 2), "00001111");
    CU_ASSERT_STRING_EQUAL(dealt(far, half_known, 2), "11000111");
}

static void ones_own(void)
{
    static const int nodes[] = {0, 0, 1, 1, 0, 0, 0, 1};
    static const int two[] = {0, 1};
    struct pf_stripes stripes;
    size_t last = 8 * (size_t)UNIT;
    CU_ASSERT_EQUAL_FATAL(pf_stripes_init(&stripes, last, SHIFT, 2), 0);
    pf_stripes_deal(&stripes, nodes, two, 2);
    struct pf_run run = pf_stripes_own(&stripes, 0, 5);
    CU_ASSERT_EQUAL(run.first, 5);
    CU_ASSERT_EQUAL(run.first + run.pages, 2 * (size_t)UNIT);
    run = pf_stripes_own(&stripes, 0, 2 * (size_t)UNIT);
    CU_ASSERT_EQUAL(run.first, 4 * (size_t)UNIT);
    CU_ASSERT_EQUAL(run.pages, 3 * (size_t)UNIT);
    CU_ASSERT_EQUAL(pf_stripes_own(&stripes, 0, 7 * (size_t)UNIT).pages, 0);
    CU_ASSERT_EQUAL(pf_stripes_own(&stripes, 1, 7 * (size_t)UNIT + 1).pages, UNIT - 1);
    pf_stripes_free(&stripes);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"stretches", stretches},
        {"short_regions", short_regions},
        {"by_node", by_node},
        {"several_rails_on_a_node", several_rails_on_a_node},
        {"nodes_without_a_rail", nodes_without_a_rail},
        {"ones_own", ones_own},
        {NULL, NULL},
    };
    return pf_suite_run("stripes", tests, argc > 1 ? argv[1] : NULL);
}
