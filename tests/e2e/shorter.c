/* SPDX-License-Identifier: BSD-2-Clause */
/* e2e_shorter URI [TESTNAME]: migrations whose pages are made shorter on their way. */
#include "core/encode/squeeze.h"
#include "core/job/job.h"
#include "tests/e2e/rig.h"

#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 1024, WORDS = RIG_PAGE / sizeof(uint64_t), EACH = 7, NOISE = 8 };

/* What a job does beside writing; every function may be NULL. */
struct play {
    size_t pages;                           /* 0: PAGES */
    void (*stepped)(struct rig_side *side); /* at the source, after each step of its migration */
};

struct memory {
    uint64_t *words;
    size_t pages;
    uint64_t step;
};

/* ---- the job --------------------------------------------------------------------------------- */

/* Of most pages few bits are set; those of every eighth don't get any shorter. */
static uint64_t word_of(uint64_t page, uint64_t word)
{
    uint64_t value = page * WORDS + word + 1;
    if (page % NOISE != 0)
        return value % 16;
    value *= 0x9e3779b97f4a7c15u;
    value = (value ^ value >> 31) * 0xff51afd7ed558ccdu;
    return value ^ value >> 29;
}

/*
 * Each step writes a word of every seventh page; one page becomes zero and is written again.
 * Meanwhile the engine reads, which ThreadSanitizer need not tell: that is what is tested.
 */
__attribute__((no_sanitize_thread)) static void step(struct memory *memory)
{
    volatile uint64_t *words = memory->words;
    memory->step++;
    for (size_t page = memory->step % EACH; page < memory->pages; page += EACH)
        words[page * WORDS + memory->step % WORDS] = memory->step;
    for (size_t i = 0; i < WORDS && memory->step % 16 == 0; i++)
        words[i] = 0;
}

static void fill(struct memory *memory)
{
    for (size_t page = 0; page < memory->pages; page++)
        for (size_t i = 0; i < WORDS; i++)
            memory->words[page * WORDS + i] = word_of(page, i);
}

/* Against memory that went through the same steps and never moved. */
static uint64_t wrong_words(const struct memory *memory)
{
    struct memory expected = {.words = malloc(memory->pages * RIG_PAGE), .pages = memory->pages};
    uint64_t wrong = 0;
    fill(&expected);
    while (expected.step < memory->step)
        step(&expected);
    for (size_t i = 0; i < memory->pages * WORDS; i++)
        wrong += expected.words[i] != memory->words[i];
    free(expected.words);
    return wrong;
}

static int leave(struct rig_side *side, struct memory *memory)
{
    const struct play *play = side->ctx;
    int how = FERRY_CONTINUE;
    if (ferry_job_migrate(side->job, side->uri) < 0)
        _exit(94);
    while (how == FERRY_CONTINUE && rig_moving(side)) {
        how = ferry_job_safepoint(side->job);
        if (how == FERRY_MOVED)
            break;
        step(memory);
        usleep(1000);
        if (play->stepped)
            play->stepped(side);
    }
    return how;
}

#define SAY(name) rig_say(side, #name " %llu", (unsigned long long)pf_count_get(&counters->name))

static void say_counters(struct rig_side *side)
{
    const struct pf_counters *counters = &side->job->counters;
    SAY(saved_bytes);
    SAY(xbzrle_pages);
    SAY(xbzrle_bytes);
    SAY(xbzrle_misses);
    SAY(compressed_pages);
    SAY(compressed_bytes);
    pthread_mutex_lock(&side->job->lock);
    rig_say(side, "note %s", side->job->notes[PF_NOTE_FEWER_BYTES]);
    pthread_mutex_unlock(&side->job->lock);
}

static int writer(struct rig_side *side)
{
    const struct play *play = side->ctx;
    struct memory memory = {.pages = play->pages ? play->pages : PAGES};
    rig_open(side);
    memory.words = ferry_job_alloc(side->job, "memory", memory.pages * RIG_PAGE, 0, FERRY_ANON);
    if (!memory.words || ferry_job_state(side->job, &memory.step, sizeof memory.step) < 0)
        return 96;
    int how = rig_start(side);
    if (how < 0) {
        rig_close(side);
        return 3;
    }
    if (how == FERRY_FRESH) {
        fill(&memory);
        how = leave(side, &memory);
        say_counters(side);
        if (how == FERRY_MOVED)
            return rig_close(side);
        rig_say(side, "why %s", ferry_job_why(side->job));
    }
    step(&memory);
    rig_say(side, "answer %llu", (unsigned long long)wrong_words(&memory));
    return rig_close(side);
}

/* ---- each way -------------------------------------------------------------------------------- */

/* A link on which four megabytes take several rounds. */
#define ROUNDS "mode", "precopy", "bandwidth", "24M", "downtime", "1", "max-rounds", "4"

static const struct play plain = {.stepped = NULL};

static bool built(unsigned how)
{
    if (pf_squeeze_built() & 1u << how)
        return true;
    printf("(not built in) ");
    return false;
}

static void move(struct rig_run *run, const char *const *options, const struct play *play)
{
    rig_run(run, &(struct rig_setup){.body = writer, .ctx = play, .source_options = options});
    rig_assert_moved(run, 0);
    CU_ASSERT(rig_number(&run->source, "saved_bytes") > 0);
}

static void as_differences(void)
{
    static const char *const options[] = {ROUNDS, "xbzrle", "on", NULL};
    struct rig_run run;
    move(&run, options, &plain);
    uint64_t pages = rig_number(&run.source, "xbzrle_pages");
    CU_ASSERT(pages > 0);
    CU_ASSERT(rig_number(&run.source, "xbzrle_bytes") < pages * 200);
    CU_ASSERT_EQUAL(rig_number(&run.source, "compressed_pages"), 0);
}

static void compressed(const char *name, unsigned how)
{
    const char *const options[] = {ROUNDS, "compress", name, "compress-level", "2", NULL};
    struct rig_run run;
    if (!built(how))
        return;
    move(&run, options, &plain);
    uint64_t pages = rig_number(&run.source, "compressed_pages");
    CU_ASSERT(pages >= PAGES / 2);
    CU_ASSERT(rig_number(&run.source, "compressed_bytes") < pages * RIG_PAGE / 2);
    CU_ASSERT_EQUAL(rig_number(&run.source, "xbzrle_pages"), 0);
}

static void compressed_by_zstd(void)
{
    compressed("zstd", PF_COMPRESS_ZSTD);
}

static void compressed_by_lz4(void)
{
    compressed("lz4", PF_COMPRESS_LZ4);
}

static void first_compressed_then_as_differences(void)
{
    static const char *const options[] = {ROUNDS, "compress", "zstd", "xbzrle", "on", NULL};
    struct rig_run run;
    if (!built(PF_COMPRESS_ZSTD))
        return;
    move(&run, options, &plain);
    CU_ASSERT(rig_number(&run.source, "compressed_pages") >= PAGES / 2);
    CU_ASSERT(rig_number(&run.source, "xbzrle_pages") > 0);
}

/* Post-copy takes over what is not there, after rounds of either kind. */
static void in_a_hybrid(void)
{
    static const char *const options[] = {"mode", "hybrid",   "bandwidth", "24M", "xbzrle",
                                          "on",   "compress", "lz4",       NULL};
    struct rig_run run;
    if (built(PF_COMPRESS_LZ4))
        move(&run, options, &plain);
}

static void decide(struct rig_run *run, const char *const *options, const struct play *play)
{
    rig_run(run, &(struct rig_setup){.body = writer, .ctx = play, .source_options = options});
    rig_assert_moved(run, 0);
    CU_ASSERT(rig_mentions(&run->source, "--fewer-bytes auto: "));
    CU_ASSERT(strlen(rig_said(&run->source, "note")) > 20);
}

/* Four megabytes a second is less than any CPU compresses. */
static void a_slow_link_gets_fewer_bytes(void)
{
    static const char *const options[] = {"mode",        "precopy", "bandwidth",  "4M",
                                          "downtime",    "1",       "max-rounds", "1",
                                          "fewer-bytes", "auto",    NULL};
    struct rig_run run;
    decide(&run, options, &plain);
    CU_ASSERT(rig_mentions(&run.source, " and XBZRLE, since the link takes"));
    CU_ASSERT(!rig_mentions(&run.source, "auto: no compression") || !pf_squeeze_built());
    CU_ASSERT(rig_number(&run.source, "compressed_pages") > 0 || !pf_squeeze_built());
}

/*
 * Which link is fast depends on what it is compared with: here the slowest there is, the highest
 * level on pages of few bits. So it does not depend on how busy the machine is. It is looked often
 * enough how much has gone, of what is more than need be known.
 */
static void a_fast_link_is_left_alone(void)
{
    static const char *const options[] = {
        "mode",        "precopy", "bandwidth",      "100M", "downtime",    "1",  "max-rounds", "1",
        "fewer-bytes", "auto",    "compress-level", "19",   "progress-ms", "10", NULL};
    static const struct play large = {.pages = 8 * PAGES};
    struct rig_run run;
    decide(&run, options, &large);
    CU_ASSERT(rig_mentions(&run.source, "auto: no compression"));
    CU_ASSERT_EQUAL(rig_number(&run.source, "compressed_pages"), 0);
}

/* All was sent before there was anything to be measured. */
static void a_small_job_is_left_alone(void)
{
    static const char *const options[] = {"mode", "precopy", "fewer-bytes", "auto", NULL};
    struct rig_run run;
    decide(&run, options, &plain);
    CU_ASSERT(rig_mentions(&run.source, "pages go as they are"));
    CU_ASSERT_EQUAL(rig_number(&run.source, "saved_bytes"), 0);
}

/* ---- changes, and what is wrong -------------------------------------------------------------- */

static void change_the_cache(struct rig_side *side)
{
    uint64_t round = pf_count_get(&side->job->counters.round);
    if (round == 1 && pf_knob(&side->job->knobs.xbzrle_cache) != 64 << 10)
        rig_say(side, "smaller %d", ferry_job_change(side->job, "xbzrle-cache", "64K"));
    if (round == 3 && pf_knob(&side->job->knobs.xbzrle_cache) != 8 << 20)
        rig_say(side, "larger %d", ferry_job_change(side->job, "xbzrle-cache", "8M"));
}

static void the_cache_changes_its_size(void)
{
    static const char *const options[] = {ROUNDS, "xbzrle", "on", "xbzrle-cache", "1M", NULL};
    static const struct play play = {.stepped = change_the_cache};
    struct rig_run run;
    move(&run, options, &play);
    CU_ASSERT_EQUAL(rig_number(&run.source, "smaller"), 0);
    CU_ASSERT_EQUAL(rig_number(&run.source, "larger"), 0);
    CU_ASSERT(rig_number(&run.source, "xbzrle_misses") > 0);
}

/* A bit of a stage is another when it arrives: nothing of it is used, and the job stays. */
static void spoilt_pages_are_not_used(void)
{
    static const char *const options[] = {ROUNDS, "compress", "lz4", "stage-size", "16K", NULL};
    static const char *const stages[] = {"stage-size", "16K", NULL};
    unsigned refused = 0;
    if (!built(PF_COMPRESS_LZ4))
        return;
    for (unsigned at = 150; at < 250 && refused < 2; at += 5) {
        struct rig_run run;
        rig_run(&run, &(struct rig_setup){.body = writer,
                                          .ctx = &plain,
                                          .source_options = options,
                                          .destination_options = stages,
                                          .source_at = at,
                                          .kind = "corrupt"});
        if (!rig_mentions(&run.source, "a stage is spoilt"))
            continue;
        refused++;
        rig_assert_stayed(&run, 0);
    }
    CU_ASSERT_EQUAL(refused, 2);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"as_differences", as_differences},
        {"compressed_by_zstd", compressed_by_zstd},
        {"compressed_by_lz4", compressed_by_lz4},
        {"first_compressed_then_as_differences", first_compressed_then_as_differences},
        {"in_a_hybrid", in_a_hybrid},
        {"a_slow_link_gets_fewer_bytes", a_slow_link_gets_fewer_bytes},
        {"a_fast_link_is_left_alone", a_fast_link_is_left_alone},
        {"a_small_job_is_left_alone", a_small_job_is_left_alone},
        {"the_cache_changes_its_size", the_cache_changes_its_size},
        {"spoilt_pages_are_not_used", spoilt_pages_are_not_used},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [TESTNAME]\n", argv[0]);
        return 2;
    }
    return pf_suite_run("shorter", tests, argc > 2 ? argv[2] : NULL);
}
