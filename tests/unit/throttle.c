/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * throttle.h and its three means. What needs a CPU controller or the freezer of cgroup v2 runs
 * where these are (in the VM; the freezer wherever cgroup v2 can be written), and is left out
 * elsewhere.
 */
#include "core/throttle/throttle.h"

#include "core/job/job.h"
#include "core/throttle/cgroup.h"
#include "tests/suite.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- names of groups ------------------------------------------------------------------------- */

static void paths_of_groups(void)
{
    char path[PATH_MAX];
    CU_ASSERT_EQUAL(pf_cgroup_path("/sys/fs/cgroup", "0::/\n", path), 0);
    CU_ASSERT_STRING_EQUAL(path, "/sys/fs/cgroup");
    const char *both = "4:memory:/a\n1:name=systemd:/b\n0::/user.slice/a b\n";
    CU_ASSERT_EQUAL(pf_cgroup_path("/sys/fs/cgroup/unified", both, path), 0);
    CU_ASSERT_STRING_EQUAL(path, "/sys/fs/cgroup/unified/user.slice/a b");
    CU_ASSERT_EQUAL(pf_cgroup_path("/x", "4:memory:/a\n10::/b\n", path), -ENOENT);
    CU_ASSERT_EQUAL(pf_cgroup_path("/x", "", path), -ENOENT);
}

static void quotas(void)
{
    CU_ASSERT_EQUAL(pf_cpu_quota_us(1, 20, 100000), 80000);
    CU_ASSERT_EQUAL(pf_cpu_quota_us(4, 75, 100000), 100000);
    CU_ASSERT_EQUAL(pf_cpu_quota_us(1, 99, 100000), 1000);
    CU_ASSERT_EQUAL(pf_cpu_quota_us(0, 1000, 10000), 1000); /* the kernel takes no less */
}

/* ---- choosing -------------------------------------------------------------------------------- */

static struct ferry_job *open_job(void)
{
    struct ferry_job *job = NULL;
    CU_ASSERT_EQUAL_FATAL(ferry_job_open(&job, NULL), 0);
    CU_ASSERT_EQUAL(ferry_job_start(job), FERRY_FRESH);
    return job;
}

static void safe_points_are_taken_where_there_are_some(void)
{
    struct ferry_job *job = open_job();
    struct pf_throttle throttle = {.job = NULL};
    struct pf_why why = {""};
    pf_throttle_begin(&throttle, job);
    CU_ASSERT_EQUAL(ferry_job_safepoint(job), FERRY_CONTINUE);
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_AUTO, 0, &why), 0);
    CU_ASSERT_EQUAL(throttle.how, PF_THROTTLE_OFF);
    CU_ASSERT(pf_throttle_works(&throttle, PF_THROTTLE_AUTO));
    CU_ASSERT_FALSE(pf_throttle_works(&throttle, PF_THROTTLE_OFF));
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_AUTO, 20, &why), 0);
    CU_ASSERT_EQUAL(throttle.how, PF_THROTTLE_SAFEPOINT);
    CU_ASSERT_EQUAL(atomic_load(&job->safepoint_percent), 20);
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_AUTO, 30, &why), 0);
    CU_ASSERT_EQUAL(atomic_load(&job->safepoint_percent), 30);
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_OFF, 30, &why), 0);
    CU_ASSERT_EQUAL(throttle.percent, 0);
    CU_ASSERT_EQUAL(atomic_load(&job->safepoint_percent), 0);
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_SAFEPOINT, 40, &why), 0);
    pf_throttle_end(&throttle);
    CU_ASSERT_EQUAL(atomic_load(&job->safepoint_percent), 0);
    CU_ASSERT_EQUAL(atomic_load(&job->attention), 0);
    pf_throttle_end(&throttle);
    ferry_job_close(job);
}

/* Said once, not after each round; another wish is tried. This test has no child process. */
static void what_cannot_be_had_is_refused_once(void)
{
    struct ferry_job *job = open_job();
    struct pf_throttle throttle = {.job = NULL};
    struct pf_why why = {""};
    pf_throttle_begin(&throttle, job);
    CU_ASSERT(pf_throttle_set(&throttle, PF_THROTTLE_FREEZER, 20, &why) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "cgroup"));
    CU_ASSERT_EQUAL(throttle.percent, 0);
    CU_ASSERT_FALSE(pf_throttle_works(&throttle, PF_THROTTLE_FREEZER));
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_FREEZER, 30, &why), 0);
    CU_ASSERT_EQUAL(throttle.percent, 0);
    CU_ASSERT(pf_throttle_works(&throttle, PF_THROTTLE_SAFEPOINT));
    CU_ASSERT_EQUAL(pf_throttle_set(&throttle, PF_THROTTLE_SAFEPOINT, 30, &why), 0);
    CU_ASSERT_EQUAL(throttle.percent, 30);
    pf_throttle_end(&throttle);
    ferry_job_close(job);
}

static void time_to_a_safe_point(void)
{
    struct ferry_job *job = open_job();
    struct pf_throttle throttle = {.job = NULL};
    pf_throttle_begin(&throttle, job);
    uint64_t second = 1000000000;
    throttle.since_ns -= second;
    CU_ASSERT(pf_throttle_pause_ns(&throttle) >= second);
    atomic_store(&job->safepoints, 1000000000);
    CU_ASSERT(pf_throttle_pause_ns(&throttle) < second);
    pf_throttle_end(&throttle);
    ferry_job_close(job);
}

/* ---- the CPU limit --------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    atomic_bool stop, seen;
    const char *name;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    pthread_setname_np(pthread_self(), worker->name);
    atomic_store(&worker->seen, true);
    while (!atomic_load(&worker->stop))
        sched_yield();
    return NULL;
}

static void start_worker(struct worker *worker)
{
    CU_ASSERT_EQUAL_FATAL(pthread_create(&worker->thread, NULL, work, worker), 0);
    while (!atomic_load(&worker->seen))
        sched_yield();
}

static void stop_worker(struct worker *worker)
{
    atomic_store(&worker->stop, true);
    pthread_join(worker->thread, NULL);
}

static unsigned lines_of(const char *directory, const char *file)
{
    char text[4096];
    unsigned lines = 0;
    CU_ASSERT_EQUAL_FATAL(pf_cgroup_read(directory, file, text, sizeof text), 0);
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    return lines;
}

static unsigned long throttled_periods(const char *group)
{
    char text[4096];
    unsigned long count = 0;
    CU_ASSERT_EQUAL_FATAL(pf_cgroup_read(group, "cpu.stat", text, sizeof text), 0);
    const char *at = strstr(text, "nr_throttled ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    CU_ASSERT_EQUAL(sscanf(at, "nr_throttled %lu", &count), 1);
    return count;
}

/* The job's thread is held back, the engine's is not even in the group, and all ends as it was. */
static void limits_the_jobs_threads_alone(void)
{
    struct worker job = {.name = "worker"};
    struct worker engine = {.name = "pf-mover"};
    struct pf_cpu_limit limit = {.made = false};
    struct pf_why why = {""};
    char text[64];
    char path[PATH_MAX];
    start_worker(&job);
    start_worker(&engine);
    int error = pf_cpu_limit_open(&limit, &why);
    if (error) {
        CU_ASSERT_NOT_EQUAL(why.text[0], '\0');
        CU_ASSERT_FALSE(limit.made);
        printf("(no CPU controller: %s) ", why.text);
    } else {
        CU_ASSERT_EQUAL(lines_of(limit.group, "cgroup.threads"), 2); /* this one, and job */
        CU_ASSERT_EQUAL(limit.threads, 2);
        CU_ASSERT_EQUAL(pf_cpu_limit_set(&limit, 90, &why), 0);
        CU_ASSERT_EQUAL(pf_cgroup_read(limit.group, "cpu.max", text, sizeof text), 0);
        CU_ASSERT_STRING_NOT_EQUAL(text, "max 100000\n");
        while (throttled_periods(limit.group) == 0)
            sched_yield();
        struct worker born = {.name = "later"}; /* where who started it is */
        start_worker(&born);
        CU_ASSERT_EQUAL(lines_of(limit.group, "cgroup.threads"), 3);
        stop_worker(&born);
        pf_cpu_limit_close(&limit);
        CU_ASSERT_EQUAL(access(limit.group, F_OK), -1);
        CU_ASSERT_EQUAL(pf_cgroup_of("self", path, &why), 0);
        CU_ASSERT_STRING_EQUAL(path, limit.home);
    }
    pf_cpu_limit_close(&limit);
    stop_worker(&job);
    stop_worker(&engine);
}

/* ---- the freezer ----------------------------------------------------------------------------- */

struct child {
    pid_t pid;
    char group[PATH_MAX + 32];
};

/* A process in a group of its own. False: that can't be made here. */
static bool start_child(struct child *child)
{
    char home[PATH_MAX];
    char pid[16];
    *child = (struct child){.pid = 0};
    if (pf_cgroup_of("self", home, NULL))
        return false;
    snprintf(child->group, sizeof child->group, "%s/pf-test.%d", home, (int)getpid());
    if (mkdir(child->group, 0755) < 0)
        return false;
    child->pid = fork();
    if (child->pid == 0)
        for (;;)
            pause();
    snprintf(pid, sizeof pid, "%d", (int)child->pid);
    CU_ASSERT_EQUAL(pf_cgroup_write(child->group, "cgroup.procs", pid), 0);
    return true;
}

static void end_child(struct child *child)
{
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    while (rmdir(child->group) < 0 && errno == EBUSY)
        sched_yield();
}

static bool is_frozen(const struct child *child)
{
    char text[128] = "";
    pf_cgroup_read(child->group, "cgroup.freeze", text, sizeof text);
    return text[0] == '1';
}

static void freezes_child_processes(void)
{
    struct child child;
    struct pf_freezer freezer = {.started = false};
    struct pf_why why = {""};
    if (!start_child(&child)) {
        printf("(no cgroup v2 to write to) ");
        return;
    }
    CU_ASSERT_EQUAL_FATAL(pf_freezer_open(&freezer, &why), 0);
    pf_freezer_set(&freezer, 90);
    while (!is_frozen(&child))
        sched_yield();
    while (is_frozen(&child)) /* in turns */
        sched_yield();
    while (!is_frozen(&child))
        sched_yield();
    pf_freezer_close(&freezer);
    CU_ASSERT_FALSE(is_frozen(&child));
    pf_freezer_close(&freezer);
    end_child(&child);
}

/* A child process beside the job would stop the engine with it. */
static void refuses_the_jobs_own_group(void)
{
    struct pf_freezer freezer = {.started = false};
    struct pf_why why = {""};
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    CU_ASSERT(pf_freezer_open(&freezer, &why) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "cgroup"));
    CU_ASSERT_FALSE(freezer.started);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* And one with a stranger in its group would stop that one as well. */
static void refuses_strangers(void)
{
    struct child child;
    struct pf_freezer freezer = {.started = false};
    struct pf_why why = {""};
    int pipe_fds[2];
    char text[16] = "";
    if (!start_child(&child))
        return;
    CU_ASSERT_EQUAL_FATAL(pipe(pipe_fds), 0);
    pid_t between = fork(); /* its child is nobody's when it has ended */
    if (between == 0) {
        pid_t stranger = fork();
        if (stranger == 0)
            for (;;)
                pause();
        dprintf(pipe_fds[1], "%d", (int)stranger);
        _exit(0);
    }
    waitpid(between, NULL, 0);
    CU_ASSERT(read(pipe_fds[0], text, sizeof text - 1) > 0);
    CU_ASSERT_EQUAL(pf_cgroup_write(child.group, "cgroup.procs", text), 0);
    CU_ASSERT_EQUAL(pf_freezer_open(&freezer, &why), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "others"));
    kill((pid_t)strtol(text, NULL, 10), SIGKILL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    end_child(&child);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"paths_of_groups", paths_of_groups},
        {"quotas", quotas},
        {"safe_points_are_taken_where_there_are_some", safe_points_are_taken_where_there_are_some},
        {"what_cannot_be_had_is_refused_once", what_cannot_be_had_is_refused_once},
        {"time_to_a_safe_point", time_to_a_safe_point},
        {"limits_the_jobs_threads_alone", limits_the_jobs_threads_alone},
        {"freezes_child_processes", freezes_child_processes},
        {"refuses_the_jobs_own_group", refuses_the_jobs_own_group},
        {"refuses_strangers", refuses_strangers},
        {NULL, NULL},
    };
    return pf_suite_run("throttle", tests, argc > 1 ? argv[1] : NULL);
}
