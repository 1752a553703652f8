/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_sweep URI [TESTNAME]: fails every transport operation of one side in turn, 1, 2, 3, ... until
 * a migration completes in which the planned operation never came. Whatever fails, there is at most
 * one answer, it is right, and both sides end: the source goes on alone if the destination never
 * ran, and afterwards neither goes on without all of its memory.
 *
 * Under a sanitizer every STRIDEth operation is taken; the release build takes all.
 */
#include "tests/e2e/rules.h"

#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 24, STEPS = 4, MOVE_AT = 2, STRIDE = RULES_SANITIZED ? 5 : 1, OPERATIONS_MAX = 500 };

/* Few receives and small stages: fewer operations that are all alike. */
static const char *const options[] = {"slots",        "3", "stages", "2", "stage-size", "16K",
                                      "peer-timeout", "4", NULL};

static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};

static bool lost(const struct rig_process *process, int status)
{
    return process->status == status && rig_times_said(process, "answer") == 0 &&
           rig_mentions(process, "The job cannot go on at either side") &&
           !rig_mentions(process, "error: . The job");
}

static bool answered(const struct rig_process *process)
{
    return process->status == 0 && rig_times_said(process, "answer") == 1 &&
           rig_number(process, "answer") == grid_expected(PAGES, STEPS);
}

/*
 * The job had all it needed and had answered when the link broke with other pages still to come:
 * the answer is right, and the end says that the migration is not.
 */
static bool answered_before_the_loss(const struct rig_process *process)
{
    return process->status == FERRY_EXIT_DESTINATION_LOST &&
           rig_times_said(process, "answer") == 1 &&
           rig_number(process, "answer") == grid_expected(PAGES, STEPS);
}

static bool silent(const struct rig_process *process, int status)
{
    return process->status == status && rig_times_said(process, "answer") == 0;
}

/* It goes on with a reason that is a sentence. */
static bool stayed(const struct rig_process *source)
{
    const char *why = rig_said(source, "why");
    return answered(source) && why && strlen(why) > 10;
}

/* ---- a source that comes after
 * -------------------------------------------------------------------- */

enum { TRIES = 400 };

/* The destination may still be busy with the session that failed. */
static int persevering_job(struct rig_side *side)
{
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, 0);
    ferry_job_state(side->job, &grid.step, sizeof grid.step);
    rig_start(side);
    grid_fill(&grid);
    for (int i = 0; i < TRIES; i++) {
        if (rig_move(side, side->uri) == FERRY_MOVED)
            return rig_close(side);
        usleep(50000);
    }
    rig_say(side, "why %s", ferry_job_why(side->job));
    rig_close(side);
    return 1;
}

/* The destination never ran the job: it must take one that comes now. */
static bool takes_another(struct rig_run *run)
{
    struct rig_process another;
    struct rig_side side = {.body = persevering_job, .options = options};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&run->destination, "uri"));
    rig_launch(&another, &side);
    rig_finish(&another);
    rig_finish(&run->destination);
    return silent(&another, 0) && answered(&run->destination);
}

/* ---- how a pair may end
 * ---------------------------------------------------------------------------- */

static const char waits_again[] =
    "pageferry: error: a migration to here failed, waiting for another:";

/*
 * A source that lost its destination in the very moment of the switch can't know whether it runs:
 * it may end without the other having begun. No protocol can rule that out.
 */
static bool ended_well(struct rig_run *run)
{
    struct rig_process *source = &run->source;
    struct rig_process *destination = &run->destination;
    if (source->pid == 0) {
        rig_finish(destination);
        return silent(destination, 3);
    }
    rig_finish(source);
    if (stayed(source))
        return takes_another(run);
    if (lost(source, FERRY_EXIT_SOURCE_LOST) &&
        rig_await_either(destination, "started", waits_again) && !rig_said(destination, "started"))
        return takes_another(run);
    rig_finish(destination);
    if (answered(destination))
        return silent(source, 0) || lost(source, FERRY_EXIT_SOURCE_LOST);
    return (lost(destination, FERRY_EXIT_DESTINATION_LOST) ||
            answered_before_the_loss(destination)) &&
           lost(source, FERRY_EXIT_SOURCE_LOST);
}

static void run_with(struct rig_run *run, bool at_source, unsigned at, const char *kind)
{
    char listen[RIG_URI];
    struct rig_setup setup = {
        .body = grid_job,
        .ctx = &play,
        .source_options = options,
        .destination_options = options,
        .persistent = true,
    };
    rig_fault_uri(listen, rig_target(), at, kind);
    if (at_source) {
        setup.source_at = at;
        setup.kind = kind;
    } else {
        setup.listen = listen;
    }
    rig_begin(run, &setup);
}

static void sweep(bool at_source, const char *kind)
{
    bool came = true;
    unsigned at = 1;
    for (; came && at < OPERATIONS_MAX; at += STRIDE) {
        struct rig_run run;
        run_with(&run, at_source, at, kind);
        bool well = ended_well(&run);
        came =
            !rig_mentions(at_source ? &run.source : &run.destination, "the planned one never came");
        if (!came)
            well = silent(&run.source, 0) && answered(&run.destination);
        if (!well)
            fprintf(stderr, "\noperation %u of the %s, do=%s:", at,
                    at_source ? "source" : "destination", kind);
        CU_ASSERT_TRUE(well);
        rig_explain(&run);
    }
    CU_ASSERT_FALSE(came); /* the last run went through undisturbed */
    printf("%u operations ... ", at - STRIDE - 1);
}

static void source_fails(void)
{
    sweep(true, "fail");
}

static void source_is_cut(void)
{
    sweep(true, "cut");
}

static void destination_fails(void)
{
    sweep(false, "fail");
}

static void destination_is_cut(void)
{
    sweep(false, "cut");
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"source_fails", source_fails},
        {"source_is_cut", source_is_cut},
        {"destination_fails", destination_fails},
        {"destination_is_cut", destination_is_cut},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [TESTNAME], for example %s tcp://127.0.0.1:0\n", argv[0],
                argv[0]);
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    }
    setenv("PAGEFERRY_LOG", "info", 1);
    return pf_suite_run(argv[1], tests, argc > 2 ? argv[2] : NULL);
}
