/* SPDX-License-Identifier: BSD-2-Clause */
/* e2e_rules URI [TESTNAME]: the rules of a migration, kept by real processes over one transport. */
#include "tests/e2e/rules.h"

static void join_tables(struct pf_test *all, size_t room)
{
    const struct pf_test *const themes[] = {
        rules_moves,  rules_regions, rules_faults, rules_prefetch, rules_refusals, rules_release,
        rules_memory, rules_steer,   rules_unseen, rules_rounds,   rules_cancel,   rules_prealloc};
    size_t used = 0;
    for (size_t i = 0; i < sizeof themes / sizeof themes[0]; i++)
        for (const struct pf_test *test = themes[i]; test->name && used + 1 < room; test++)
            all[used++] = *test;
    all[used] = (struct pf_test){NULL, NULL};
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s URI [TESTNAME], for example %s tcp://127.0.0.1:0\n", argv[0],
                argv[0]);
        return 2;
    }
    if (!rig_choose(argv[1])) {
        fprintf(stderr, "%s: no back end of this build answers \"%s\"\n", argv[0], argv[1]);
        return PF_TEST_SKIPPED;
    }
    struct pf_test all[128];
    join_tables(all, sizeof all / sizeof all[0]);
    return pf_suite_run(argv[1], all, argc > 2 ? argv[2] : NULL);
}
