/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stopped URI [TESTNAME]: with --fetch read the source's CPU takes no part. Its process is stopped
 * by SIGSTOP once the job runs at the destination, and the pages come all the same. Skipped where
 * one-sided operations are carried out by the other side's CPU.
 */
#include "core/backends.h"
#include "core/session/rail.h"
#include "tests/e2e/grid.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 256, STEPS = 3, MOVE_AT = 1 };

static int gate[2]; /* the destination goes on when a byte comes: set before it is started */

static const char *const on_demand[] = {"fetch", "read", "background", "off", NULL};
static const char *const all[] = {"fetch", "read", NULL};

static void wait_at_gate(struct rig_side *side, struct grid *grid)
{
    char byte;
    (void)grid;
    rig_say(side, "arrived");
    if (read(gate[0], &byte, 1) != 1)
        _exit(95);
}

/* Nothing is touched: the background brings it all. */
static void wait_for_all(struct rig_side *side, struct grid *grid)
{
    struct ferry_status status = {.received_bytes = 0};
    wait_at_gate(side, grid);
    while (status.received_bytes < grid->pages * RIG_PAGE) {
        usleep(1000);
        ferry_job_status(side->job, &status);
    }
}

static void stop(struct rig_process *source)
{
    int status;
    CU_ASSERT_EQUAL_FATAL(kill(source->pid, SIGSTOP), 0);
    CU_ASSERT_EQUAL_FATAL(waitpid(source->pid, &status, WUNTRACED), source->pid);
    CU_ASSERT_TRUE_FATAL(WIFSTOPPED(status));
}

static void moves_from_a_stopped_source(const char *const *options,
                                        void (*arrived)(struct rig_side *, struct grid *))
{
    struct rig_run run;
    const struct grid_play play = {
        .pages = PAGES, .steps = STEPS, .move_at = MOVE_AT, .arrived = arrived};
    CU_ASSERT_EQUAL_FATAL(pipe(gate), 0);
    rig_begin(&run, &(struct rig_setup){.body = grid_job, .ctx = &play, .source_options = options});
    if (!rig_await(&run.destination, "arrived")) {
        CU_FAIL("the job did not arrive");
        rig_end(&run);
        rig_explain(&run);
        return;
    }
    stop(&run.source);
    CU_ASSERT_EQUAL(write(gate[1], "", 1), 1);
    /* The answer takes in every page, and the source is stopped still. */
    CU_ASSERT_TRUE(rig_await(&run.destination, "answer"));
    CU_ASSERT_EQUAL(kill(run.source.pid, SIGCONT), 0);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
    close(gate[0]);
    close(gate[1]);
}

static void faults_are_served(void)
{
    moves_from_a_stopped_source(on_demand, wait_at_gate);
}

static void background_goes_on(void)
{
    moves_from_a_stopped_source(all, wait_for_all);
}

static bool query_remote_cpu(void)
{
    struct pf_device_attr attr = {
        .uri = rig_target(), .for_listen = true, .node = PF_NODE_ANY, .transports = pf_backends};
    struct pf_caps caps;
    const struct pf_transport *transport = pf_transport_find(pf_backends, attr.uri);
    return pf_query(transport, &attr, &caps, NULL) != 0 || caps.remote_cpu;
}

/* In a process of its own: two that inherit what librdmacm keeps open can't talk to each other. */
static bool needs_remote_cpu(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(query_remote_cpu());
    return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"faults_are_served", faults_are_served},
        {"background_goes_on", background_goes_on},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    if (needs_remote_cpu()) {
        printf("skipped: reads over %s need the source's CPU\n", argv[1]);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("stopped", tests, argc > 2 ? argv[2] : NULL);
}
