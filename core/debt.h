/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a throttled job sleeps at a safe point: as long as it has run since the last one, times
 * percent / (100 - percent). What is not slept is remembered: steps of microseconds add up until a
 * nap is worth a system call, steps of minutes are owed for in full, and who slept too long has
 * that in hand. Numbers only: the caller says what time it is, and sleeps.
 */
#ifndef PF_CORE_DEBT_H
#define PF_CORE_DEBT_H

#include <stdint.h>

enum { PF_DEBT_NAP_NS = 1000000, PF_DEBT_PERCENT_MAX = 99 };

/* Starts as zero. */
struct pf_debt {
    uint64_t since_ns; /* when the job began to run, or was looked at; 0: it is not known */
    int64_t ran_ns;    /* running time that is not slept for; less than 0: slept for in advance */
};

/* The job has come to a safe point: for how many nanoseconds is it to sleep? 0: not worth it yet.
 */
uint64_t pf_debt_due(struct pf_debt *debt, uint64_t now_ns, unsigned percent);

/* It has slept from the time of the latest pf_debt_due() on until now. */
void pf_debt_slept(struct pf_debt *debt, uint64_t now_ns, unsigned percent);

/* It runs unthrottled from now on. */
static inline void pf_debt_forget(struct pf_debt *debt)
{
    *debt = (struct pf_debt){0};
}

#endif
