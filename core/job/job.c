/* SPDX-License-Identifier: BSD-2-Clause */
/* The public API. */
#include "core/job/job.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/clients/clients.h"
#include "core/job/agent.h"
#include "core/job/steer.h"
#include "core/memory/backing.h"
#include "core/session/session.h"
#include "transport/uri.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One job per process: userfaultfd, signals and exit are the process's. */
static atomic_flag job_open = ATOMIC_FLAG_INIT;

void pf_job_note_failure(struct ferry_job *job, const struct pf_why *why)
{
    pthread_mutex_lock(&job->lock);
    job->why = *why;
    pthread_mutex_unlock(&job->lock);
}

static int failed(struct ferry_job *job, int error, const struct pf_why *why)
{
    pf_job_note_failure(job, why);
    pf_error("%s", why->text);
    return error;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int from_environment(struct ferry_job *job, const char *name, struct pf_why *why)
{
    pf_options_init(&job->options);
    int error = pf_options_from_environment(&job->options, why);
    if (error)
        return error;
    if (!name)
        name = getenv("PAGEFERRY_NAME");
    if (name && *name) {
        error = pf_job_name_check(name, why);
        if (error)
            return error;
        strcpy(job->name, name);
    }
    const char *incoming = getenv("PAGEFERRY_INCOMING");
    if (incoming && strlen(incoming) >= sizeof job->incoming)
        return pf_why(why, -EINVAL, "PAGEFERRY_INCOMING is longer than a list of addresses");
    strcpy(job->incoming, incoming ? incoming : "");
    const char *once = getenv("PAGEFERRY_ONCE");
    job->once = once && strcmp(once, "1") == 0;
    return 0;
}

/* A throttled job sleeps on it until a time by the clock that nobody sets. */
static void init_changed(struct ferry_job *job)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->changed, &attr);
    pthread_condattr_destroy(&attr);
}

int ferry_job_open(struct ferry_job **out, const char *name)
{
    struct pf_why why = {""};
    if (atomic_flag_test_and_set(&job_open)) {
        pf_error("this process has a job open already");
        return -EBUSY;
    }
    struct ferry_job *job = calloc(1, sizeof *job);
    int error = job ? from_environment(job, name, &why) : -ENOMEM;
    if (!error) {
        pthread_mutex_init(&job->lock, NULL);
        init_changed(job);
        pf_job_set_phase(job, PF_PHASE_SETUP);
    }
    if (!error && job->name[0])
        error = pf_agent_open(&job->agent, job, &why);
    if (error) {
        pf_error("%s", job ? why.text : "no memory for a job");
        free(job);
        atomic_flag_clear(&job_open);
        return error;
    }
    *out = job;
    return 0;
}

int ferry_job_set(struct ferry_job *job, const char *option, const char *value)
{
    struct pf_why why = {""};
    if (job->started)
        return -EBUSY;
    int error = pf_options_set(&job->options, option, value, &why);
    return error ? failed(job, error, &why) : 0;
}

void *ferry_job_alloc(struct ferry_job *job, const char *name, size_t bytes, size_t page_size,
                      unsigned flags)
{
    struct pf_why why = {""};
    struct pf_region *region = NULL;
    int error;
    if (job->started)
        error = pf_why(&why, -EBUSY, "region \"%s\": the job has started", name);
    else
        error = pf_regions_map(&job->regions, name, bytes, page_size, flags, &region, &why);
    if (region)
        return region->addr;
    failed(job, error, &why);
    errno = -error;
    return NULL;
}

/* The whole pages inside go as pages, what is before and after them with the state. */
static int protect(struct ferry_job *job, const char *name, char *start, size_t bytes,
                   struct pf_why *why)
{
    struct pf_region memory = {.addr = start, .bytes = bytes};
    snprintf(memory.name, sizeof memory.name, "%s", name ? name : "");
    int error = pf_backing_of_memory(&memory, why);
    if (error)
        return error;
    char *end = start + bytes;
    uintptr_t mask = pf_region_page_size(&memory) - 1;
    char *inner = (char *)(((uintptr_t)start + mask) & ~mask);
    char *inner_end = (char *)((uintptr_t)end & ~mask);
    if (inner >= inner_end)
        inner = inner_end = end; /* no whole page inside */
    else
        error = pf_regions_add(&job->regions, name, inner, (size_t)(inner_end - inner),
                               memory.page_shift, why);
    if (!error)
        error = pf_state_add(&job->state, start, (size_t)(inner - start), why);
    return error ? error : pf_state_add(&job->state, inner_end, (size_t)(end - inner_end), why);
}

static int check_protected(const struct ferry_job *job, const char *name, const char *addr,
                           size_t bytes, struct pf_why *why)
{
    if (job->started)
        return pf_why(why, -EBUSY, "region \"%s\": the job has started", name);
    if (!addr || bytes == 0 || addr + bytes < addr)
        return pf_why(why, -EINVAL, "region \"%s\": no memory there", name);
    return 0;
}

int ferry_job_protect(struct ferry_job *job, const char *name, void *addr, size_t bytes)
{
    struct pf_why why = {""};
    int error = check_protected(job, name, addr, bytes, &why);
    if (!error)
        error = protect(job, name, addr, bytes, &why);
    return error ? failed(job, error, &why) : 0;
}

int ferry_job_protect_fd(struct ferry_job *job, const char *name, void *addr, size_t bytes, int fd,
                         uint64_t offset)
{
    struct pf_why why = {""};
    int error = check_protected(job, name, addr, bytes, &why);
    if (!error)
        error = pf_regions_add_file(&job->regions, name, addr, bytes, fd, offset, &why);
    return error ? failed(job, error, &why) : 0;
}

int ferry_job_state(struct ferry_job *job, void *addr, size_t bytes)
{
    struct pf_why why = {""};
    int error = job->started          ? pf_why(&why, -EBUSY, "state: the job has started")
                : !addr || bytes == 0 ? pf_why(&why, -EINVAL, "state: no memory there")
                                      : pf_state_add(&job->state, addr, bytes, &why);
    return error ? failed(job, error, &why) : 0;
}

int ferry_job_notify(struct ferry_job *job, ferry_notify_fn notify, void *ctx)
{
    if (job->started)
        return -EBUSY;
    if (!notify || job->notifier_count == PF_NOTIFIERS_MAX)
        return -EINVAL;
    job->notifiers[job->notifier_count++] = (struct pf_notifier){notify, ctx};
    return 0;
}

int ferry_job_receive(struct ferry_job *job, const char *uri,
                      void (*ready)(void *ctx, const char *uri), void *ctx)
{
    struct pf_why why = {""};
    struct pf_uri_list parsed;
    if (job->started)
        return -EBUSY;
    if (!uri)
        return failed(job, pf_why(&why, -EINVAL, "no address given"), &why);
    int error = pf_uri_list_parse(uri, &parsed, &why);
    if (error)
        return failed(job, error, &why);
    pthread_mutex_lock(&job->lock); /* a status may be asked for */
    strcpy(job->incoming, uri);
    pthread_mutex_unlock(&job->lock);
    job->ready = ready;
    job->ready_ctx = ctx;
    return 0;
}

/* ---- starting -------------------------------------------------------------------------------- */

/* With the lock held. */
static int start_session(struct ferry_job *job, void *(*body)(void *), struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    if (job->joinable)
        pthread_join(job->session_thread, NULL);
    job->joinable = false;
    atomic_store(&job->cancel, false);
    job->rounds.rounds = 0;
    job->committed = false;
    job->course = pf_course_of(&job->options);
    job->peer_squeezes = ~0u;
    job->outcome.serial++;
    job->outcome.ended = false;
    job->migrating = true;
    memset(job->notes, 0, sizeof job->notes);
    atomic_store(&job->switch_now, false);
    pf_knobs_fill(&job->knobs, &job->options);
    atomic_store(&job->began_ns, pf_now_ns());
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&job->session_thread, NULL, body, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        job->migrating = false;
        return pf_why(why, -error, "cannot start the control thread: %s", strerror(error));
    }
    job->joinable = true;
    pthread_setname_np(job->session_thread, "pf-control");
    return 0;
}

/* Other processes that share the job's memory find it by its name. */
static int open_clients(struct ferry_job *job, struct pf_why *why)
{
    char path[PATH_MAX];
    if (!job->name[0] || job->clients)
        return 0;
    int error = pf_clients_path(job->name, path, sizeof path, why);
    struct pf_clients_attr attr = {
        .job = job,
        .path = path,
        .kind = &pf_client_generic,
        .patience_ms = PF_CLIENT_PATIENCE_MS,
    };
    return error ? error : pf_clients_open(&job->clients, &attr, why);
}

static int start_arrival(struct ferry_job *job, struct pf_why *why)
{
    int failure = open_clients(job, why);
    if (failure)
        return failure;
    pthread_mutex_lock(&job->lock);
    strcpy(job->uri, job->incoming);
    job->destination = true;
    int error = start_session(job, pf_destination_thread, why);
    while (!error && !job->arrived)
        if (job->arrival_error)
            error = job->arrival_error;
        else
            pthread_cond_wait(&job->changed, &job->lock);
    if (error && job->arrival_error)
        *why = job->why;
    pthread_mutex_unlock(&job->lock);
    return error;
}

int ferry_job_start(struct ferry_job *job)
{
    struct pf_why why = {""};
    if (job->started)
        return -EBUSY;
    job->started = true;
    pf_count_set(&job->counters.total_bytes, pf_regions_bytes(&job->regions));
    int error = pf_job_make_marks(job, &why);
    if (error)
        return failed(job, error, &why);
    if (!job->incoming[0]) {
        job->hold = job->options.hold_at;
        pf_job_set_phase(job, PF_PHASE_RUNNING);
        return FERRY_FRESH;
    }
    error = start_arrival(job, &why);
    return error ? failed(job, error, &why) : FERRY_ARRIVED;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* With the lock held. */
static int check_departure(const struct ferry_job *job, struct pf_why *why)
{
    int phase = atomic_load(&job->phase);
    int error = pf_options_agree(&job->options, why);
    if (error)
        return error;
    if (job->closing)
        return pf_why(why, -ESRCH, "the job is ending");
    if (phase == PF_PHASE_COMPLETE)
        return pf_why(why, -ESRCH, "the job has moved away");
    if (job->migrating)
        return pf_why(why, -EBUSY,
                      job->destination ? "the job's own arrival has not completed"
                                       : "the job is being moved already");
    return phase == PF_PHASE_RUNNING ? 0 : pf_why(why, -EBUSY, "the job has not started");
}

/* With the lock held. */
static int start_departure(struct ferry_job *job, const char *uri, struct pf_why *why)
{
    int error = check_departure(job, why);
    if (error)
        return error;
    strcpy(job->uri, uri);
    job->destination = false;
    job->refused = true; /* unless it turns out otherwise */
    return start_session(job, pf_source_thread, why);
}

int pf_job_migrate(struct ferry_job *job, const char *uri, const struct pf_option_change *changes,
                   unsigned count, struct pf_why *why)
{
    struct pf_uri_list parsed;
    if (!uri)
        return pf_why(why, -EINVAL, "no address given");
    int error = pf_uri_list_parse(uri, &parsed, why);
    if (error)
        return error;
    pthread_mutex_lock(&job->lock);
    struct pf_options before = job->options;
    if (count > 0)
        error = pf_job_change_locked(job, changes, count, true, why);
    bool changed = count > 0 && !error;
    if (!error)
        error = start_departure(job, uri, why);
    if (error && changed)
        job->options = before; /* no engine thread runs that could read them */
    if (!error)
        job->before = before;
    pthread_mutex_unlock(&job->lock);
    return error;
}

int ferry_job_migrate(struct ferry_job *job, const char *uri)
{
    struct pf_why why = {""};
    int error = pf_job_migrate(job, uri, NULL, 0, &why);
    if (error)
        pf_job_note_failure(job, &why);
    return error;
}

int ferry_job_cancel(struct ferry_job *job)
{
    int error = 0;
    pthread_mutex_lock(&job->lock);
    int phase = atomic_load(&job->phase);
    if (!job->migrating)
        error = -ESRCH;
    else if (job->committed || phase == PF_PHASE_POSTCOPY || phase == PF_PHASE_COMPLETE)
        error = -EALREADY;
    else
        atomic_store(&job->cancel, true);
    if (!error)
        pthread_cond_broadcast(&job->changed);
    if (!error && job->session)
        pf_session_wake(job->session);
    pthread_mutex_unlock(&job->lock);
    return error;
}

/* ---- closing --------------------------------------------------------------------------------- */

/* An arrival has to complete; a departure that has not paused the job is given up. */
static int end_sessions(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->closing = true;
    bool arriving = job->migrating && job->destination;
    bool joinable = job->joinable;
    job->joinable = false;
    pthread_mutex_unlock(&job->lock);
    if (!arriving)
        ferry_job_cancel(job);
    if (joinable)
        pthread_join(job->session_thread, NULL);
    return arriving ? job->outcome.error : 0;
}

int ferry_job_close(struct ferry_job *job)
{
    int error = end_sessions(job);
    pf_clients_close(job->clients);
    if (job->agent)
        pf_agent_close(job->agent);
    pf_job_free_marks(job);
    pf_regions_unmap(&job->regions);
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    free(job);
    atomic_flag_clear(&job_open);
    return error;
}

const char *ferry_version(void)
{
    return PAGEFERRY_VERSION;
}
