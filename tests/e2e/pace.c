/* SPDX-License-Identifier: BSD-2-Clause */
/* e2e_pace URI [TESTNAME]: jobs that leave over a link that is limited, or too slow for them. */
#include "base/clock.h"
#include "core/job/job.h"
#include "core/throttle/cgroup.h"
#include "tests/e2e/rig.h"

#include <unistd.h>

enum { PIECE = 64, SMALL = 16, LARGE = 32, WORDS = RIG_PAGE / sizeof(uint64_t) };

/* At this rate, the least there is, the memory would take longer than a test may. */
#define CRAWL "64K"

struct memory {
    uint64_t *words;
    uint64_t step;
    size_t pieces;
};

/* What a job does beside writing; every function may be NULL. */
struct play {
    size_t pieces;
    bool writes;                /* at the destination, too */
    void *(*steer)(void *side); /* a thread of the source's */
    void (*stepped)(struct rig_side *side,
                    struct memory *memory); /* at the source, after each step of a migration, */
    void (*moved)(struct rig_side *side, struct memory *memory);  /* or when it has moved, */
    void (*stayed)(struct rig_side *side, struct memory *memory); /* or not */
};

/* ---- the job --------------------------------------------------------------------------------- */

static uint64_t word(uint64_t step, size_t page)
{
    return step * 0x9e3779b97f4a7c15u + page;
}

/* Step n writes one piece of the memory: piece n, modulo how many there are. */
static uint64_t step_of(uint64_t latest, uint64_t piece, uint64_t pieces)
{
    return latest - (latest + pieces - piece) % pieces;
}

/* While pages of it are being sent: pre-copy sees to it that they are sent again. */
__attribute__((no_sanitize_thread)) static void write_piece(struct memory *memory)
{
    memory->step++;
    size_t first = memory->pieces ? memory->step % memory->pieces * PIECE : 0;
    for (size_t page = first; page < first + PIECE; page++)
        memory->words[page * WORDS] = memory->words[page * WORDS + WORDS - 1] =
            word(memory->step, page);
}

/* A job that computes as well, so that it writes about 250 MB a second and not ten times that. */
static void compute(void)
{
    uint64_t until_ns = pf_now_ns() + 1000000;
    while (pf_now_ns() < until_ns)
        continue;
}

static uint64_t wrong_pages(const struct memory *memory)
{
    uint64_t wrong = 0;
    for (size_t page = 0; page < memory->pieces * PIECE; page++) {
        uint64_t right = word(step_of(memory->step, page / PIECE, memory->pieces), page);
        wrong += memory->words[page * WORDS] != right ||
                 memory->words[page * WORDS + WORDS - 1] != right;
    }
    return wrong;
}

static void call(void (*hook)(struct rig_side *, struct memory *), struct rig_side *side,
                 struct memory *memory)
{
    if (hook)
        hook(side, memory);
}

/* FERRY_MOVED, or FERRY_CONTINUE when the migration has failed. */
static int leave(struct rig_side *side, const struct play *play, struct memory *memory)
{
    int how = FERRY_CONTINUE;
    if (ferry_job_migrate(side->job, side->uri) < 0)
        _exit(94);
    while (how == FERRY_CONTINUE && rig_moving(side)) {
        how = ferry_job_safepoint(side->job);
        if (how == FERRY_MOVED)
            break;
        write_piece(memory);
        compute();
        call(play->stepped, side, memory);
    }
    return how;
}

static int run_at_source(struct rig_side *side, const struct play *play, struct memory *memory)
{
    pthread_t steerer = 0;
    for (size_t i = 0; i < memory->pieces; i++)
        write_piece(memory);
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
    struct memory memory = {.step = 0, .pieces = play->pieces};
    rig_open(side);
    memory.words =
        ferry_job_alloc(side->job, "memory", memory.pieces * PIECE * RIG_PAGE, 0, FERRY_ANON);
    if (!memory.words || ferry_job_state(side->job, &memory.step, sizeof memory.step) < 0)
        return 96;
    int how = rig_start(side);
    if (how < 0) {
        rig_close(side);
        return 3;
    }
    if (how == FERRY_FRESH && run_at_source(side, play, &memory) == FERRY_MOVED) {
        call(play->moved, side, &memory);
        return rig_close(side);
    }
    if (how == FERRY_FRESH)
        call(play->stayed, side, &memory);
    if (how == FERRY_ARRIVED && !play->writes)
        await_complete(side);
    rig_say(side, "answer %llu", (unsigned long long)wrong_pages(&memory));
    return rig_close(side);
}

/* ---- post-copy ------------------------------------------------------------------------------- */

/* The job waits for these pages: they don't wait for the limit. */
static void answers_are_not_limited(void)
{
    static const char *const crawling[] = {"mode", "postcopy", "bandwidth", CRAWL, NULL};
    static const struct play play = {.pieces = SMALL, .writes = true};
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
    static const struct play play = {.pieces = SMALL, .steer = lift_the_limit};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = crawling});
    CU_ASSERT_EQUAL(rig_number(&run.source, "kept"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    rig_assert_moved(&run, 0);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static uint64_t counted(const struct rig_side *side, const char *what)
{
    const struct pf_counters *counters = &side->job->counters;
    if (strcmp(what, "throttle") == 0)
        return pf_count_get(&counters->throttle_percent);
    return pf_count_get(&counters->round);
}

static void say_rounds(struct rig_side *side, struct memory *memory)
{
    (void)memory;
    struct ferry_job *job = side->job;
    unsigned throttle = 0;
    unsigned rounds = 0;
    bool paused = false;
    pthread_mutex_lock(&job->lock);
    for (unsigned i = 0; i < job->rounds.rounds && i < PF_ROUND_LOG_MAX; i++) {
        const struct pf_round_record *round = &job->rounds.list[i];
        throttle = round->throttle > throttle ? round->throttle : throttle;
        rounds += !round->paused;
        paused |= round->paused;
    }
    pthread_mutex_unlock(&job->lock);
    rig_say(side, "rounds %u", rounds);
    rig_say(side, "throttled %u", throttle);
    rig_say(side, "finished %d", paused);
}

/*
 * The job writes about ten times as fast as this link carries: unthrottled it would never come to
 * an end, by 99 percent it does. What is sent in the pause is not limited; so the downtime that is
 * allowed is the shortest there is, which all of the memory together does not fit.
 */
#define TOO_FAST "mode", "precopy", "bandwidth", "32M", "downtime", "1", "max-rounds", "0"

static void throttled_job_converges(void)
{
    static const char *const options[] = {TOO_FAST, "throttle",      "auto", "throttle-initial",
                                          "60",     "throttle-step", "39",   NULL};
    static const struct play play = {.pieces = LARGE, .moved = say_rounds};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    CU_ASSERT(rig_number(&run.source, "throttled") >= 60);
    CU_ASSERT_EQUAL(rig_number(&run.source, "finished"), 1);
    rig_assert_moved(&run, 0);
}

static void cancel_when_throttled(struct rig_side *side, struct memory *memory)
{
    (void)memory;
    if (counted(side, "throttle") == 20)
        ferry_job_cancel(side->job);
}

static void say_speed(struct rig_side *side, struct memory *memory)
{
    (void)memory;
    rig_say(side, "percent %u", atomic_load(&side->job->safepoint_percent));
    rig_say(side, "attention %u", atomic_load(&side->job->attention));
    rig_say(side, "shown %u", (unsigned)counted(side, "throttle"));
}

/* Too little of a throttle: it goes on for ever, until it is given up; then at full speed. */
static void cancelled_job_runs_at_full_speed(void)
{
    static const char *const options[] = {TOO_FAST, "throttle",     "safepoint", "throttle-initial",
                                          "20",     "throttle-max", "20",        NULL};
    static const struct play play = {
        .pieces = LARGE, .stepped = cancel_when_throttled, .stayed = say_speed};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    CU_ASSERT_EQUAL(rig_number(&run.source, "percent"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "attention"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "shown"), 0);
    rig_assert_stayed(&run, 0);
}

static void *take_the_throttle_back(void *arg)
{
    struct rig_side *side = arg;
    while (counted(side, "throttle") != 20)
        usleep(1000);
    rig_say(side, "changed %d", ferry_job_change(side->job, "throttle", "off"));
    while (atomic_load(&side->job->safepoint_percent) > 0)
        usleep(1000);
    ferry_job_cancel(side->job);
    return NULL;
}

/* In the middle of rounds that would not end; the job runs at full speed while they go on. */
static void throttle_taken_back(void)
{
    static const char *const options[] = {TOO_FAST, "throttle",     "safepoint", "throttle-initial",
                                          "20",     "throttle-max", "20",        NULL};
    static const struct play play = {
        .pieces = LARGE, .steer = take_the_throttle_back, .stayed = say_speed};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    CU_ASSERT_EQUAL(rig_number(&run.source, "changed"), 0);
    rig_assert_stayed(&run, 0);
}

/* Says which groups are left; the source's own would be here. */
static void say_group(struct rig_side *side, struct memory *memory)
{
    char home[PATH_MAX];
    char group[PATH_MAX + 32] = "";
    say_rounds(side, memory);
    if (pf_cgroup_of("self", home, NULL) == 0)
        snprintf(group, sizeof group, "%s/pageferry.%d", home, (int)getpid());
    rig_say(side, "left %d", group[0] && access(group, F_OK) == 0);
}

/* Where there is no CPU controller it is refused in words, and the rounds go on. */
static void throttled_by_its_cpu_limit(void)
{
    static const char *const options[] = {
        "mode",     "precopy", "bandwidth",        "32M", "downtime", "1", "max-rounds", "4",
        "throttle", "cgroup",  "throttle-initial", "60",  NULL};
    static const struct play play = {.pieces = LARGE, .moved = say_group};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    CU_ASSERT(rig_number(&run.source, "throttled") >= 60 || rig_mentions(&run.source, "cgroup"));
    CU_ASSERT_EQUAL(rig_number(&run.source, "left"), 0);
    if (rig_mentions(&run.source, "cgroup"))
        printf("(refused here) ");
    rig_assert_moved(&run, 0);
}

static void run_too_fast(struct rig_run *run, const char *mode, const char *max_rounds)
{
    /* So slow that the job has written everything in a round however few turns it gets. */
    const char *const options[] = {"mode", mode,         "bandwidth", "8M", "downtime",
                                   "1",    "max-rounds", max_rounds,  NULL};
    static const struct play play = {.pieces = LARGE, .moved = say_rounds};
    rig_run(run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    CU_ASSERT_EQUAL(rig_number(&run->source, "throttled"), 0);
    rig_assert_moved(run, 0);
}

static void precopy_ends_after_max_rounds(void)
{
    struct rig_run run;
    run_too_fast(&run, "precopy", "2");
    CU_ASSERT(rig_number(&run.source, "rounds") <= 3); /* and what it wrote on its way */
    CU_ASSERT_EQUAL(rig_number(&run.source, "finished"), 1);
}

static void auto_switches_instead(void)
{
    struct rig_run run;
    run_too_fast(&run, "auto", "0");
    CU_ASSERT_EQUAL(rig_number(&run.source, "rounds"), 2);
    CU_ASSERT_EQUAL(rig_number(&run.source, "finished"), 0);
}

static void hybrid_switches_soon(void)
{
    struct rig_run run;
    run_too_fast(&run, "hybrid", "0");
    CU_ASSERT_EQUAL(rig_number(&run.source, "rounds"), 1);
    CU_ASSERT_EQUAL(rig_number(&run.source, "finished"), 0);
}

/*
 * Everything has been sent and the job is asked to pause; but it is in the middle of a long step,
 * writes everything anew, and does not come to its safe point before that is sent as well.
 */
static void write_on_the_way(struct rig_side *side, struct memory *memory)
{
    const struct pf_counters *counters = &side->job->counters;
    while (!(atomic_load(&side->job->attention) & PF_ATTEND_PAUSE))
        usleep(1000);
    uint64_t before = pf_count_get(&counters->sent_bytes);
    for (size_t i = 0; i < memory->pieces; i++)
        write_piece(memory);
    while (pf_count_get(&counters->sent_bytes) < before + memory->pieces * PIECE * RIG_PAGE)
        usleep(1000);
}

static void written_on_the_way_is_sent_on_the_way(void)
{
    static const char *const options[] = {"mode", "precopy", NULL};
    static const struct play play = {.pieces = SMALL, .stepped = write_on_the_way};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    rig_assert_moved(&run, 0);
}

/* ---- in mid-round ---------------------------------------------------------------------------- */

#define CRAWLING "bandwidth", CRAWL, "mode"

/* The first round has begun, and will not end by itself while the test lasts. */
static void await_first_round(struct rig_side *side)
{
    struct ferry_status status = {.sent_bytes = 0};
    while (ferry_job_status(side->job, &status) == 0 && status.sent_bytes == 0)
        usleep(1000);
}

static void *cancel_it(void *side)
{
    await_first_round(side);
    ferry_job_cancel(((struct rig_side *)side)->job);
    return NULL;
}

static void *switch_it(void *side)
{
    await_first_round(side);
    ferry_job_switch(((struct rig_side *)side)->job);
    return NULL;
}

static void *let_it_go(void *side)
{
    await_first_round(side);
    ferry_job_change(((struct rig_side *)side)->job, "bandwidth", "auto");
    return NULL;
}

static void cancelled_in_mid_round(void)
{
    static const char *const options[] = {CRAWLING, "precopy", NULL};
    static const struct play play = {.pieces = SMALL, .steer = cancel_it};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    rig_assert_stayed(&run, 0);
}

static void switched_in_mid_round(void)
{
    static const char *const options[] = {CRAWLING, "precopy", NULL};
    static const struct play play = {.pieces = SMALL, .writes = true, .steer = switch_it};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    rig_assert_moved(&run, 0);
}

static void another_limit_in_mid_round(void)
{
    static const char *const options[] = {CRAWLING, "hybrid", NULL};
    static const struct play play = {.pieces = SMALL, .steer = let_it_go};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = writer, .ctx = &play, .source_options = options});
    rig_assert_moved(&run, 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"answers_are_not_limited", answers_are_not_limited},
        {"what_follows_is_limited_until_it_is_not", what_follows_is_limited_until_it_is_not},
        {"throttled_job_converges", throttled_job_converges},
        {"cancelled_job_runs_at_full_speed", cancelled_job_runs_at_full_speed},
        {"throttle_taken_back", throttle_taken_back},
        {"throttled_by_its_cpu_limit", throttled_by_its_cpu_limit},
        {"precopy_ends_after_max_rounds", precopy_ends_after_max_rounds},
        {"auto_switches_instead", auto_switches_instead},
        {"hybrid_switches_soon", hybrid_switches_soon},
        {"written_on_the_way_is_sent_on_the_way", written_on_the_way_is_sent_on_the_way},
        {"cancelled_in_mid_round", cancelled_in_mid_round},
        {"switched_in_mid_round", switched_in_mid_round},
        {"another_limit_in_mid_round", another_limit_in_mid_round},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [TESTNAME], for example %s tcp://127.0.0.1:0\n", argv[0],
                argv[0]);
        return 2;
    }
    return pf_suite_run(argv[1], tests, argc > 2 ? argv[2] : NULL);
}
