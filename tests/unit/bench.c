/* SPDX-License-Identifier: BSD-2-Clause */
/* What the measurements are computed with, and the addresses they take. */
#include "bench/bench.h"
#include "bench/samples.h"
#include "bench/touch.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>

static void percentiles_come_from_all_samples(void)
{
    struct pf_samples samples;
    CU_ASSERT_EQUAL_FATAL(pf_samples_init(&samples, 1000), 0);
    CU_ASSERT_EQUAL(pf_samples_us(&samples, 0.5), 0);
    for (uint64_t i = 1000; i > 0; i--)
        pf_samples_add(&samples, i * 1000);
    pf_samples_add(&samples, 1);
    CU_ASSERT_EQUAL(samples.count, 1000);
    CU_ASSERT_DOUBLE_EQUAL(pf_samples_us(&samples, 0.5), 501, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(pf_samples_us(&samples, 0.99), 991, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(pf_samples_us(&samples, 1), 1000, 1e-9);
    pf_samples_free(&samples);
}

static void median_is_the_middle(void)
{
    double odd[] = {9, 1, 5};
    double one[] = {7};
    CU_ASSERT_DOUBLE_EQUAL(pf_median(odd, 3), 5, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(pf_median(one, 1), 7, 1e-9);
}

static void order_has_each_page_once(void)
{
    enum { PAGES = 1000 };
    bool seen[PAGES] = {false};
    size_t in_place = 0;
    size_t *order = pf_touch_order(PAGES, 42);
    CU_ASSERT_PTR_NOT_NULL_FATAL(order);
    for (size_t i = 0; i < PAGES; i++) {
        CU_ASSERT_FATAL(order[i] < PAGES);
        CU_ASSERT_FALSE(seen[order[i]]);
        seen[order[i]] = true;
        in_place += order[i] == i;
    }
    CU_ASSERT(in_place < PAGES / 10);
    free(order);
}

static void bare_schemes_get_a_local_address(void)
{
    char uri[PF_BENCH_URI_MAX];
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_bench_address("tcp", uri, &why), 0);
    CU_ASSERT_STRING_EQUAL(uri, "tcp://127.0.0.1:0");
    CU_ASSERT_EQUAL(pf_bench_address("tcp://[::1]:7000", uri, &why), 0);
    CU_ASSERT_STRING_EQUAL(uri, "tcp://[::1]:7000");
}

static void other_addresses_are_refused_with_a_reason(void)
{
    char uri[PF_BENCH_URI_MAX];
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_bench_address("inproc", uri, &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "one process"));
    CU_ASSERT_EQUAL(pf_bench_address("carrier-pigeon", uri, &why), -EPROTONOSUPPORT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "pigeon"));
    CU_ASSERT_EQUAL(pf_bench_address("not an address", uri, &why), -EINVAL);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"percentiles come from all samples", percentiles_come_from_all_samples},
        {"the median is the middle value", median_is_the_middle},
        {"an order has each page once", order_has_each_page_once},
        {"bare schemes get a local address", bare_schemes_get_a_local_address},
        {"other addresses are refused with a reason", other_addresses_are_refused_with_a_reason},
        {NULL, NULL},
    };
    return pf_suite_run("bench", tests, argc > 1 ? argv[1] : NULL);
}
