/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_sweep URI [MODE [TESTNAME]]: fails every transport operation of one side in turn, 1, 2, 3,
 * ... until a migration completes in which the planned operation never came. Whatever fails, there
 * is at most one answer, it is right, and both sides end: the source goes on alone if the
 * destination never ran, and afterwards neither goes on without all of its memory.
 *
 * MODE is postcopy if it isn't given; "encoded" is pre-copy whose pages are made shorter. Under a
 * sanitizer only every so manieth operation is taken, others by each way of failing.
 */
#include "core/encode/squeeze.h"
#include "core/job/job.h"
#include "core/memory/uffd.h"
#include "tests/e2e/rules.h"

#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 24, STEPS = 4, MOVE_AT = 2, OPERATIONS_MAX = 500 };
enum { STRIDE = RULES_SANITIZED ? 5 : 1, ROUNDS_STRIDE = RULES_SANITIZED ? 15 : 1 };
enum { TEXT_PAGES = 8 };

/* Few receives and small stages: fewer operations that are all alike. */
#define FEW_OPERATIONS "slots", "3", "stages", "2", "stage-size", "16K", "peer-timeout", "4", "mode"

static const char *const postcopy[] = {FEW_OPERATIONS, "postcopy", NULL};
static const char *const hybrid[] = {FEW_OPERATIONS, "hybrid", NULL};
static const char *const precopy[] = {FEW_OPERATIONS, "precopy", NULL};
static const char *const shorter[] = {FEW_OPERATIONS, "precopy", "xbzrle", "on",
                                      "compress",     "lz4",     NULL};

/* One side's operations, all of them or some, failed in one way. */
struct sweep {
    const char *const *options;
    const struct grid_play *play;
    const char *kind;
    bool at_source;
    unsigned first, stride; /* first: of those that a sanitizer's build takes */
};

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Half of what the first round sent goes once more: in the pause, or after the switch. */
static int after_a_round(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct rig_side *side = ctx;
    struct ferry_status status = {.round = 0};
    volatile char *at = side->job->regions.list[0].addr;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND)
        return 0;
    ferry_job_status(side->job, &status);
    for (size_t page = 0; page < PAGES / 2 && status.round == 1; page++)
        at[page * RIG_PAGE] = at[page * RIG_PAGE];
    if (status.round == 1 && side->job->options.mode == PF_MODE_HYBRID)
        ferry_job_switch(side->job);
    return 0;
}

static void watch_rounds(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    if (ferry_job_notify(side->job, after_a_round, side) < 0)
        _exit(94);
}

/* Beside the grid, which is noise, pages that get shorter by compression. */
static char *text_page(const struct rig_side *side, size_t page)
{
    return side->job->regions.list[1].addr + page * RIG_PAGE;
}

static void declare_text(struct rig_side *side, struct grid *grid)
{
    watch_rounds(side, grid);
    if (!ferry_job_alloc(side->job, "text", TEXT_PAGES * RIG_PAGE, 0, 0))
        _exit(93);
    for (size_t page = 0; page < TEXT_PAGES && !side->destination; page++)
        memset(text_page(side, page), 'a' + (int)page, RIG_PAGE);
}

static void read_text(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    for (size_t page = 0; page < TEXT_PAGES; page++)
        for (size_t i = 0; i < RIG_PAGE; i++)
            if (text_page(side, page)[i] != 'a' + (int)page)
                _exit(92);
}

/* Nobody watches the memory of a job that goes on at the source. */
static void expect_unwatched(struct rig_side *side, struct grid *grid)
{
    struct pf_why why = {""};
    struct pf_uffd uffd;
    int error = pf_uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, &why);
    if (!error)
        error = pf_uffd_register_writes(&uffd, (char *)grid->words, PAGES * RIG_PAGE);
    if (error)
        rig_say(side, "watched %d %s", error, why.text);
    pf_uffd_close(&uffd);
}

static const struct grid_play play = {PAGES, STEPS, MOVE_AT, .declared = NULL};
static const struct grid_play rounds = {PAGES, STEPS, MOVE_AT, .declared = watch_rounds,
                                        .stayed = expect_unwatched};
static const struct grid_play encoded = {PAGES,
                                         STEPS,
                                         MOVE_AT,
                                         .declared = declare_text,
                                         .stayed = expect_unwatched,
                                         .finished = read_text};

/* ---- ends ------------------------------------------------------------------------------------ */

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
    return answered(source) && why && strlen(why) > 10 && !rig_said(source, "watched");
}

/* ---- a source that comes after
 * -------------------------------------------------------------------- */

enum { TRIES = 400 };

/* The destination may still be busy with the session that failed. */
static int persevering_job(struct rig_side *side)
{
    const struct grid_play *alike = side->ctx;
    struct grid grid = {.pages = PAGES};
    rig_open(side);
    grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, 0);
    ferry_job_state(side->job, &grid.step, sizeof grid.step);
    if (alike->declared)
        alike->declared(side, &grid);
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
static bool takes_another(struct rig_run *run, const struct sweep *sweep)
{
    struct rig_process another;
    struct rig_side side = {.body = persevering_job, .ctx = sweep->play, .options = sweep->options};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&run->destination, "uri"));
    rig_launch(&another, &side);
    rig_finish(&another);
    rig_finish(&run->destination);
    if (!silent(&another, 0))
        fprintf(stderr, "\n--- the one that came after ended with %d:\n%s", another.status,
                another.text);
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
static bool ended_well(struct rig_run *run, const struct sweep *sweep)
{
    struct rig_process *source = &run->source;
    struct rig_process *destination = &run->destination;
    if (source->pid == 0) {
        rig_finish(destination);
        return silent(destination, 3);
    }
    rig_finish(source);
    if (stayed(source))
        return takes_another(run, sweep);
    if (lost(source, FERRY_EXIT_SOURCE_LOST) &&
        rig_await_either(destination, "started", waits_again) && !rig_said(destination, "started"))
        return takes_another(run, sweep);
    rig_finish(destination);
    if (answered(destination))
        return silent(source, 0) || lost(source, FERRY_EXIT_SOURCE_LOST);
    return (lost(destination, FERRY_EXIT_DESTINATION_LOST) ||
            answered_before_the_loss(destination)) &&
           lost(source, FERRY_EXIT_SOURCE_LOST);
}

static void run_with(struct rig_run *run, const struct sweep *sweep, unsigned at)
{
    char listen[RIG_URI];
    struct rig_setup setup = {
        .body = grid_job,
        .ctx = sweep->play,
        .source_options = sweep->options,
        .destination_options = sweep->options,
        .persistent = true,
    };
    rig_fault_uri(listen, rig_target(), at, sweep->kind);
    if (sweep->at_source) {
        setup.source_at = at;
        setup.kind = sweep->kind;
    } else {
        setup.listen = listen;
    }
    rig_begin(run, &setup);
}

static void sweep_all(const struct sweep *sweep)
{
    bool came = true;
    unsigned at = sweep->stride == 1 ? 1 : sweep->first;
    for (; came && at < OPERATIONS_MAX; at += sweep->stride) {
        struct rig_run run;
        run_with(&run, sweep, at);
        bool well = ended_well(&run, sweep);
        came = !rig_mentions(sweep->at_source ? &run.source : &run.destination,
                             "the planned one never came");
        if (!came)
            well = silent(&run.source, 0) && answered(&run.destination);
        if (!well)
            fprintf(stderr, "\noperation %u of the %s, do=%s:", at,
                    sweep->at_source ? "source" : "destination", sweep->kind);
        CU_ASSERT_TRUE(well);
        rig_explain(&run);
    }
    CU_ASSERT_FALSE(came); /* the last run went through undisturbed */
    printf("%u operations ... ", at - sweep->stride - 1);
}

#define SWEEP(name, ...)                                                                           \
    static void name(void)                                                                         \
    {                                                                                              \
        sweep_all(&(struct sweep){__VA_ARGS__});                                                   \
    }

SWEEP(source_fails, postcopy, &play, "fail", true, 1, STRIDE)
SWEEP(source_is_cut, postcopy, &play, "cut", true, 1, STRIDE)
SWEEP(destination_fails, postcopy, &play, "fail", false, 1, STRIDE)
SWEEP(destination_is_cut, postcopy, &play, "cut", false, 1, STRIDE)

/* Registering pins, or so it is claimed: windows by chunks, and registrations that may fail. */
SWEEP(hybrid_source_fails, hybrid, &rounds, "fail&pins=1", true, 1, ROUNDS_STRIDE)
SWEEP(hybrid_source_is_cut, hybrid, &rounds, "cut", true, 2, ROUNDS_STRIDE)
SWEEP(hybrid_destination_fails, hybrid, &rounds, "fail&pins=1", false, 3, ROUNDS_STRIDE)
SWEEP(hybrid_destination_is_cut, hybrid, &rounds, "cut&pins=1", false, 1, ROUNDS_STRIDE)

SWEEP(precopy_source_fails, precopy, &rounds, "fail", true, 2, ROUNDS_STRIDE)
SWEEP(precopy_source_is_cut, precopy, &rounds, "cut&pins=1", true, 3, ROUNDS_STRIDE)
SWEEP(precopy_destination_fails, precopy, &rounds, "fail", false, 1, ROUNDS_STRIDE)
SWEEP(precopy_destination_is_cut, precopy, &rounds, "cut&pins=1", false, 2, ROUNDS_STRIDE)

/* A link that is cut is the same to an encoder as one that fails. */
SWEEP(encoded_source_fails, shorter, &encoded, "fail", true, 3, ROUNDS_STRIDE)
SWEEP(encoded_destination_fails, shorter, &encoded, "fail", false, 2, ROUNDS_STRIDE)

static const struct pf_test postcopy_tests[] = {
    {"source_fails", source_fails},
    {"source_is_cut", source_is_cut},
    {"destination_fails", destination_fails},
    {"destination_is_cut", destination_is_cut},
    {NULL, NULL},
};

static const struct pf_test hybrid_tests[] = {
    {"source_fails", hybrid_source_fails},
    {"source_is_cut", hybrid_source_is_cut},
    {"destination_fails", hybrid_destination_fails},
    {"destination_is_cut", hybrid_destination_is_cut},
    {NULL, NULL},
};

static const struct pf_test precopy_tests[] = {
    {"source_fails", precopy_source_fails},
    {"source_is_cut", precopy_source_is_cut},
    {"destination_fails", precopy_destination_fails},
    {"destination_is_cut", precopy_destination_is_cut},
    {NULL, NULL},
};

static const struct pf_test encoded_tests[] = {
    {"source_fails", encoded_source_fails},
    {"destination_fails", encoded_destination_fails},
    {NULL, NULL},
};

static const struct pf_test *tests_of(const char *mode)
{
    if (strcmp(mode, "hybrid") == 0)
        return hybrid_tests;
    if (strcmp(mode, "precopy") == 0)
        return precopy_tests;
    return strcmp(mode, "encoded") == 0 ? encoded_tests : postcopy_tests;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "postcopy";
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [MODE [TESTNAME]], for example %s tcp://127.0.0.1:0\n",
                argv[0], argv[0]);
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    }
    if (strcmp(mode, "encoded") == 0 && !(pf_squeeze_built() & 1u << PF_COMPRESS_LZ4))
        return PF_TEST_SKIPPED;
    setenv("PAGEFERRY_LOG", "info", 1);
    return pf_suite_run(argv[1], tests_of(mode), argc > 3 ? argv[3] : NULL);
}
