/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Migrations that are given up before the switch, by the notifier that is told of a round: the job
 * goes on where it is, its memory as it was; the destination is empty again and takes another.
 */
#include "core/memory/uffd.h"
#include "tests/e2e/rules.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 2048, STEPS = 3, TRIES = 400 };

struct play {
    unsigned round; /* at whose end it is given up */
};

/* What a program must not do while its memory is being sent. */
struct loss {
    bool file; /* its file gets shorter; or a part is unmapped */
    const char *said;
};

struct scene {
    struct rig_side *side;
    struct grid grid;
    unsigned rounds;
    int fd;
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

/* ---- memory that is not there any more ------------------------------------------------------- */

static int lose_memory(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct scene *scene = ctx;
    const struct loss *loss = scene->side->ctx;
    char *memory = (char *)scene->grid.words;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || scene->rounds++ > 0)
        return 0;
    /* What was written is to be read next. */
    memset(memory, 2, PAGES / 2 * RIG_PAGE);
    if (loss->file)
        return ftruncate(scene->fd, (off_t)(PAGES / 2 * RIG_PAGE));
    return munmap(memory + PAGES / 2 * RIG_PAGE, PAGES / 2 * RIG_PAGE);
}

static int losing_job(struct rig_side *side)
{
    const struct loss *loss = side->ctx;
    struct scene scene = {.side = side, .grid = {.pages = PAGES / 2}, .fd = -1};
    size_t bytes = PAGES * RIG_PAGE;
    if (loss->file && ((scene.fd = memfd_create("grid", MFD_CLOEXEC)) < 0 ||
                       ftruncate(scene.fd, (off_t)bytes) < 0))
        return 94;
    scene.grid.words = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                            loss->file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, scene.fd, 0);
    rig_open(side);
    int error = loss->file
                    ? ferry_job_protect_fd(side->job, "grid", scene.grid.words, bytes, scene.fd, 0)
                    : ferry_job_protect(side->job, "grid", scene.grid.words, bytes);
    if (error || ferry_job_notify(side->job, lose_memory, &scene) < 0)
        return 96;
    if (rig_start(side) != FERRY_FRESH)
        return rig_close(side);
    memset(scene.grid.words, 1, bytes);
    rig_say(side, "stayed %d", rig_move(side, side->uri) == FERRY_CONTINUE);
    rig_say(side, "why %s", ferry_job_why(side->job));
    grid_fill(&scene.grid); /* of what is left */
    return rig_close(side);
}

/* The job goes on, with what it has left itself. */
static void lost_memory_ends_the_migration(void)
{
    static const char *const precopy[] = {"mode",     "precopy", "fetch", "write",
                                          "downtime", "1",       NULL};
    static const struct loss losses[] = {
        {true, "must not shrink while it is a region"},
        {false, "was unmapped in part while its memory was being sent"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct rig_run run;
        rig_run(&run, &(struct rig_setup){
                          .body = losing_job, .ctx = &losses[i], .source_options = precopy});
        CU_ASSERT_EQUAL(rig_number(&run.source, "stayed"), 1);
        CU_ASSERT_TRUE(rig_mentions(&run.source, losses[i].said));
        CU_ASSERT_EQUAL(run.source.status, 0);
    }
}

const struct pf_test rules_cancel[] = {
    {"lost_memory_ends_the_migration", lost_memory_ends_the_migration},
    {"given_up_after_the_first_round", given_up_after_the_first_round},
    {"given_up_in_the_pause", given_up_in_the_pause},
    {NULL, NULL},
};
