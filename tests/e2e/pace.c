/* SPDX-License-Identifier: BSD-2-Clause */
/* e2e_pace URI [TESTNAME]: jobs that leave over a link that is limited, or too slow for them. */
#include "base/clock.h"
#include "core/job.h"
#include "tests/e2e/rig.h"

#include <unistd.h>

enum { PAGES = 1024, WORDS = RIG_PAGE / sizeof(uint64_t) };

/* At this rate, the least there is, the memory would take longer than a test may. */
#define CRAWL "64K"

/* What a job does beside writing; every function may be NULL. */
struct play {
    size_t pages;
    bool writes;                            /* at the destination, too */
    void *(*steer)(void *side);             /* a thread of the source's */
    void (*stepped)(struct rig_side *side); /* at the source, between two steps of a migration */
};

struct memory {
    uint64_t *words;
    uint64_t step;
};

/* ---- the job --------------------------------------------------------------------------------- */

static uint64_t word(uint64_t step, size_t page)
{
    return step * 0x9e3779b97f4a7c15u + page;
}

static void write_all(struct memory *memory, size_t pages)
{
    memory->step++;
    for (size_t page = 0; page < pages; page++)
        memory->words[page * WORDS] = memory->words[page * WORDS + WORDS - 1] =
            word(memory->step, page);
}

static uint64_t wrong_pages(const struct memory *memory, size_t pages)
{
    uint64_t wrong = 0;
    for (size_t page = 0; page < pages; page++)
        wrong += memory->words[page * WORDS] != word(memory->step, page) ||
                 memory->words[page * WORDS + WORDS - 1] != word(memory->step, page);
    return wrong;
}

static bool moving(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    bool is = job->migrating;
    pthread_mutex_unlock(&job->lock);
    return is;
}

/* FERRY_MOVED, or FERRY_CONTINUE when the migration has failed. */
static int leave(struct rig_side *side, const struct play *play, struct memory *memory)
{
    int how = FERRY_CONTINUE;
    if (ferry_job_migrate(side->job, side->uri) < 0)
        _exit(94);
    while (how == FERRY_CONTINUE && moving(side->job)) {
        how = ferry_job_safepoint(side->job);
        if (how == FERRY_CONTINUE)
            write_all(memory, play->pages);
        if (how == FERRY_CONTINUE && play->stepped)
            play->stepped(side);
    }
    return how;
}

static int run_at_source(struct rig_side *side, const struct play *play, struct memory *memory)
{
    pthread_t steerer;
    write_all(memory, play->pages);
    if (play->steer && pthread_create(&steerer, NULL, play->steer, side) != 0)
        return 93;
    int how = leave(side, play, memory);
    if (play->steer)
        pthread_join(steerer, NULL);
    return how;
}

static void await_complete(struct rig_side *side)
{
    struct ferry_status status;
    while (ferry_job_status(side->job, &status) == 0 && !status.complete)
        usleep(1000);
}

static int writer(struct rig_side *side)
{
    const struct play *play = side->ctx;
    struct memory memory = {.step = 0};
    rig_open(side);
    memory.words = ferry_job_alloc(side->job, "memory", play->pages * RIG_PAGE, 0, FERRY_ANON);
    if (!memory.words || ferry_job_state(side->job, &memory.step, sizeof memory.step) < 0)
        return 96;
    int how = rig_start(side);
    if (how == FERRY_FRESH && run_at_source(side, play, &memory) == FERRY_MOVED)
        return rig_close(side);
    if (how == FERRY_ARRIVED && !play->writes)
        await_complete(side);
    rig_say(side, "answer %llu", (unsigned long long)wrong_pages(&memory, play->pages));
    return rig_close(side);
}

/* ---- post-copy ------------------------------------------------------------------------------- */

/* The job waits for these pages: they don't wait for the limit. */
static void answers_are_not_limited(void)
{
    static const char *const crawling[] = {"mode", "postcopy", "bandwidth", CRAWL, NULL};
    static const struct play play = {.pages = PAGES, .writes = true};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer,
                                      .ctx = &play,
                                      .source_options = crawling,
                                      .destination_options = crawling});
    rig_assert_moved(&run, 0);
}

/* As soon as the job runs elsewhere and something follows it. */
static void *lift_the_limit(void *arg)
{
    struct rig_side *side = arg;
    struct ferry_status status = {.downtime_us = 0};
    uint64_t began_ns = pf_now_ns();
    while (ferry_job_status(side->job, &status) == 0 &&
           (status.downtime_us == 0 || status.sent_bytes == 0))
        usleep(1000);
    uint64_t most = (pf_now_ns() - began_ns) / 1000 * (64 << 10) / 1000000;
    rig_say(side, "kept %d", status.sent_bytes <= most + RIG_PAGE);
    rig_say(side, "changed %d", ferry_job_change(side->job, "bandwidth", "auto"));
    return NULL;
}

static void what_follows_is_limited_until_it_is_not(void)
{
    static const char *const crawling[] = {"mode", "postcopy", "bandwidth", CRAWL, NULL};
    static const struct play play = {.pages = PAGES, .steer = lift_the_limit};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = crawling});
    CU_ASSERT_EQUAL(rig_number(&run.source, "kept"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    rig_assert_moved(&run, 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"answers_are_not_limited", answers_are_not_limited},
        {"what_follows_is_limited_until_it_is_not", what_follows_is_limited_until_it_is_not},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [TESTNAME], for example %s tcp://127.0.0.1:0\n", argv[0],
                argv[0]);
        return 2;
    }
    return pf_suite_run(argv[1], tests, argc > 2 ? argv[2] : NULL);
}
