/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/steer.h"

#include "core/encode/squeeze.h"
#include "core/session/session.h"
#include "pageferry.h"

#include <errno.h>
#include <string.h>

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

/* With the lock held. All knobs but the limit on bytes a second are about rounds. */
static int check_course(const struct ferry_job *job, const char *option, struct pf_why *why)
{
    if (job->course == PF_COURSE_ROUNDS || strcmp(option, "bandwidth") == 0)
        return 0;
    return pf_why(why, -EBUSY, "option %s can't change any more: %s. Only bandwidth can", option,
                  job->course == PF_COURSE_SETTLED
                      ? "the rounds are over, and the job is being switched"
                      : "this migration began without rounds of pre-copy");
}

/* With the lock held. */
static int check_knob(const struct ferry_job *job, const char *option, struct pf_why *why)
{
    char names[240];
    int index = pf_options_find(option);
    if (index < 0)
        return 0; /* refused by its name */
    if (pf_knob_is((unsigned)index))
        return check_course(job, option, why);
    pf_knob_names(names, sizeof names);
    return pf_why(why, -EBUSY, "option %s can't change while a migration runs; these can: %s",
                  option, names);
}

int pf_job_check_squeeze(const struct ferry_job *job, const struct pf_options *options,
                         struct pf_why *why)
{
    if (options->fewer_bytes == PF_FEWER_BYTES_AUTO)
        return 0;
    int error = pf_squeeze_check(options->compress, pf_squeeze_built(), false, why);
    return error ? error : pf_squeeze_check(options->compress, job->peer_squeezes, true, why);
}

/* With the lock held: a change that would have no effect is none. */
static int check_shorter(const struct ferry_job *job, const struct pf_options *changed,
                         struct pf_why *why)
{
    const struct pf_options *now = &job->options;
    bool other = changed->compress != now->compress || changed->xbzrle != now->xbzrle;
    if (other && changed->fewer_bytes == PF_FEWER_BYTES_AUTO)
        return pf_why(why, -EINVAL,
                      "with fewer-bytes auto the engine decides about compress and xbzrle: set "
                      "fewer-bytes=manual as well");
    return pf_job_check_squeeze(job, changed, why);
}

/* With the lock held. */
static int check_all(const struct ferry_job *job, const struct pf_option_change *changes,
                     unsigned count, bool idle, struct pf_options *changed, struct pf_why *why)
{
    int error = check_time(job, idle, why);
    *changed = job->options;
    for (unsigned i = 0; i < count && !error; i++) {
        error = job->migrating ? check_knob(job, changes[i].option, why) : 0;
        if (!error)
            error = pf_options_set(changed, changes[i].option, changes[i].value, why);
    }
    if (!error && job->migrating)
        error = check_shorter(job, changed, why);
    return error ? error : pf_options_agree(changed, why);
}

int pf_job_change_locked(struct ferry_job *job, const struct pf_option_change *changes,
                         unsigned count, bool idle, struct pf_why *why)
{
    struct pf_options changed;
    int error = check_all(job, changes, count, idle, &changed, why);
    if (error)
        return error;
    /* One by one: engine threads read the other options without the lock. */
    for (unsigned i = 0; i < count; i++)
        pf_options_set(&job->options, changes[i].option, changes[i].value, NULL);
    pf_knobs_fill(&job->knobs, &changed);
    if (job->session)
        pf_session_wake(job->session);
    return 0;
}

int pf_job_change(struct ferry_job *job, const struct pf_option_change *changes, unsigned count,
                  struct pf_why *why)
{
    pthread_mutex_lock(&job->lock);
    int error = pf_job_change_locked(job, changes, count, false, why);
    pthread_mutex_unlock(&job->lock);
    return error;
}

int ferry_job_change(struct ferry_job *job, const char *option, const char *value)
{
    struct pf_why why = {""};
    struct pf_option_change change = {option, value};
    if (!option || !value)
        return -EINVAL;
    int error = pf_job_change(job, &change, 1, &why);
    if (error)
        pf_job_note_failure(job, &why);
    return error;
}

/* ---- the course ------------------------------------------------------------------------------ */

enum pf_course pf_course_of(const struct pf_options *options)
{
    bool rounds = options->mode != PF_MODE_POSTCOPY && options->fetch != PF_FETCH_READ;
    return rounds ? PF_COURSE_ROUNDS : PF_COURSE_NO_ROUNDS;
}

bool pf_job_settle(struct ferry_job *job, unsigned mode, bool finish)
{
    pthread_mutex_lock(&job->lock);
    bool settled = pf_knob(&job->knobs.mode) == mode && !(finish && atomic_load(&job->switch_now));
    if (settled)
        job->course = PF_COURSE_SETTLED;
    pthread_mutex_unlock(&job->lock);
    return settled;
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
    if (job->committed || phase == PF_PHASE_DISCARD || phase == PF_PHASE_LISTENING ||
        job->course == PF_COURSE_SETTLED)
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
