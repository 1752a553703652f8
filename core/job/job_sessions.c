/* SPDX-License-Identifier: BSD-2-Clause */
/* What the migrations' threads tell the job, and ask of it. See job.h. */
#include "core/job/job.h"

#include "base/log.h"
#include "core/exit_status.h"
#include "core/job/agent.h"
#include "core/session/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void pf_job_report_rails(struct ferry_job *job, const struct pf_session *session)
{
    pthread_mutex_lock(&job->lock);
    job->rail_count = session->rail_count;
    for (unsigned i = 0; i < session->rail_count; i++) {
        const struct pf_rail *rail = &session->rails[i];
        struct pf_rail_report *report = &job->rails[i];
        strcpy(report->uri, rail->uri);
        report->nic = rail->nic;
        report->placement = rail->placement;
        report->bytes = atomic_load_explicit(&rail->bytes, memory_order_relaxed);
        report->alive = rail->state == PF_RAIL_UP;
    }
    pthread_mutex_unlock(&job->lock);
}

void pf_job_note(struct ferry_job *job, enum pf_note note, const char *format, ...)
{
    char text[PF_NOTE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&job->lock);
    strcpy(job->notes[note], text);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_end_round(struct ferry_job *job, const struct pf_round_record *round)
{
    pthread_mutex_lock(&job->lock);
    pf_round_log_add(&job->rounds, round);
    pthread_mutex_unlock(&job->lock);
    if (job->agent)
        pf_agent_wake(job->agent);
    pf_job_notify(job, FERRY_EVENT_ROUND, NULL);
}

void pf_job_want_pause(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->verdict = PF_VERDICT_NONE;
    atomic_fetch_or(&job->attention, PF_ATTEND_PAUSE);
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

bool pf_job_paused(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    bool paused = job->paused;
    pthread_mutex_unlock(&job->lock);
    return paused;
}

void pf_job_pace(struct ferry_job *job, bool on)
{
    pthread_mutex_lock(&job->lock);
    if (on)
        atomic_fetch_or(&job->attention, PF_ATTEND_PACE);
    else
        atomic_fetch_and(&job->attention, ~(unsigned)PF_ATTEND_PACE);
    atomic_store(&job->safepoints, 0);
    atomic_store(&job->safepoint_percent, 0);
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_slow_down(struct ferry_job *job, unsigned percent)
{
    pthread_mutex_lock(&job->lock);
    atomic_store(&job->safepoint_percent, percent);
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_unpause(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->verdict = PF_VERDICT_CONTINUE;
    atomic_fetch_and(&job->attention, ~(unsigned)PF_ATTEND_PAUSE);
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_set_uri(struct ferry_job *job, const char *uri)
{
    pthread_mutex_lock(&job->lock);
    strncpy(job->uri, uri, sizeof job->uri - 1);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_attach_session(struct ferry_job *job, struct pf_session *session)
{
    pthread_mutex_lock(&job->lock);
    job->session = session;
    pthread_mutex_unlock(&job->lock);
}

int pf_job_notify(struct ferry_job *job, enum ferry_event event, struct pf_why *why)
{
    for (unsigned i = 0; i < job->notifier_count; i++) {
        const struct pf_notifier *notifier = &job->notifiers[i];
        char reason[160] = "no reason given";
        int error = notifier->notify(notifier->ctx, event, reason, sizeof reason);
        reason[sizeof reason - 1] = '\0';
        if (error && event == FERRY_EVENT_PROBE)
            return pf_why(why, error < 0 ? error : -ECANCELED, "a part of the job objects: %s",
                          reason);
    }
    return 0;
}

int pf_job_commit(struct ferry_job *job, struct pf_why *why)
{
    pthread_mutex_lock(&job->lock);
    job->committed = !atomic_load(&job->cancel);
    bool committed = job->committed;
    pthread_mutex_unlock(&job->lock);
    return committed ? 0 : pf_why(why, -ECANCELED, "the migration was cancelled");
}

void pf_job_uncommit(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->committed = false;
    pthread_mutex_unlock(&job->lock);
}

void pf_job_arrive(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->arrived = true;
    pf_job_set_phase(job, PF_PHASE_POSTCOPY);
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

/* Nothing is to be expected any more. */
static void forget_estimates(struct pf_counters *counters)
{
    pf_count_set(&counters->eta_ms, 0);
    pf_count_set(&counters->expected_downtime_us, 0);
    pf_count_set(&counters->remaining_bytes, 0);
}

static void note_outcome(struct ferry_job *job, int error, int exit_status,
                         const struct pf_why *why)
{
    forget_estimates(&job->counters);
    pthread_mutex_lock(&job->lock);
    if (error)
        job->why = job->outcome.why = *why;
    if (!job->destination && error && job->refused)
        job->options = job->before; /* no engine thread runs any more that could read them */
    job->outcome.error = error;
    job->outcome.exit_status = exit_status;
    job->outcome.ended = true;
    pthread_mutex_unlock(&job->lock);
    if (!job->agent)
        return;
    /* Whoever waits hears it before the job goes on: it may end the process. */
    pf_agent_wake(job->agent);
    pf_agent_flush(job->agent);
}

void pf_job_end_migration(struct ferry_job *job, int error, int exit_status,
                          const struct pf_why *why, enum pf_verdict verdict)
{
    note_outcome(job, error, exit_status, why);
    pthread_mutex_lock(&job->lock);
    if (job->destination && !job->arrived)
        job->arrival_error = error;
    /* A job that has moved stays moved: every safe point it still comes to says so. */
    atomic_store(&job->attention, verdict == PF_VERDICT_MOVED ? PF_ATTEND_PAUSE : 0);
    atomic_store(&job->safepoint_percent, 0);
    job->verdict = verdict;
    job->migrating = job->committed = false;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

void pf_job_lost(struct ferry_job *job, int error, int exit_status, const struct pf_why *why)
{
    pf_job_set_phase(job, PF_PHASE_FAILED);
    pf_error("%s. The job cannot go on at either side with a right answer: ending this one (exit "
             "status %d)",
             why->text, exit_status);
    note_outcome(job, error, exit_status, why);
    _exit(exit_status);
}

const char *pf_phase_name(enum pf_phase phase)
{
    static const char *const names[] = {
        [PF_PHASE_SETUP] = "setup",       [PF_PHASE_WAITING] = "waiting",
        [PF_PHASE_RUNNING] = "running",   [PF_PHASE_CONNECTING] = "connecting",
        [PF_PHASE_ADVISE] = "advise",     [PF_PHASE_PRECOPY] = "precopy",
        [PF_PHASE_DISCARD] = "discard",   [PF_PHASE_LISTENING] = "listening",
        [PF_PHASE_POSTCOPY] = "postcopy", [PF_PHASE_COMPLETE] = "complete",
        [PF_PHASE_FAILED] = "failed",
    };
    return names[phase];
}
