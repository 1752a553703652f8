/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/throttle/cpu_limit.h"

#include "core/debt.h"
#include "core/throttle/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD_US = 100000, /* 99 % of one CPU leave the least quota that the kernel takes */
    QUOTA_LEAST_US = 1000,
    PASSES = 16, /* over threads that start or end meanwhile */
    REMOVE_TRIES = 100,
};

unsigned long pf_cpu_quota_us(unsigned cpus, unsigned percent, unsigned long period_us)
{
    unsigned allowed = percent < PF_DEBT_PERCENT_MAX ? 100 - percent : 100 - PF_DEBT_PERCENT_MAX;
    unsigned long quota = (cpus ? cpus : 1) * period_us / 100 * allowed;
    return quota > QUOTA_LEAST_US ? quota : QUOTA_LEAST_US;
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Threads of libraries that an engine thread uses inherit its name. */
static bool is_engine(const char *thread)
{
    char who[64];
    char name[32];
    snprintf(who, sizeof who, "/proc/self/task/%.20s", thread);
    return pf_cgroup_read(who, "comm", name, sizeof name) == 0 && strncmp(name, "pf-", 3) == 0;
}

static bool is_in(const char *thread, const char *group)
{
    char who[64];
    char path[PATH_MAX];
    snprintf(who, sizeof who, "self/task/%.20s", thread);
    return pf_cgroup_of(who, path, NULL) == 0 && strcmp(path, group) == 0;
}

/* Those that are not there yet: how many; or -errno. A thread that has ended is none. */
static int move_new_threads(const char *group)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int moved = 0;
    if (!tasks)
        return -errno;
    while (moved >= 0 && (entry = readdir(tasks))) { /* NOLINT(concurrency-mt-unsafe) */
        if (entry->d_name[0] == '.' || is_engine(entry->d_name) || is_in(entry->d_name, group))
            continue;
        int error = pf_cgroup_write(group, "cgroup.threads", entry->d_name);
        moved = error == 0 ? moved + 1 : error == -ESRCH ? moved : error;
    }
    closedir(tasks);
    return moved;
}

static int move_all_threads(struct pf_cpu_limit *limit)
{
    for (unsigned pass = 0; pass < PASSES; pass++) {
        int moved = move_new_threads(limit->group);
        if (moved <= 0)
            return moved;
        limit->threads += (unsigned)moved;
    }
    return 0;
}

/* Processes that the job forked meanwhile are in the list as well. False: none was there. */
static bool move_back(const struct pf_cpu_limit *limit)
{
    char threads[4096];
    char *rest = NULL;
    if (pf_cgroup_read(limit->group, "cgroup.threads", threads, sizeof threads) || !threads[0])
        return false;
    if (strlen(threads) == sizeof threads - 1) /* the last one may be cut off */
        *strrchr(threads, '\n') = '\0';
    for (char *at = strtok_r(threads, "\n", &rest); at; at = strtok_r(NULL, "\n", &rest))
        pf_cgroup_write(limit->home, "cgroup.threads", at);
    return true;
}

/* ---- the group ------------------------------------------------------------------------------- */

static int find_home(struct pf_cpu_limit *limit, struct pf_why *why)
{
    int error = pf_cgroup_of("self", limit->home, why);
    if (error)
        return error;
    if (!pf_cgroup_has(limit->home, "cgroup.controllers", "cpu"))
        return pf_why(why, -ENOTSUP,
                      "cgroup %.100s has no CPU controller: start the job in one that has (under "
                      "systemd: systemd-run --scope -p Delegate=cpu), or throttle it at its safe "
                      "points",
                      limit->home);
    int length =
        snprintf(limit->group, sizeof limit->group, "%s/pageferry.%d", limit->home, (int)getpid());
    return length < PATH_MAX ? 0 : pf_why(why, -ENAMETOOLONG, "its cgroup's path is too long");
}

static int make_group(struct pf_cpu_limit *limit)
{
    rmdir(limit->group); /* of a job that was killed and had our number */
    if (mkdir(limit->group, 0755) < 0)
        return -errno;
    limit->made = true;
    int error = pf_cgroup_write(limit->group, "cgroup.type", "threaded");
    if (!error && !pf_cgroup_has(limit->home, "cgroup.subtree_control", "cpu")) {
        error = pf_cgroup_write(limit->home, "cgroup.subtree_control", "+cpu");
        limit->enabled = !error;
    }
    return error;
}

int pf_cpu_limit_open(struct pf_cpu_limit *limit, struct pf_why *why)
{
    *limit = (struct pf_cpu_limit){.made = false};
    int error = find_home(limit, why);
    if (error)
        return error;
    error = make_group(limit);
    if (!error)
        error = move_all_threads(limit);
    if (error) {
        pf_why(why, error, "cannot put the job's threads into cgroup %.150s: %s", limit->group,
               strerror(-error));
        pf_cpu_limit_close(limit);
    }
    return error;
}

/* Threads that wait have no use for a CPU, but nobody says which do: count them all. */
static unsigned usable_cpus(const struct pf_cpu_limit *limit)
{
    cpu_set_t cpus;
    int known = sched_getaffinity(getpid(), sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return limit->threads < (unsigned)known ? limit->threads : (unsigned)known;
}

int pf_cpu_limit_set(const struct pf_cpu_limit *limit, unsigned percent, struct pf_why *why)
{
    char text[64] = "max";
    if (percent > 0)
        snprintf(text, sizeof text, "%lu %d",
                 pf_cpu_quota_us(usable_cpus(limit), percent, PERIOD_US), PERIOD_US);
    int error = pf_cgroup_write(limit->group, "cpu.max", text);
    return error ? pf_why(why, error, "cannot write \"%s\" to %.150s/cpu.max: %s", text,
                          limit->group, strerror(-error))
                 : 0;
}

/* A thread that is just ending keeps its group busy for a moment. */
static void remove_group(const struct pf_cpu_limit *limit)
{
    struct timespec moment = {.tv_nsec = 1000000};
    for (unsigned i = 0; i < REMOVE_TRIES; i++) {
        for (unsigned pass = 0; pass < PASSES && move_back(limit); pass++)
            continue;
        if (rmdir(limit->group) == 0 || errno != EBUSY)
            return;
        nanosleep(&moment, NULL);
    }
}

void pf_cpu_limit_close(struct pf_cpu_limit *limit)
{
    if (!limit->made)
        return;
    pf_cgroup_write(limit->group, "cpu.max", "max");
    remove_group(limit);
    if (limit->enabled)
        pf_cgroup_write(limit->home, "cgroup.subtree_control", "-cpu");
    limit->made = limit->enabled = false;
}
