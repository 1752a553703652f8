/* SPDX-License-Identifier: BSD-2-Clause */
/* The job's thread and the throttle: a job that owes hours of sleep is back at once when wanted. */
#include "base/clock.h"
#include "core/job/job.h"
#include "tests/suite.h"

#include <sched.h>
#include <unistd.h>

static const int64_t hour_ns = 3600ll * 1000000000;

struct stand {
    struct ferry_job *job;
    pthread_t thread;
    int answer;
};

static void *come_to_a_safe_point(void *arg)
{
    struct stand *stand = arg;
    stand->answer = ferry_job_safepoint(stand->job);
    return NULL;
}

static void set_up(struct stand *stand)
{
    *stand = (struct stand){.answer = -1};
    CU_ASSERT_EQUAL_FATAL(ferry_job_open(&stand->job, NULL), 0);
    CU_ASSERT_EQUAL(ferry_job_start(stand->job), FERRY_FRESH);
}

/* For an hour. */
static void fall_asleep(struct stand *stand)
{
    set_up(stand);
    pf_job_pace(stand->job, true);
    pf_job_slow_down(stand->job, 50);
    stand->job->debt = (struct pf_debt){.since_ns = pf_now_ns(), .ran_ns = hour_ns};
    stand->job->migrating = true;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&stand->thread, NULL, come_to_a_safe_point, stand), 0);
    while (atomic_load(&stand->job->safepoints) == 0)
        sched_yield();
    usleep(5000); /* most likely it sleeps by then */
}

static void wake_up(struct stand *stand, int answer)
{
    pthread_join(stand->thread, NULL);
    CU_ASSERT_EQUAL(stand->answer, answer);
    stand->job->migrating = false;
    ferry_job_close(stand->job);
}

static void paused_at_once(void)
{
    struct stand stand;
    fall_asleep(&stand);
    pf_job_want_pause(stand.job);
    while (!pf_job_paused(stand.job))
        sched_yield();
    pf_job_end_migration(stand.job, -EIO, 1, &(struct pf_why){"x"}, PF_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(atomic_load(&stand.job->attention), 0);
    CU_ASSERT_EQUAL(atomic_load(&stand.job->safepoint_percent), 0);
    wake_up(&stand, FERRY_CONTINUE);
}

static void cancelled_at_once(void)
{
    struct stand stand;
    fall_asleep(&stand);
    CU_ASSERT_EQUAL(ferry_job_cancel(stand.job), 0);
    wake_up(&stand, FERRY_CONTINUE);
}

static void let_go_at_once(void)
{
    struct stand stand;
    fall_asleep(&stand);
    pf_job_slow_down(stand.job, 0);
    wake_up(&stand, FERRY_CONTINUE);
    fall_asleep(&stand);
    pf_job_pace(stand.job, false);
    wake_up(&stand, FERRY_CONTINUE);
    fall_asleep(&stand);
    pf_job_end_migration(stand.job, -EIO, 1, &(struct pf_why){"x"}, PF_VERDICT_CONTINUE);
    wake_up(&stand, FERRY_CONTINUE);
}

static void counted_while_it_matters(void)
{
    struct stand stand;
    set_up(&stand);
    CU_ASSERT_EQUAL(ferry_job_safepoint(stand.job), FERRY_CONTINUE);
    CU_ASSERT_EQUAL(atomic_load(&stand.job->safepoints), 0);
    pf_job_pace(stand.job, true);
    CU_ASSERT_EQUAL(ferry_job_safepoint(stand.job), FERRY_CONTINUE);
    CU_ASSERT_EQUAL(ferry_job_safepoint(stand.job), FERRY_CONTINUE);
    CU_ASSERT_EQUAL(atomic_load(&stand.job->safepoints), 2);
    pf_job_pace(stand.job, false);
    CU_ASSERT_EQUAL(atomic_load(&stand.job->attention), 0);
    ferry_job_close(stand.job);
}

/* Throttled, the debts of its steps are kept; at full speed it owes nothing. */
static void debts_end_with_the_throttle(void)
{
    struct stand stand;
    set_up(&stand);
    pf_job_pace(stand.job, true);
    pf_job_slow_down(stand.job, 1);
    for (unsigned i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(ferry_job_safepoint(stand.job), FERRY_CONTINUE);
    CU_ASSERT(stand.job->debt.since_ns > 0);
    pf_job_slow_down(stand.job, 0);
    CU_ASSERT_EQUAL(ferry_job_safepoint(stand.job), FERRY_CONTINUE);
    CU_ASSERT_EQUAL(stand.job->debt.since_ns, 0);
    ferry_job_close(stand.job);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"paused_at_once", paused_at_once},
        {"cancelled_at_once", cancelled_at_once},
        {"let_go_at_once", let_go_at_once},
        {"counted_while_it_matters", counted_while_it_matters},
        {"debts_end_with_the_throttle", debts_end_with_the_throttle},
        {NULL, NULL},
    };
    return pf_suite_run("safepoint", tests, argc > 1 ? argv[1] : NULL);
}
