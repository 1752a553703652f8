/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_freezer URI: a job whose child process does the work, in a cgroup of its own, and writes
 * faster than the link carries. The child is frozen for a part of the time, the migration comes to
 * an end, and the child is thawed for good.
 */
#include "base/clock.h"
#include "core/job/job.h"
#include "core/throttle/cgroup.h"
#include "tests/e2e/rig.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECES = 16, PIECE = 64, WORDS = RIG_PAGE / sizeof(uint64_t) };

struct memory {
    uint64_t *words; /* shared with the child */
    uint64_t step;
};

struct child {
    pid_t pid;
    int orders, answers; /* pipes: a byte for each step */
    char group[PATH_MAX + 32];
};

/* ---- the child ------------------------------------------------------------------------------- */

static size_t first_page(uint64_t step)
{
    return step % PIECES * PIECE;
}

/* A millisecond's work, and then 256 KiB of results: thirty times what the link carries. */
static void work(const struct memory *memory, uint64_t step)
{
    uint64_t until_ns = pf_now_ns() + 1000000;
    while (pf_now_ns() < until_ns)
        continue;
    for (size_t page = first_page(step); page < first_page(step) + PIECE; page++)
        memory->words[page * WORDS] = memory->words[page * WORDS + WORDS - 1] = step + page;
}

static void run_child(const struct memory *memory, int orders, int answers)
{
    uint64_t step;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(orders, &step, sizeof step) == sizeof step) {
        work(memory, step);
        if (write(answers, &step, 1) != 1)
            break;
    }
    _exit(0);
}

/* False: there is no cgroup to be made here. */
static bool make_group(struct child *child)
{
    char home[PATH_MAX];
    if (pf_cgroup_of("self", home, NULL))
        return false;
    snprintf(child->group, sizeof child->group, "%s/pf-freezer.%d", home, (int)getpid());
    return mkdir(child->group, 0755) == 0;
}

static void start_child(struct child *child, const struct memory *memory)
{
    int orders[2];
    int answers[2];
    char pid[16];
    if (pipe(orders) || pipe(answers) || (child->pid = fork()) < 0)
        _exit(94);
    if (child->pid == 0) {
        close(orders[1]);
        run_child(memory, orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    child->orders = orders[1];
    child->answers = answers[0];
    snprintf(pid, sizeof pid, "%d", (int)child->pid);
    if (pf_cgroup_write(child->group, "cgroup.procs", pid))
        _exit(93);
}

static void end_child(struct rig_side *side, struct child *child)
{
    char frozen[16] = "";
    pf_cgroup_read(child->group, "cgroup.freeze", frozen, sizeof frozen);
    rig_say(side, "frozen %s", frozen);
    close(child->orders);
    waitpid(child->pid, NULL, 0);
    while (rmdir(child->group) < 0 && errno == EBUSY)
        sched_yield();
}

/* ---- the job --------------------------------------------------------------------------------- */

/* The child takes a step, and is done with it: between two of them it touches nothing. */
static void take_step(struct rig_side *side, struct memory *memory, const struct child *child)
{
    char answer;
    uint64_t step = memory->step + 1;
    if (write(child->orders, &step, sizeof step) != sizeof step ||
        read(child->answers, &answer, 1) != 1)
        _exit(92);
    memory->step = step;
    /* No tracker sees what another process writes. */
    ferry_job_dirty(side->job, memory->words + first_page(step) * WORDS, PIECE * RIG_PAGE);
}

static bool moving(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    bool is = job->migrating;
    pthread_mutex_unlock(&job->lock);
    return is;
}

static void say_throttle(struct rig_side *side)
{
    struct ferry_job *job = side->job;
    unsigned most = 0;
    pthread_mutex_lock(&job->lock);
    for (unsigned i = 0; i < job->rounds.rounds && i < PF_ROUND_LOG_MAX; i++)
        most = job->rounds.list[i].throttle > most ? job->rounds.list[i].throttle : most;
    rig_say(side, "throttled %u", most);
    rig_say(side, "note %s", job->notes[PF_NOTE_THROTTLED]);
    pthread_mutex_unlock(&job->lock);
}

static int leave(struct rig_side *side, struct memory *memory)
{
    struct child child = {.pid = 0};
    int how = FERRY_CONTINUE;
    if (!make_group(&child)) {
        rig_say(side, "no-cgroup");
        return rig_close(side);
    }
    start_child(&child, memory);
    for (unsigned i = 0; i < PIECES; i++)
        take_step(side, memory, &child);
    if (ferry_job_migrate(side->job, side->uri) < 0)
        return 91;
    while (how == FERRY_CONTINUE && moving(side->job)) {
        how = ferry_job_safepoint(side->job);
        if (how == FERRY_CONTINUE)
            take_step(side, memory, &child);
    }
    say_throttle(side);
    end_child(side, &child);
    return how == FERRY_MOVED ? rig_close(side) : 1;
}

static uint64_t wrong_pages(const struct memory *memory)
{
    uint64_t wrong = 0;
    for (uint64_t step = memory->step - PIECES + 1; step <= memory->step; step++)
        for (size_t page = first_page(step); page < first_page(step) + PIECE; page++)
            wrong += memory->words[page * WORDS] != step + page ||
                     memory->words[page * WORDS + WORDS - 1] != step + page;
    return wrong;
}

static int working_job(struct rig_side *side)
{
    struct memory memory = {.step = 0};
    rig_open(side);
    memory.words = ferry_job_alloc(side->job, "memory", PIECES * PIECE * RIG_PAGE, 0, FERRY_SHARED);
    if (!memory.words || ferry_job_state(side->job, &memory.step, sizeof memory.step) < 0)
        return 96;
    int how = rig_start(side);
    if (how == FERRY_FRESH)
        return leave(side, &memory);
    if (how == FERRY_ARRIVED)
        rig_say(side, "answer %llu", (unsigned long long)wrong_pages(&memory));
    return rig_close(side);
}

/* ---- the test -------------------------------------------------------------------------------- */

/* The downtime that is allowed is the shortest there is: all of the memory does not fit. */
static void frozen_job_converges(void)
{
    static const char *const options[] = {
        "mode",     "precopy", "bandwidth",        "8M", "downtime",      "1",  "max-rounds", "0",
        "throttle", "freezer", "throttle-initial", "60", "throttle-step", "39", NULL};
    struct rig_run run;
    rig_begin(&run, &(struct rig_setup){.body = working_job, .source_options = options});
    rig_finish(&run.source);
    if (rig_mentions(&run.source, "no-cgroup")) {
        printf("(no cgroup v2 to write to) ");
        rig_kill(&run.destination);
        return;
    }
    CU_ASSERT(rig_number(&run.source, "throttled") >= 60);
    CU_ASSERT(rig_mentions(&run.source, "note by "));
    CU_ASSERT_EQUAL(rig_number(&run.source, "frozen"), 0);
    rig_assert_moved(&run, 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"frozen_job_converges", frozen_job_converges},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI, for example %s tcp://127.0.0.1:0\n", argv[0], argv[0]);
        return 2;
    }
    return pf_suite_run(argv[1], tests, NULL);
}
