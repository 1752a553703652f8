/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours sent unasked: what they save, that each page still comes once, and never stale. */
#include "tests/e2e/rules.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 512, WORDS = RIG_PAGE / sizeof(uint64_t), READERS = 4 };

/* Pushed: who pulls has no neighbours sent. */
static const char *const pushed[] = {"fetch", "write", NULL};
static const char *const on_demand[] = {"fetch", "write", "background", "off", NULL};
static const char *const off[] = {"fetch", "write", "background", "off", "prefetch", "off", NULL};
static const char *const small[] = {"prefetch-window", "16K", "slots", "3", NULL};

/* How the job goes through its region at the destination. */
struct course {
    size_t (*order)(size_t step);
    bool zeros;     /* every third page is all zero */
    unsigned flags; /* of the region */
};

static uint64_t word_of(const struct course *course, size_t page, size_t word)
{
    return course->zeros && page % 3 == 0 ? 0 : page * 1000003u + word + 1;
}

static void fill(const struct course *course, uint64_t *words)
{
    for (size_t i = 0; i < (size_t)PAGES * WORDS; i++)
        words[i] = word_of(course, i / WORDS, i % WORDS);
}

static size_t wrong_in(const struct course *course, const uint64_t *words, size_t page)
{
    size_t wrong = 0;
    for (size_t word = 0; word < WORDS; word += 73)
        wrong += words[page * WORDS + word] != word_of(course, page, word);
    return wrong;
}

/* Both lanes count what they claim (the source) and what comes (the destination). */
static void say_counts(struct rig_side *side)
{
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "requests %llu", (unsigned long long)status.requests);
    uint64_t pages = status.normal_pages + status.zero_pages;
    rig_say(side, "pages %llu", (unsigned long long)pages);
    rig_say(side, "zero %llu", (unsigned long long)status.zero_pages);
    rig_say(side, "sent %llu", (unsigned long long)status.sent_bytes);
    rig_say(side, "prefetched %llu", (unsigned long long)status.prefetched_pages);
    rig_say(side, "useful %llu", (unsigned long long)status.prefetch_useful_pages);
    uint64_t judged = status.prefetch_useful_pages + status.prefetch_useless_pages;
    rig_say(side, "judged %llu", (unsigned long long)judged);
}

static int leave(struct rig_side *side, const struct course *course, uint64_t *words)
{
    fill(course, words);
    if (rig_move(side, side->uri) != FERRY_MOVED)
        return 1;
    say_counts(side);
    return rig_close(side);
}

/* What the source says of the use of its guesses comes with its goodbye. */
static void await_verdict(struct rig_side *side)
{
    struct ferry_status status = {0};
    while (!status.complete) {
        usleep(1000);
        ferry_job_status(side->job, &status);
    }
}

/* ---- one reader ------------------------------------------------------------------------------ */

static int walk_job(struct rig_side *side)
{
    const struct course *course = side->ctx;
    size_t wrong = 0;
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, course->flags);
    if (rig_start(side) == FERRY_FRESH)
        return leave(side, course, words);
    for (size_t step = 0; step < PAGES; step++)
        wrong += wrong_in(course, words, course->order(step));
    await_verdict(side);
    say_counts(side);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static size_t onwards(size_t step)
{
    return step;
}

static size_t backwards(size_t step)
{
    return PAGES - 1 - step;
}

static size_t by_columns(size_t step)
{
    enum { ROW = 8, ROWS = PAGES / ROW };
    return step % ROWS * ROW + step / ROWS;
}

/* x (2x + 1) is a permutation modulo a power of two; thrice, no stride is left in it. */
static size_t scattered(size_t step)
{
    for (int round = 0; round < 3; round++)
        step = (step * (2 * step + 1) + 977) % PAGES;
    return step;
}

static void assert_counts(const struct rig_run *run)
{
    CU_ASSERT_EQUAL(rig_number(&run->source, "pages"), PAGES);
    CU_ASSERT_EQUAL(rig_number(&run->destination, "pages"), PAGES);
    CU_ASSERT_EQUAL(rig_number(&run->source, "prefetched"),
                    rig_number(&run->destination, "prefetched"));
    CU_ASSERT_EQUAL(rig_number(&run->source, "judged"), rig_number(&run->source, "prefetched"));
    CU_ASSERT_EQUAL(rig_number(&run->destination, "judged"),
                    rig_number(&run->source, "prefetched"));
}

static void walk(struct rig_run *run, const struct course *course, const char *const *source,
                 const char *const *destination)
{
    rig_run(run, &(struct rig_setup){.body = walk_job,
                                     .ctx = course,
                                     .source_options = source,
                                     .destination_options = destination});
    assert_counts(run);
    rig_assert_moved(run, 0);
}

static void neighbours_come_unasked(void)
{
    static const struct course courses[] = {
        {onwards, false, 0},
        {backwards, false, 0},
        {by_columns, false, 0},
        /* In place, where the transport allows it: pages go past the tray. */
        {onwards, false, FERRY_SHARED},
        {by_columns, false, FERRY_SHARED},
    };
    for (size_t i = 0; i < sizeof courses / sizeof courses[0]; i++) {
        struct rig_run run;
        walk(&run, &courses[i], on_demand, NULL);
        CU_ASSERT(rig_number(&run.destination, "prefetched") > PAGES / 3);
        CU_ASSERT(rig_number(&run.destination, "requests") < PAGES * 2 / 3);
        CU_ASSERT(rig_number(&run.destination, "useful") > PAGES / 8);
        CU_ASSERT_EQUAL(rig_number(&run.source, "sent"), PAGES * RIG_PAGE);
        walk(&run, &courses[i], on_demand, small);
        CU_ASSERT(rig_number(&run.destination, "prefetched") > 0);
    }
}

static void neighbours_of_zeros_cost_no_data(void)
{
    static const struct course courses[] = {{onwards, true, 0}, {onwards, true, FERRY_SHARED}};
    const size_t zeros = (PAGES + 2) / 3;
    for (size_t i = 0; i < sizeof courses / sizeof courses[0]; i++) {
        struct rig_run run;
        walk(&run, &courses[i], on_demand, NULL);
        CU_ASSERT(rig_number(&run.destination, "prefetched") > PAGES / 3);
        CU_ASSERT_EQUAL(rig_number(&run.source, "zero"), zeros);
        CU_ASSERT_EQUAL(rig_number(&run.source, "sent"), (PAGES - zeros) * RIG_PAGE);
    }
}

static void scattered_faults_are_served_alone(void)
{
    static const struct course course = {scattered, false, 0};
    struct rig_run run;
    walk(&run, &course, on_demand, NULL);
    CU_ASSERT(rig_number(&run.destination, "prefetched") < PAGES / 8);
}

static void either_side_turns_it_off(void)
{
    static const struct course course = {onwards, false, 0};
    for (int side = 0; side < 2; side++) {
        struct rig_run run;
        walk(&run, &course, side ? on_demand : off, side ? off : NULL);
        CU_ASSERT_EQUAL(rig_number(&run.source, "prefetched"), 0);
        CU_ASSERT_EQUAL(rig_number(&run.destination, "requests"), PAGES);
    }
}

/* ---- many readers, and the background stream ------------------------------------------------- */

struct reader {
    pthread_t thread;
    const uint64_t *words;
    const struct course *course;
    size_t number, wrong;
};

/* Each begins elsewhere, every other one goes backwards; all of them meet all pages. */
static void *read_all(void *arg)
{
    struct reader *reader = arg;
    for (size_t step = 0; step < PAGES; step++) {
        size_t page = (step + reader->number * (PAGES / READERS)) % PAGES;
        if (reader->number % 2)
            page = PAGES - 1 - page;
        reader->wrong += wrong_in(reader->course, reader->words, page);
    }
    return NULL;
}

static int race_job(struct rig_side *side)
{
    const struct course *course = side->ctx;
    struct reader readers[READERS];
    size_t wrong = 0;
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, course->flags);
    if (rig_start(side) == FERRY_FRESH)
        return leave(side, course, words);
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.words = words, .course = course, .number = i};
        pthread_create(&readers[i].thread, NULL, read_all, &readers[i]);
    }
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        wrong += readers[i].wrong;
    }
    await_verdict(side);
    say_counts(side);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

/* Were a page claimed twice, or put back once claimed, the counts would not come out. */
static void one_lane_carries_each_page(void)
{
    static const struct course courses[] = {{onwards, true, 0}, {onwards, true, FERRY_SHARED}};
    static const char *const few[] = {"slots", "3", "stages", "2", "stage-size", "16K", NULL};
    struct rig_run run;
    for (int turn = 0; turn < 4; turn++) {
        rig_run(&run, &(struct rig_setup){.body = race_job,
                                          .ctx = &courses[turn / 2],
                                          .source_options = turn == 3 ? on_demand : pushed,
                                          .destination_options = turn == 1 ? few : NULL});
        assert_counts(&run);
        rig_assert_moved(&run, 0);
    }
}

/* ---- given back ------------------------------------------------------------------------------ */

enum { STRETCH = 32, GIVEN = 5 };

/*
 * The job reads on for a few pages, so that a window is under way, and gives back part of what
 * lies before it: the tray may come before, while or after that is done.
 */
static int give_back_job(struct rig_side *side)
{
    const struct course *course = side->ctx;
    static const uint64_t zeros[GIVEN * WORDS];
    size_t wrong = 0;
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, course->flags);
    if (rig_start(side) == FERRY_FRESH)
        return leave(side, course, words);
    for (size_t at = 0; at < PAGES; at += STRETCH) {
        size_t given = at + 4 + at / STRETCH % 16;
        for (size_t page = at; page < at + 3; page++)
            wrong += wrong_in(course, words, page);
        madvise(words + given * WORDS, GIVEN * RIG_PAGE, MADV_DONTNEED);
        wrong += memcmp(words + given * WORDS, zeros, GIVEN * RIG_PAGE / 2) != 0;
    }
    for (size_t page = 0; page < PAGES; page++) {
        size_t given = page / STRETCH * STRETCH + 4 + page / STRETCH % 16;
        if (page < given || page >= given + GIVEN)
            wrong += wrong_in(course, words, page);
    }
    await_verdict(side);
    for (size_t at = 0; at < PAGES; at += STRETCH)
        wrong += memcmp(words + (at + 4 + at / STRETCH % 16) * WORDS, zeros, GIVEN * RIG_PAGE) != 0;
    say_counts(side);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void page_given_back_is_not_brought_by_its_neighbours(void)
{
    static const struct course course = {onwards, false, 0};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){
                      .body = give_back_job, .ctx = &course, .source_options = on_demand});
    CU_ASSERT(rig_number(&run.destination, "prefetched") > 0);
    rig_assert_moved(&run, 0);
}

const struct pf_test rules_prefetch[] = {
    {"neighbours_come_unasked", neighbours_come_unasked},
    {"neighbours_of_zeros_cost_no_data", neighbours_of_zeros_cost_no_data},
    {"scattered_faults_are_served_alone", scattered_faults_are_served_alone},
    {"either_side_turns_it_off", either_side_turns_it_off},
    {"one_lane_carries_each_page", one_lane_carries_each_page},
    {"page_given_back_is_not_brought_by_its_neighbours",
     page_given_back_is_not_brought_by_its_neighbours},
    {NULL, NULL},
};
