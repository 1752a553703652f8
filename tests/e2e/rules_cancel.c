/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Migrations that are given up before the switch, by the notifier that is told of a round: the job
 * goes on where it is, its memory as it was; the destination is empty again and takes another.
 */
#include "core/uffd.h"
#include "tests/e2e/rules.h"

#include <unistd.h>

enum { PAGES = 2048, STEPS = 3, TRIES = 400 };

struct play {
    unsigned round; /* at whose end it is given up */
};

struct scene {
    struct rig_side *side;
    struct grid grid;
    unsigned rounds;
};

/* Some pages are always dirty again: there is a second round, in the pause. */
static int on_event(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct scene *scene = ctx;
    const struct play *play = scene->side->ctx;
    volatile uint64_t *words = scene->grid.words;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND)
        return 0;
    words[0] = words[0];
    if (++scene->rounds == play->round)
        rig_say(scene->side, "cancelled %d", ferry_job_cancel(scene->side->job));
    return 0;
}

/* 0: nobody watches the memory. */
static int watched(const struct scene *scene)
{
    struct pf_why why = {""};
    struct pf_uffd uffd;
    int error = pf_uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, &why);
    if (!error)
        error = pf_uffd_register_writes(&uffd, scene->grid.words, PAGES * RIG_PAGE);
    pf_uffd_close(&uffd);
    return error;
}

static int stay_and_leave(struct scene *scene)
{
    struct rig_side *side = scene->side;
    char word;
    grid_fill(&scene->grid);
    rig_say(side, "stayed %d", rig_move(side, side->uri) == FERRY_CONTINUE);
    rig_say(side, "why %s", ferry_job_why(side->job));
    rig_say(side, "watched %d", watched(scene));
    for (; scene->grid.step < STEPS; scene->grid.step++)
        grid_step(&scene->grid);
    /* The parent looks at the destination. */
    rig_say(side, "ready");
    if (read(STDIN_FILENO, &word, 1) != 1)
        return 95;
    for (int i = 0; i < TRIES; i++) {
        if (rig_move(side, side->uri) == FERRY_MOVED)
            return rig_close(side);
        usleep(50000);
    }
    return 1;
}

static int cancelling_job(struct rig_side *side)
{
    struct scene scene = {.side = side, .grid = {.pages = PAGES}};
    rig_open(side);
    scene.grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, FERRY_ANON);
    if (!scene.grid.words || ferry_job_state(side->job, &scene.grid.step, sizeof(long)) < 0 ||
        ferry_job_notify(side->job, on_event, &scene) < 0)
        return 96;
    rig_say(side, "at %llu", (unsigned long long)(uintptr_t)scene.grid.words);
    int how = rig_start(side);
    if (how == FERRY_FRESH)
        return stay_and_leave(&scene);
    if (how == FERRY_ARRIVED)
        rig_say(side, "answer %llu", (unsigned long long)grid_sum(&scene.grid));
    return rig_close(side);
}

static void cancel_at(unsigned round)
{
    static const char *const precopy[] = {"mode", "precopy", "fetch", "write", NULL};
    const struct play play = {round};
    struct rig_run run;
    int words[2];
    CU_ASSERT_EQUAL_FATAL(pipe(words), 0);
    int standard = dup(STDIN_FILENO);
    dup2(words[0], STDIN_FILENO);
    rig_begin(&run, &(struct rig_setup){.body = cancelling_job,
                                        .ctx = &play,
                                        .source_options = precopy,
                                        .persistent = true});
    dup2(standard, STDIN_FILENO);
    close(standard);
    CU_ASSERT(rig_await(&run.source, "ready") && rig_await_failures(&run.destination, 1));
    CU_ASSERT(rules_resident_pages(run.destination.pid, rig_number(&run.destination, "at")) <
              PAGES / 2);
    CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
    CU_ASSERT_EQUAL(rig_number(&run.source, "cancelled"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "stayed"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "watched"), 0);
    close(words[0]);
    close(words[1]);
}

static void given_up_after_the_first_round(void)
{
    cancel_at(1);
}

static void given_up_in_the_pause(void)
{
    cancel_at(2);
}

const struct pf_test rules_cancel[] = {
    {"given_up_after_the_first_round", given_up_after_the_first_round},
    {"given_up_in_the_pause", given_up_in_the_pause},
    {NULL, NULL},
};
