/* SPDX-License-Identifier: BSD-2-Clause */
/* e2e_clients [URI [TESTNAME]]: other processes whose faults a job serves while it arrives. */
#include "core/memory/uffd.h"
#include "tests/e2e/clients_stand.h"

int main(int argc, char **argv)
{
    struct pf_test tests[32];
    size_t used = 0;
    for (const struct pf_test *test = clients_watch; test->name; test++)
        tests[used++] = *test;
    for (const struct pf_test *test = clients_ends; test->name; test++)
        tests[used++] = *test;
    tests[used] = (struct pf_test){NULL, NULL};
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    if (argc > 1 && !rig_choose(argv[1])) {
        printf("skipped: no back end of this build answers \"%s\"\n", argv[1]);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("clients", tests, argc > 2 ? argv[2] : NULL);
}
