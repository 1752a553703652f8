/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/throttle/freezer.h"

#include "base/clock.h"
#include "core/throttle/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PERIOD_NS = 100 * 1000000, DEPTH_MAX = 64 };

/* ---- the job's child processes --------------------------------------------------------------- */

/* 0: there is none, or it has ended and waits to be buried. */
static int parent_of(int pid)
{
    char who[32];
    char text[256];
    char state = 'Z';
    int parent = 0;
    snprintf(who, sizeof who, "/proc/%d", pid);
    if (pf_cgroup_read(who, "stat", text, sizeof text))
        return 0;
    const char *name_end = strrchr(text, ')'); /* the name may have anything in it */
    if (!name_end || sscanf(name_end + 1, " %c %d", &state, &parent) != 2)
        return 0;
    return state == 'Z' ? 0 : parent;
}

static bool is_ours(int pid)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        pid = parent_of(pid);
        if (pid == getpid())
            return true;
        if (pid <= 1)
            return false;
    }
    return false;
}

/* A child process's group must be that of all before it. */
static int take_child(struct pf_freezer *freezer, const char *pid, struct pf_why *why)
{
    char group[PATH_MAX];
    if (pf_cgroup_of(pid, group, NULL))
        return 0; /* it has just ended */
    if (freezer->group[0] && strcmp(group, freezer->group) != 0)
        return pf_why(why, -ENOTSUP,
                      "the job's child processes are in different cgroups: the freezer needs all "
                      "of them in one");
    strcpy(freezer->group, group);
    return 0;
}

static int find_children(struct pf_freezer *freezer, struct pf_why *why)
{
    DIR *processes = opendir("/proc");
    if (!processes)
        return pf_why(why, -errno, "cannot list /proc: %s", strerror(errno));
    int error = 0;
    struct dirent *entry;
    while (!error && (entry = readdir(processes))) { /* NOLINT(concurrency-mt-unsafe) */
        int pid = (int)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && is_ours(pid))
            error = take_child(freezer, entry->d_name, why);
    }
    closedir(processes);
    if (!error && !freezer->group[0])
        error = pf_why(why, -ENOTSUP,
                       "the freezer stops whole cgroups of processes, and this job has no child "
                       "process: throttle it at its safe points or by its CPU limit");
    return error;
}

/* ---- is it theirs alone? --------------------------------------------------------------------- */

static bool has_strangers(const char *group)
{
    char path[PATH_MAX + sizeof "/cgroup.procs"];
    char line[32];
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    FILE *processes = fopen(path, "re");
    bool strangers = !processes;
    while (!strangers && fgets(line, sizeof line, processes))
        strangers = !is_ours((int)strtol(line, NULL, 10));
    if (processes)
        fclose(processes);
    return strangers;
}

static bool has_groups_below(const char *group)
{
    char text[256];
    unsigned count = 0;
    if (pf_cgroup_read(group, "cgroup.stat", text, sizeof text))
        return true;
    return sscanf(text, "nr_descendants %u", &count) != 1 || count > 0;
}

static int check_group(const struct pf_freezer *freezer, struct pf_why *why)
{
    char home[PATH_MAX];
    size_t length = strlen(freezer->group);
    int error = pf_cgroup_of("self", home, why);
    if (error)
        return error;
    if (strncmp(home, freezer->group, length) == 0 && (home[length] == '/' || home[length] == '\0'))
        return pf_why(why, -ENOTSUP,
                      "the job's child processes are in its own cgroup, %.120s: the freezer would "
                      "stop pageferry as well. Start them in a cgroup of their own",
                      home);
    if (has_groups_below(freezer->group) || has_strangers(freezer->group))
        return pf_why(why, -ENOTSUP,
                      "others than the job's child processes are in their cgroup, %.120s: the "
                      "freezer would stop them, too",
                      freezer->group);
    return 0;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void freeze(const struct pf_freezer *freezer, bool frozen)
{
    pf_cgroup_write(freezer->group, "cgroup.freeze", frozen ? "1" : "0");
}

/* Until then, or until something changes. With the lock held. */
static void wait_ns(struct pf_freezer *freezer, uint64_t ns)
{
    uint64_t end = pf_now_ns() + ns;
    struct timespec until = {
        .tv_sec = (time_t)(end / 1000000000),
        .tv_nsec = (long)(end % 1000000000),
    };
    unsigned percent = freezer->percent;
    while (!freezer->stop && freezer->percent == percent)
        if (pthread_cond_timedwait(&freezer->changed, &freezer->lock, &until) == ETIMEDOUT)
            break;
}

static void *freezer_run(void *arg)
{
    struct pf_freezer *freezer = arg;
    pthread_mutex_lock(&freezer->lock);
    while (!freezer->stop) {
        uint64_t frozen_ns = (uint64_t)PERIOD_NS / 100 * freezer->percent;
        if (frozen_ns > 0) {
            freeze(freezer, true);
            wait_ns(freezer, frozen_ns);
            freeze(freezer, false);
        }
        wait_ns(freezer, PERIOD_NS - frozen_ns);
    }
    pthread_mutex_unlock(&freezer->lock);
    return NULL;
}

static int start(struct pf_freezer *freezer, struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&freezer->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&freezer->lock, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&freezer->thread, NULL, freezer_run, freezer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return pf_why(why, -error, "cannot start the freezer's thread: %s", strerror(error));
    pthread_setname_np(freezer->thread, "pf-freezer");
    freezer->started = true;
    return 0;
}

int pf_freezer_open(struct pf_freezer *freezer, struct pf_why *why)
{
    *freezer = (struct pf_freezer){.started = false};
    int error = find_children(freezer, why);
    if (!error)
        error = check_group(freezer, why);
    if (!error && pf_cgroup_write(freezer->group, "cgroup.freeze", "0"))
        error = pf_why(why, -EACCES, "cannot write to %.150s/cgroup.freeze", freezer->group);
    return error ? error : start(freezer, why);
}

void pf_freezer_set(struct pf_freezer *freezer, unsigned percent)
{
    pthread_mutex_lock(&freezer->lock);
    freezer->percent = percent < 99 ? percent : 99;
    pthread_cond_signal(&freezer->changed);
    pthread_mutex_unlock(&freezer->lock);
}

void pf_freezer_close(struct pf_freezer *freezer)
{
    if (!freezer->started)
        return;
    pthread_mutex_lock(&freezer->lock);
    freezer->stop = true;
    pthread_cond_signal(&freezer->changed);
    pthread_mutex_unlock(&freezer->lock);
    pthread_join(freezer->thread, NULL);
    pthread_mutex_destroy(&freezer->lock);
    pthread_cond_destroy(&freezer->changed);
    freezer->started = false;
}
