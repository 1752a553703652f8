/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_rules URI [[-]THEME,THEME...|TESTNAME]: the rules of a migration, kept by real processes over
 * one transport. With the minus all other themes.
 */
#include "tests/e2e/rules.h"

struct theme {
    const char *name;
    const struct pf_test *tests;
};

static const struct theme themes[] = {
    {"moves", rules_moves},       {"regions", rules_regions},   {"faults", rules_faults},
    {"prefetch", rules_prefetch}, {"refusals", rules_refusals}, {"release", rules_release},
    {"memory", rules_memory},     {"steer", rules_steer},       {"unseen", rules_unseen},
    {"rounds", rules_rounds},     {"cancel", rules_cancel},     {"prealloc", rules_prealloc},
    {"vanish", rules_vanish},
};

/* Is the theme in the list, whose names have commas between them? */
static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

/* The tests of the themes chosen, or of all of them; how many there are. */
static size_t join_tables(struct pf_test *all, size_t room, const char *list)
{
    size_t used = 0;
    bool others = list && list[0] == '-';
    for (size_t i = 0; i < sizeof themes / sizeof themes[0]; i++)
        if (!list || is_listed(list + others, themes[i].name) != others)
            for (const struct pf_test *test = themes[i].tests; test->name && used + 1 < room;
                 test++)
                all[used++] = *test;
    all[used] = (struct pf_test){NULL, NULL};
    return used;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s URI [THEME,...|TESTNAME], for example %s tcp://127.0.0.1:0\n",
                argv[0], argv[0]);
        return 2;
    }
    if (!rig_choose(argv[1])) {
        fprintf(stderr, "%s: no back end of this build answers \"%s\"\n", argv[0], argv[1]);
        return PF_TEST_SKIPPED;
    }
    struct pf_test all[128];
    if (argc > 2 && join_tables(all, sizeof all / sizeof all[0], argv[2]) > 0)
        return pf_suite_run(argv[1], all, NULL);
    join_tables(all, sizeof all / sizeof all[0], NULL);
    return pf_suite_run(argv[1], all, argc > 2 ? argv[2] : NULL);
}
