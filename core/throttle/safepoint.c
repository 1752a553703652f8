/* SPDX-License-Identifier: BSD-2-Clause */
/* What a job's thread does at a safe point: goes on, sleeps a little, or stops. See job.h. */
#include "core/job/job.h"

#include "base/clock.h"
#include "core/session/session.h"

/* A migration that fails before it wants the job leaves it where it is, for the next one. */
static void hold(struct ferry_job *job)
{
    if (--job->hold > 0)
        return;
    pthread_mutex_lock(&job->lock);
    while (!(atomic_load(&job->attention) & PF_ATTEND_PAUSE))
        pthread_cond_wait(&job->changed, &job->lock);
    pthread_mutex_unlock(&job->lock);
}

/* For how long, from now on; 0 as soon as somebody wants the job, or gives up wanting it. */
static uint64_t sleep_ns(struct ferry_job *job, uint64_t now_ns, unsigned percent)
{
    bool wanted = (atomic_load(&job->attention) & PF_ATTEND_PAUSE) || atomic_load(&job->cancel);
    return wanted || percent == 0 ? 0 : pf_debt_due(&job->debt, now_ns, percent);
}

static void wait_until(struct ferry_job *job, uint64_t ns)
{
    struct timespec until = {
        .tv_sec = (time_t)(ns / 1000000000),
        .tv_nsec = (long)(ns % 1000000000),
    };
    pthread_cond_timedwait(&job->changed, &job->lock, &until);
}

/* All wake-ups come by the condition; which of them it was is seen by looking again. */
static void sleep_off(struct ferry_job *job)
{
    uint64_t now = pf_now_ns();
    unsigned percent = atomic_load(&job->safepoint_percent);
    uint64_t ns = sleep_ns(job, now, percent);
    if (ns == 0)
        return;
    pthread_mutex_lock(&job->lock);
    while ((percent = atomic_load(&job->safepoint_percent)) > 0 &&
           (ns = sleep_ns(job, now, percent)) > 0) {
        wait_until(job, now + ns);
        now = pf_now_ns();
        pf_debt_slept(&job->debt, now, percent);
    }
    pthread_mutex_unlock(&job->lock);
}

static void keep_pace(struct ferry_job *job)
{
    atomic_fetch_add_explicit(&job->safepoints, 1, memory_order_relaxed);
    if (atomic_load_explicit(&job->safepoint_percent, memory_order_relaxed) > 0)
        sleep_off(job);
    else
        pf_debt_forget(&job->debt);
}

static int stop(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    if ((atomic_load(&job->attention) & PF_ATTEND_PAUSE) && job->verdict != PF_VERDICT_MOVED) {
        job->verdict = PF_VERDICT_NONE;
        job->paused = true;
        if (job->session)
            pf_session_wake(job->session);
        while (job->verdict == PF_VERDICT_NONE)
            pthread_cond_wait(&job->changed, &job->lock);
        job->paused = false;
    }
    bool moved = job->verdict == PF_VERDICT_MOVED;
    pthread_mutex_unlock(&job->lock);
    return moved ? FERRY_MOVED : FERRY_CONTINUE;
}

int ferry_job_safepoint(struct ferry_job *job)
{
    if (job->hold > 0)
        hold(job);
    unsigned attention = atomic_load_explicit(&job->attention, memory_order_acquire);
    if (attention == 0)
        return FERRY_CONTINUE;
    if (attention & PF_ATTEND_PACE) {
        keep_pace(job);
        attention = atomic_load(&job->attention);
    }
    if (attention & PF_ATTEND_PAUSE)
        return stop(job);
    return FERRY_CONTINUE;
}
