/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/steer.h"

#include "core/job.h"
#include "core/session.h"
#include "pageferry.h"

#include <errno.h>

/* ---- options --------------------------------------------------------------------------------- */

/* With the lock held: what stands in the way of changing anything at all. */
static int check_time(const struct ferry_job *job, bool idle, struct pf_why *why)
{
    if (atomic_load(&job->phase) == PF_PHASE_SETUP)
        return pf_why(why, -EBUSY, "the job has not started");
    if (!job->migrating)
        return 0;
    if (idle)
        return pf_why(why, -EBUSY, "a migration is under way");
    if (job->destination)
        return pf_why(why, -EBUSY,
                      "the job is arriving here: change options at its source, or once it is "
                      "complete");
    return 0;
}

static int check_knob(const char *option, struct pf_why *why)
{
    char names[200];
    int index = pf_options_find(option);
    if (index < 0 || pf_knob_is((unsigned)index))
        return 0; /* an unknown one is refused by its name */
    pf_knob_names(names, sizeof names);
    return pf_why(why, -EBUSY, "option %s can't change while a migration runs; these can: %s",
                  option, names);
}

/* With the lock held. */
static int check_all(const struct ferry_job *job, const struct pf_change *changes, unsigned count,
                     bool idle, struct pf_options *changed, struct pf_why *why)
{
    int error = check_time(job, idle, why);
    *changed = job->options;
    for (unsigned i = 0; i < count && !error; i++) {
        error = job->migrating ? check_knob(changes[i].option, why) : 0;
        if (!error)
            error = pf_options_set(changed, changes[i].option, changes[i].value, why);
    }
    return error ? error : pf_options_agree(changed, why);
}

int pf_job_change(struct ferry_job *job, const struct pf_change *changes, unsigned count, bool idle,
                  struct pf_why *why)
{
    struct pf_options changed;
    pthread_mutex_lock(&job->lock);
    int error = check_all(job, changes, count, idle, &changed, why);
    if (!error) {
        /* One by one: engine threads read the other options without the lock. */
        for (unsigned i = 0; i < count; i++)
            pf_options_set(&job->options, changes[i].option, changes[i].value, NULL);
        pf_knobs_fill(&job->knobs, &changed);
        if (job->session)
            pf_session_wake(job->session);
    }
    pthread_mutex_unlock(&job->lock);
    return error;
}

int ferry_job_change(struct ferry_job *job, const char *option, const char *value)
{
    struct pf_why why = {""};
    struct pf_change change = {option, value};
    if (!option || !value)
        return -EINVAL;
    int error = pf_job_change(job, &change, 1, false, &why);
    if (error)
        pf_job_note_failure(job, &why);
    return error;
}

/* ---- the switch ------------------------------------------------------------------------------ */

/* With the lock held. */
static int check_switch(const struct ferry_job *job, struct pf_why *why)
{
    int phase = atomic_load(&job->phase);
    if (!job->migrating)
        return pf_why(why, -ESRCH, "no migration is under way");
    if (job->destination)
        return pf_why(why, -EINVAL, "the job is arriving here: the switch is its source's");
    if (phase == PF_PHASE_POSTCOPY || phase == PF_PHASE_COMPLETE)
        return pf_why(why, -EALREADY, "post-copy has begun: the job runs at the destination");
    if (job->committed || phase == PF_PHASE_DISCARD || phase == PF_PHASE_LISTENING)
        return pf_why(why, -EALREADY, "the job is being switched already");
    if (job->options.fetch == PF_FETCH_READ)
        return pf_why(why, -ENOTSUP,
                      "with --fetch read all memory follows the job: there are no rounds to end");
    return 0;
}

int pf_job_switch(struct ferry_job *job, struct pf_why *why)
{
    pthread_mutex_lock(&job->lock);
    int error = check_switch(job, why);
    if (!error)
        atomic_store(&job->switch_now, true);
    if (!error && job->session)
        pf_session_wake(job->session);
    pthread_mutex_unlock(&job->lock);
    return error;
}

int ferry_job_switch(struct ferry_job *job)
{
    struct pf_why why = {""};
    int error = pf_job_switch(job, &why);
    if (error)
        pf_job_note_failure(job, &why);
    return error;
}
