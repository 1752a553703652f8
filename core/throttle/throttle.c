/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/throttle/throttle.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/job/job.h"

static void close_means(struct pf_throttle *throttle)
{
    pf_job_slow_down(throttle->job, 0);
    pf_cpu_limit_close(&throttle->cpu);
    pf_freezer_close(&throttle->freezer);
    throttle->how = PF_THROTTLE_OFF;
    throttle->percent = 0;
}

/* A job with safe points sleeps there, where nothing waits for it. Else its CPU is limited. */
static void choose(struct pf_throttle *throttle)
{
    struct pf_why why = {""};
    throttle->how = PF_THROTTLE_SAFEPOINT;
    if (atomic_load(&throttle->job->safepoints) > 0)
        return;
    if (pf_cpu_limit_open(&throttle->cpu, &why) == 0)
        throttle->how = PF_THROTTLE_CGROUP;
    else
        pf_info("the job has come to no safe point so far, and %s: it will be throttled when it "
                "comes to one",
                why.text);
}

static int open_means(struct pf_throttle *throttle, struct pf_why *why)
{
    int error = 0;
    throttle->how = throttle->asked;
    if (throttle->asked == PF_THROTTLE_AUTO)
        choose(throttle);
    else if (throttle->asked == PF_THROTTLE_CGROUP)
        error = pf_cpu_limit_open(&throttle->cpu, why);
    else if (throttle->asked == PF_THROTTLE_FREEZER)
        error = pf_freezer_open(&throttle->freezer, why);
    if (error)
        throttle->how = PF_THROTTLE_OFF;
    return error;
}

static int apply(struct pf_throttle *throttle, unsigned percent, struct pf_why *why)
{
    int error = 0;
    if (throttle->how == PF_THROTTLE_SAFEPOINT)
        pf_job_slow_down(throttle->job, percent);
    else if (throttle->how == PF_THROTTLE_CGROUP)
        error = pf_cpu_limit_set(&throttle->cpu, percent, why);
    else
        pf_freezer_set(&throttle->freezer, percent);
    if (error)
        close_means(throttle);
    else
        throttle->percent = percent;
    return error;
}

void pf_throttle_begin(struct pf_throttle *throttle, struct ferry_job *job)
{
    *throttle = (struct pf_throttle){.job = job, .since_ns = pf_now_ns()};
    pf_job_pace(job, true);
}

int pf_throttle_set(struct pf_throttle *throttle, unsigned how, unsigned percent,
                    struct pf_why *why)
{
    if (throttle->asked != how) {
        close_means(throttle);
        throttle->asked = how;
        throttle->tried = false;
    }
    if (how == PF_THROTTLE_OFF || percent == throttle->percent)
        return 0;
    if (!throttle->tried) {
        throttle->tried = true;
        int error = open_means(throttle, why);
        if (error)
            return error;
    }
    return throttle->how == PF_THROTTLE_OFF ? 0 : apply(throttle, percent, why);
}

uint64_t pf_throttle_pause_ns(const struct pf_throttle *throttle)
{
    uint64_t passed = atomic_load(&throttle->job->safepoints);
    return (pf_now_ns() - throttle->since_ns) / (passed ? passed : 1);
}

void pf_throttle_end(struct pf_throttle *throttle)
{
    if (!throttle->job)
        return;
    close_means(throttle);
    pf_job_pace(throttle->job, false);
    throttle->job = NULL;
}
