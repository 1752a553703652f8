/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many faults at once. The source is stopped (SIGSTOP) before the destination touches anything, so
 * that the requests pile up: what is counted then does not depend on who is faster.
 */
#include "tests/e2e/rules.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, PAGES = 16 };

/* Each page is to be asked for by itself: that is what is counted. */
static const char *const on_demand[] = {"background", "off", "prefetch", "off", NULL};

struct toucher {
    pthread_t thread;
    const char *at;
    char seen;
};

/* How the threads are spread, and what the destination's status says while all of them wait. */
struct pile_up {
    size_t distance; /* bytes from one thread's address to the next's */
    uint64_t requests, duplicates;
};

static void *touch(void *arg)
{
    struct toucher *toucher = arg;
    toucher->seen = *(const volatile char *)toucher->at;
    return NULL;
}

static void await_faults(struct rig_side *side, uint64_t faults, const struct pile_up *expected)
{
    struct ferry_status status;
    do {
        usleep(1000);
        ferry_job_status(side->job, &status);
    } while (status.faults < faults || status.requests < expected->requests);
    /* Time for a request too many to show itself. */
    usleep(20000);
    ferry_job_status(side->job, &status);
    rig_say(side, "requests %llu", (unsigned long long)status.requests);
    rig_say(side, "duplicates %llu", (unsigned long long)status.duplicates);
}

static int pile_up_job(struct rig_side *side)
{
    const struct pile_up *pile = side->ctx;
    struct toucher touchers[THREADS];
    size_t wrong = 0;
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH) {
        memset(region, 7, PAGES * RIG_PAGE);
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    rig_say(side, "ready");
    /* The parent's word that the source is stopped. */
    char word;
    if (read(STDIN_FILENO, &word, 1) != 1)
        return 95;
    for (size_t i = 0; i < THREADS; i++) {
        touchers[i] = (struct toucher){.at = region + i * pile->distance};
        pthread_create(&touchers[i].thread, NULL, touch, &touchers[i]);
    }
    await_faults(side, THREADS, pile);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(touchers[i].thread, NULL);
        wrong += touchers[i].seen != 7;
    }
    for (size_t i = 0; i < PAGES * RIG_PAGE; i++)
        wrong += region[i] != 7;
    grid_await_complete(side);
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "all_requests %llu", (unsigned long long)status.requests);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void pile_up(const struct pile_up *pile, const char *const *options)
{
    struct rig_run run;
    int words[2];
    CU_ASSERT_EQUAL_FATAL(pipe(words), 0);
    int standard = dup(STDIN_FILENO);
    dup2(words[0], STDIN_FILENO);
    rig_begin(&run, &(struct rig_setup){.body = pile_up_job,
                                        .ctx = pile,
                                        .source_options = on_demand,
                                        .destination_options = options});
    dup2(standard, STDIN_FILENO);
    close(standard);
    CU_ASSERT_TRUE(rig_await(&run.destination, "ready"));
    kill(run.source.pid, SIGSTOP);
    CU_ASSERT_EQUAL(waitpid(run.source.pid, NULL, WUNTRACED), run.source.pid); /* all of it */
    CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
    CU_ASSERT_TRUE(rig_await(&run.destination, "duplicates"));
    kill(run.source.pid, SIGCONT);
    rig_end(&run);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "requests"), pile->requests);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "duplicates"), pile->duplicates);
    /* Every page was asked for exactly once. */
    CU_ASSERT_EQUAL(rig_number(&run.destination, "all_requests"), PAGES);
    rig_assert_moved(&run, 0);
    close(words[0]);
    close(words[1]);
}

static void threads_fault_at_once(void)
{
    pile_up(&(struct pile_up){RIG_PAGE, THREADS, 0}, NULL);
}

static void faults_on_one_page_are_merged(void)
{
    pile_up(&(struct pile_up){8, 1, THREADS - 1}, NULL);
}

static void more_threads_wait_than_there_are_slots(void)
{
    static const char *const one[] = {"slots", "1", NULL};
    static const char *const two[] = {"slots", "2", NULL};
    pile_up(&(struct pile_up){RIG_PAGE, 1, 0}, one);
    pile_up(&(struct pile_up){RIG_PAGE, 2, 0}, two);
}

/* ---- the kernel's own faults ----------------------------------------------------------------- */

static int system_call_job(struct rig_side *side)
{
    int ends[2];
    rig_open(side);
    char *region = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH) {
        memset(region, 9, PAGES * RIG_PAGE);
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    char copy[100] = "";
    size_t wrong = pipe(ends) != 0;
    wrong += write(ends[1], region, sizeof copy) != sizeof copy;
    /* Over the border of two pages, neither of which is here. */
    wrong += read(ends[0], region + 5 * RIG_PAGE - 50, sizeof copy) != sizeof copy;
    wrong += write(ends[1], region + 4 * RIG_PAGE, sizeof copy) != sizeof copy;
    wrong += read(ends[0], copy, sizeof copy) != sizeof copy;
    for (size_t i = 0; i < sizeof copy; i++)
        wrong += copy[i] != 9;
    for (size_t i = 0; i < PAGES * RIG_PAGE; i++)
        wrong += region[i] != 9;
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void system_calls_are_served(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = system_call_job, .source_options = on_demand});
    rig_assert_moved(&run, 0);
}

/* ---- all at once ----------------------------------------------------------------------------- */

enum { STORM_PAGES = 2048 };

struct storm {
    pthread_t thread;
    uint64_t *words;
    unsigned seed;
    size_t wrong;
};

static void *storm(void *arg)
{
    struct storm *storm = arg;
    unsigned at = storm->seed;
    for (size_t i = 0; i < STORM_PAGES; i++) {
        at = (at * 5 + 1) % STORM_PAGES;
        uint64_t *page = storm->words + (size_t)at * (RIG_PAGE / sizeof(uint64_t));
        for (size_t word = 0; word < RIG_PAGE / sizeof(uint64_t); word += 73)
            storm->wrong += page[word] != (uint64_t)at * 1000003u + word;
    }
    return NULL;
}

/* Eight threads over all pages in orders of their own, against the background stream. */
static int storm_job(struct rig_side *side)
{
    struct storm storms[THREADS];
    size_t wrong = 0;
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", STORM_PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t i = 0; i < STORM_PAGES * RIG_PAGE / sizeof *words; i++)
            words[i] = i / 512 * 1000003u + i % 512;
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        storms[i] = (struct storm){.words = words, .seed = i * 251};
        pthread_create(&storms[i].thread, NULL, storm, &storms[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(storms[i].thread, NULL);
        wrong += storms[i].wrong;
    }
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void faults_and_stream_bring_the_same_pages(void)
{
    static const char *const few[] = {"slots", "3", "stages", "2", NULL};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = storm_job});
    rig_assert_moved(&run, 0);
    rig_run(&run, &(struct rig_setup){.body = storm_job, .destination_options = few});
    rig_assert_moved(&run, 0);
}

const struct pf_test rules_faults[] = {
    {"threads_fault_at_once", threads_fault_at_once},
    {"faults_on_one_page_are_merged", faults_on_one_page_are_merged},
    {"more_threads_wait_than_there_are_slots", more_threads_wait_than_there_are_slots},
    {"system_calls_are_served", system_calls_are_served},
    {"faults_and_stream_bring_the_same_pages", faults_and_stream_bring_the_same_pages},
    {NULL, NULL},
};
