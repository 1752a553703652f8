/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/histogram.h"

#include "tests/suite.h"

#include <stdlib.h>

static struct pf_histogram *fresh(void)
{
    struct pf_histogram *histogram = calloc(1, sizeof *histogram);
    CU_ASSERT_PTR_NOT_NULL_FATAL(histogram);
    return histogram;
}

static void empty_is_zero(void)
{
    struct pf_histogram *histogram = fresh();
    CU_ASSERT_EQUAL(pf_histogram_us(histogram, 0.5), 0);
    free(histogram);
}

/* Never below the true value, and at most one part in 32 above it. */
static void one_value_is_accurate(void)
{
    for (uint64_t ns = 0; ns < 1000000000000; ns = ns + ns / 7 + 1) {
        struct pf_histogram *histogram = fresh();
        pf_histogram_add(histogram, ns);
        double told = pf_histogram_us(histogram, 0.5) * 1000;
        CU_ASSERT(told >= (double)ns - 0.5);
        CU_ASSERT(told <= (double)ns * (1 + 1.0 / 32) + 0.5);
        free(histogram);
    }
}

static void the_longest_counts(void)
{
    struct pf_histogram *histogram = fresh();
    pf_histogram_add(histogram, UINT64_MAX);
    CU_ASSERT(pf_histogram_us(histogram, 0.5) > 15 * 60 * 1e6);
    free(histogram);
}

static void shares(void)
{
    struct pf_histogram *histogram = fresh();
    for (uint64_t i = 1; i <= 1000; i++)
        pf_histogram_add(histogram, i * 1000);
    CU_ASSERT_DOUBLE_EQUAL(pf_histogram_us(histogram, 0.5), 500, 16);
    CU_ASSERT_DOUBLE_EQUAL(pf_histogram_us(histogram, 0.99), 990, 31);
    CU_ASSERT(pf_histogram_us(histogram, 1) >= 1000);
    CU_ASSERT(pf_histogram_us(histogram, 0) <= 1.1);
    free(histogram);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"empty_is_zero", empty_is_zero},
        {"one_value_is_accurate", one_value_is_accurate},
        {"the_longest_counts", the_longest_counts},
        {"shares", shares},
        {NULL, NULL},
    };
    return pf_suite_run("histogram", tests, argc > 1 ? argv[1] : NULL);
}
