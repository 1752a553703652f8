/* SPDX-License-Identifier: BSD-2-Clause */
/* debt.h, by a clock that the tests make up. */
#include "core/debt.h"

#include "tests/suite.h"

#define US    1000ull
#define MS    (1000 * US)
#define SEC   (1000 * MS)
#define START SEC

/* Steps of a length until `steps` are over; the time that it takes with all sleeps. */
static uint64_t run(struct pf_debt *debt, uint64_t start, unsigned steps, uint64_t step_ns,
                    unsigned percent, unsigned *naps)
{
    uint64_t now = start;
    for (unsigned i = 0; i < steps; i++) {
        uint64_t due = pf_debt_due(debt, now, percent);
        if (due > 0) {
            ++*naps;
            now += due;
            pf_debt_slept(debt, now, percent);
        }
        now += step_ns;
    }
    return now - start;
}

/* The job runs for the rest of its time, whatever its steps are. */
static void the_share_is_kept(void)
{
    static const uint64_t steps_ns[] = {10 * US, 900 * US, 20 * MS, 5 * SEC};
    static const unsigned percents[] = {1, 20, 50, 75, 99};
    for (unsigned i = 0; i < 4 * 5; i++) {
        struct pf_debt debt = {0};
        unsigned percent = percents[i / 4];
        unsigned naps = 0;
        uint64_t ran = 20000 * steps_ns[i % 4];
        uint64_t took = run(&debt, START, 20000, steps_ns[i % 4], percent, &naps);
        uint64_t ideal = ran / (100 - percent) * 100;
        CU_ASSERT(took <= ideal);
        CU_ASSERT(took + 2 * MS + steps_ns[i % 4] * percent / (100 - percent) >= ideal);
    }
}

/* A job with steps of microseconds makes no system call at each. */
static void short_steps_add_up(void)
{
    struct pf_debt debt = {0};
    unsigned naps = 0;
    run(&debt, START, 20000, 10 * US, 50, &naps);
    CU_ASSERT(naps > 100 && naps <= 200);
}

/* The first safe point tells nothing: it is not known how long the job has run. */
static void begins_at_the_first_safe_point(void)
{
    struct pf_debt debt = {0};
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START, 99), 0);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 10 * MS, 90), 90 * MS);
    pf_debt_forget(&debt);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + SEC, 99), 0);
}

/* Woken early, by a throttle that was eased or a pause: the rest is owed at what holds then. */
static void woken_early(void)
{
    struct pf_debt debt = {0};
    pf_debt_due(&debt, START, 90);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 100 * MS, 90), 900 * MS);
    pf_debt_slept(&debt, START + 550 * MS, 90);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 550 * MS, 50), 50 * MS);
}

static void slept_too_long(void)
{
    struct pf_debt debt = {0};
    pf_debt_due(&debt, START, 50);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 10 * MS, 50), 10 * MS);
    pf_debt_slept(&debt, START + 50 * MS, 50);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 70 * MS, 50), 0);
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 90 * MS, 50), 10 * MS);
    pf_debt_slept(&debt, START + 3600 * SEC, 50); /* was stopped: not a free hour */
    CU_ASSERT_EQUAL(pf_debt_due(&debt, START + 3601 * SEC, 50), 900 * MS);
}

static void any_numbers(void)
{
    static const uint64_t ends[] = {0, 1, SEC, UINT64_MAX / 2, UINT64_MAX};
    for (unsigned i = 0; i < 5 * 5 * 5 * 5; i++) {
        struct pf_debt debt = {.since_ns = ends[i % 5]};
        unsigned percent = (unsigned)ends[i / 125];
        pf_debt_due(&debt, ends[i / 5 % 5], percent);
        pf_debt_slept(&debt, ends[i / 25 % 5], percent);
        pf_debt_due(&debt, UINT64_MAX, percent);
        pf_debt_slept(&debt, 0, percent);
        CU_ASSERT(pf_debt_due(&debt, UINT64_MAX, 1000) <= 99 * 3600 * SEC);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"the_share_is_kept", the_share_is_kept},
        {"short_steps_add_up", short_steps_add_up},
        {"begins_at_the_first_safe_point", begins_at_the_first_safe_point},
        {"woken_early", woken_early},
        {"slept_too_long", slept_too_long},
        {"any_numbers", any_numbers},
        {NULL, NULL},
    };
    return pf_suite_run("debt", tests, argc > 1 ? argv[1] : NULL);
}
