/* SPDX-License-Identifier: BSD-2-Clause */
/* pf_sgl_valid: the one check of gather lists that every back end makes. */
#include "transport/transport.h"

#include "tests/suite.h"

static char memory[256];

static struct pf_mr registration(void)
{
    return (struct pf_mr){.addr = memory + 64, .len = 128};
}

static const struct pf_caps caps = {.max_message = 100, .inline_size = 16, .max_gather = 3};

static void lengths(void)
{
    struct pf_mr mr = registration();
    size_t total = 0;
    struct pf_sge sgl[] = {{&mr, mr.addr, 40}, {&mr, mr.addr + 1, 59}, {&mr, mr.addr, 1}};
    CU_ASSERT_TRUE(pf_sgl_valid(&caps, sgl, 3, &total));
    CU_ASSERT_EQUAL(total, 100);
    CU_ASSERT_TRUE(pf_sgl_valid(&caps, sgl, 1, &total));
    CU_ASSERT_EQUAL(total, 40);
    sgl[2].len = 2; /* one more than a message may have */
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, sgl, 3, &total));
    sgl[2].len = 0;
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, sgl, 3, &total));
    sgl[2].len = SIZE_MAX; /* the sum wraps round to 98 */
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, sgl, 3, &total));
}

static void entries(void)
{
    struct pf_mr mr = registration();
    size_t total;
    struct pf_sge sgl[4];
    for (int i = 0; i < 4; i++)
        sgl[i] = (struct pf_sge){&mr, mr.addr, 1};
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, sgl, 0, &total));
    CU_ASSERT_TRUE(pf_sgl_valid(&caps, sgl, 3, &total));
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, sgl, 4, &total));
}

static void bounds(void)
{
    struct pf_mr mr = registration();
    size_t total;
    const struct pf_sge good[] = {
        {&mr, mr.addr, 100}, {&mr, mr.addr + 28, 100}, {&mr, mr.addr + 127, 1}};
    const struct pf_sge bad[] = {
        {&mr, mr.addr - 1, 1},   {&mr, mr.addr + 29, 100}, {&mr, mr.addr + 127, 2},
        {&mr, mr.addr + 128, 1}, {&mr, memory, 100},       {&mr, mr.addr + 140, 1},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_TRUE(pf_sgl_valid(&caps, &good[i], 1, &total));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(pf_sgl_valid(&caps, &bad[i], 1, &total));
    /* A bad entry counts wherever it stands. */
    const struct pf_sge mixed[] = {good[2], bad[0], good[2]};
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, mixed, 3, &total));
}

static void without_registration(void)
{
    struct pf_mr mr = registration();
    size_t total;
    struct pf_sge alone = {NULL, memory, 16};
    CU_ASSERT_TRUE(pf_sgl_valid(&caps, &alone, 1, &total));
    CU_ASSERT_EQUAL(total, 16);
    alone.len = 17;
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, &alone, 1, &total));
    /* The whole message counts, not the entry alone. */
    struct pf_sge mixed[] = {{NULL, memory, 8}, {&mr, mr.addr, 8}};
    CU_ASSERT_TRUE(pf_sgl_valid(&caps, mixed, 2, &total));
    mixed[1].len = 9;
    CU_ASSERT_FALSE(pf_sgl_valid(&caps, mixed, 2, &total));
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"lengths", lengths},
        {"number of entries", entries},
        {"bounds of the registration", bounds},
        {"without a registration", without_registration},
        {NULL, NULL},
    };
    return pf_suite_run("transport", tests, argc > 1 ? argv[1] : NULL);
}
