/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/debt.h"

/* Of one step, and in hand: more is a process that was stopped, or a clock that jumped. */
static const int64_t ran_most_ns = 3600ll * 1000000000;
static const int64_t in_hand_ns = 100ll * 1000000;

static uint64_t bounded(unsigned percent)
{
    return percent < PF_DEBT_PERCENT_MAX ? percent : PF_DEBT_PERCENT_MAX;
}

/* Since it was looked at last, which is now. */
static int64_t lap(struct pf_debt *debt, uint64_t now_ns)
{
    uint64_t ns = debt->since_ns && now_ns > debt->since_ns ? now_ns - debt->since_ns : 0;
    debt->since_ns = now_ns;
    return ns < (uint64_t)ran_most_ns ? (int64_t)ns : ran_most_ns;
}

uint64_t pf_debt_due(struct pf_debt *debt, uint64_t now_ns, unsigned percent)
{
    debt->ran_ns += lap(debt, now_ns);
    if (debt->ran_ns > ran_most_ns)
        debt->ran_ns = ran_most_ns;
    if (debt->ran_ns <= 0)
        return 0;
    uint64_t ns = (uint64_t)debt->ran_ns * bounded(percent) / (100 - bounded(percent));
    return ns < PF_DEBT_NAP_NS ? 0 : ns;
}

void pf_debt_slept(struct pf_debt *debt, uint64_t now_ns, unsigned percent)
{
    int64_t slept = lap(debt, now_ns);
    if (percent == 0)
        return;
    debt->ran_ns -= slept * (int64_t)(100 - bounded(percent)) / (int64_t)bounded(percent);
    if (debt->ran_ns < -in_hand_ns)
        debt->ran_ns = -in_hand_ns;
}
