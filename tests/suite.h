/* SPDX-License-Identifier: BSD-2-Clause */
/* What every CUnit program here shares: a table of tests, a main that runs them, skipping. */
#ifndef PF_TESTS_SUITE_H
#define PF_TESTS_SUITE_H

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

enum { PF_TEST_SKIPPED = 77 }; /* the exit status that ctest shows as "skipped" */

struct pf_test {
    const char *name;
    void (*run)(void);
};

/*
 * Run a table of tests that ends with {NULL}; only those whose name contains filter, if given.
 * Returns main's exit status: failed if any assertion failed, or if no test ran at all.
 */
static inline int pf_suite_run(const char *name, const struct pf_test *tests, const char *filter)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    for (; suite && tests->name; tests++)
        if (!filter || strstr(tests->name, filter))
            CU_add_test(suite, tests->name, tests->run);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    unsigned run = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return failed > 0 || run == 0;
}

#endif
