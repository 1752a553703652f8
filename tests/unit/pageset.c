/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/pageset.h"

#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>

enum { PAGES = 1000 };

/* The same set as an array of bytes: what the real one is compared with. */
static size_t model_count(const char *model, size_t pages)
{
    size_t count = 0;
    for (size_t i = 0; i < pages; i++)
        count += model[i];
    return count;
}

static size_t model_change(char *model, struct pf_run run, char to)
{
    size_t changed = 0;
    for (size_t i = run.first; i < run.first + run.pages; i++) {
        changed += model[i] != to;
        model[i] = to;
    }
    return changed;
}

static void compare(struct pf_pageset *set, const char *model)
{
    size_t wrong = 0;
    for (size_t i = 0; i < set->pages; i++)
        wrong += pf_pageset_has(set, i) != model[i];
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(pf_pageset_count(set), model_count(model, set->pages));
}

static void single_pages(void)
{
    static const size_t pages[] = {0, 1, 62, 63, 64, 65, 127, 128, 129};
    struct pf_pageset set;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, 130), 0);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        CU_ASSERT_FALSE(pf_pageset_has(&set, pages[i]));
        CU_ASSERT_TRUE(pf_pageset_add(&set, pages[i]));
        CU_ASSERT_FALSE(pf_pageset_add(&set, pages[i]));
        CU_ASSERT_TRUE(pf_pageset_has(&set, pages[i]));
        CU_ASSERT_EQUAL(pf_pageset_count(&set), i + 1);
    }
    CU_ASSERT_TRUE(pf_pageset_remove(&set, 64));
    CU_ASSERT_FALSE(pf_pageset_remove(&set, 64));
    CU_ASSERT_FALSE(pf_pageset_has(&set, 64));
    CU_ASSERT_TRUE(pf_pageset_has(&set, 63));
    CU_ASSERT_TRUE(pf_pageset_has(&set, 65));
    pf_pageset_free(&set);
}

/* Every range whose ends lie near a border of words, added to and removed from all patterns. */
static void ranges_at_word_borders(void)
{
    static const size_t ends[] = {0, 1, 63, 64, 65, 127, 128, 191, 192, 193};
    enum { ENDS = sizeof ends / sizeof ends[0], SMALL = 200 };
    struct pf_pageset set;
    char model[SMALL] = {0};
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, SMALL), 0);
    for (int a = 0; a < ENDS; a++)
        for (int b = a; b < ENDS; b++) {
            struct pf_run run = {ends[a], ends[b] - ends[a]};
            struct pf_run half = {ends[a] + run.pages / 2, run.pages - run.pages / 2};
            CU_ASSERT_EQUAL(pf_pageset_add_run(&set, half), model_change(model, half, 1));
            CU_ASSERT_EQUAL(pf_pageset_add_run(&set, run), model_change(model, run, 1));
            compare(&set, model);
            CU_ASSERT_EQUAL(pf_pageset_remove_run(&set, half), model_change(model, half, 0));
            compare(&set, model);
        }
    pf_pageset_free(&set);
}

static struct pf_run model_next(const char *model, size_t pages, size_t from)
{
    struct pf_run run = {from, 0};
    while (run.first < pages && !model[run.first])
        run.first++;
    while (run.first + run.pages < pages && model[run.first + run.pages])
        run.pages++;
    return run;
}

static void random_changes(void)
{
    struct pf_pageset set;
    char model[PAGES] = {0};
    unsigned seed = 4711;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, PAGES), 0);
    for (int i = 0; i < 2000; i++) {
        struct pf_run run = {(size_t)rand_r(&seed) % PAGES, 0};
        run.pages = (size_t)rand_r(&seed) % (PAGES - run.first) % 150;
        char to = (char)(rand_r(&seed) & 1);
        size_t changed = to ? pf_pageset_add_run(&set, run) : pf_pageset_remove_run(&set, run);
        CU_ASSERT_EQUAL(changed, model_change(model, run, to));

        size_t from = (size_t)rand_r(&seed) % PAGES;
        struct pf_run next = pf_pageset_next(&set, from);
        struct pf_run expected = model_next(model, PAGES, from);
        CU_ASSERT_EQUAL(next.pages, expected.pages);
        if (expected.pages)
            CU_ASSERT_EQUAL(next.first, expected.first);
    }
    compare(&set, model);
    pf_pageset_free(&set);
}

static void claims(void)
{
    struct pf_pageset set;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, 300), 0);
    pf_pageset_add_run(&set, (struct pf_run){60, 140});
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 59, 10), 0);
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 60, 10), 10);
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 60, 10), 0);
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 70, 1000), 130); /* over two borders, to its end */
    CU_ASSERT_EQUAL(pf_pageset_count(&set), 0);
    pf_pageset_add_run(&set, (struct pf_run){0, 300});
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 1, 63), 63);
    CU_ASSERT_TRUE(pf_pageset_has(&set, 0));
    CU_ASSERT_TRUE(pf_pageset_has(&set, 64));
    CU_ASSERT_EQUAL(pf_pageset_claim(&set, 299, 64), 1);
    CU_ASSERT_EQUAL(pf_pageset_count(&set), 236);
    pf_pageset_free(&set);
}

/* ---- several threads
 * ----------------------------------------------------------------------------- */

enum { THREADS = 4, SHARED = 40000, ROUNDS = 20 };

struct claimer {
    pthread_t thread;
    struct pf_pageset *set;
    unsigned char *owner; /* how often each page was claimed by this thread */
    unsigned seed;
};

/* Some in runs, some page by page, all at the first that is left: where they meet all the time. */
static void *claim_all(void *arg)
{
    struct claimer *claimer = arg;
    const bool by_runs = claimer->seed % 2;
    size_t at = 0;
    while (pf_pageset_count(claimer->set) > 0) {
        struct pf_run run = pf_pageset_next(claimer->set, at);
        if (run.pages == 0) {
            at = 0;
            continue;
        }
        size_t got = by_runs ? pf_pageset_claim(claimer->set, run.first, 1 + at % 5)
                             : pf_pageset_remove(claimer->set, run.first);
        for (size_t i = 0; i < got; i++)
            claimer->owner[run.first + i]++;
        at = run.first + got;
    }
    return NULL;
}

static size_t pages_not_claimed_once(const struct claimer *claimers)
{
    size_t wrong = 0;
    for (size_t page = 0; page < SHARED; page++) {
        unsigned times = 0;
        for (int i = 0; i < THREADS; i++)
            times += claimers[i].owner[page];
        wrong += times != 1;
    }
    return wrong;
}

static void claims_never_overlap_and_never_miss(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct pf_pageset set;
        struct claimer claimers[THREADS];
        CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, SHARED), 0);
        pf_pageset_add_run(&set, (struct pf_run){0, SHARED});
        for (unsigned i = 0; i < THREADS; i++) {
            claimers[i] = (struct claimer){
                .set = &set, .owner = calloc(SHARED, 1), .seed = round * THREADS + i};
            pthread_create(&claimers[i].thread, NULL, claim_all, &claimers[i]);
        }
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(claimers[i].thread, NULL);
        CU_ASSERT_EQUAL(pages_not_claimed_once(claimers), 0);
        CU_ASSERT_EQUAL(pf_pageset_count(&set), 0);
        for (unsigned i = 0; i < THREADS; i++)
            free(claimers[i].owner);
        pf_pageset_free(&set);
    }
}

/* ---- many at once ---------------------------------------------------------------------------- */

enum { MOVED = 300 };

/* What was in the range and in the one set is in the other, on top of what was there. */
static void moving(void)
{
    struct pf_pageset from, to;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&from, MOVED), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&to, MOVED), 0);
    for (size_t page = 0; page < MOVED; page += 3)
        pf_pageset_add(&from, page);
    pf_pageset_add_run(&to, (struct pf_run){60, 10});
    pf_pageset_move(&from, (struct pf_run){30, 200}, &to);
    for (size_t page = 0; page < MOVED; page++) {
        bool was = page % 3 == 0;
        bool inside = page >= 30 && page < 230;
        CU_ASSERT_EQUAL(pf_pageset_has(&from, page), was && !inside);
        CU_ASSERT_EQUAL(pf_pageset_has(&to, page), (was && inside) || (page >= 60 && page < 70));
    }
    CU_ASSERT_EQUAL(pf_pageset_count(&from), 10 + 23);
    CU_ASSERT_EQUAL(pf_pageset_count(&to), 67 + 10 - 4);
    pf_pageset_free(&from);
    pf_pageset_free(&to);
}

/* Runs inside a word, over a border, over whole words, and again in the word of the last. */
static void adding_in_order(void)
{
    static const struct pf_run runs[] = {{0, 1},    {2, 3},   {63, 1},  {64, 1},
                                         {70, 2},   {72, 60}, {133, 1}, {140, 4},
                                         {190, 70}, {262, 1}, {264, 2}, {299, 1}};
    struct pf_pageset one, other;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&one, MOVED), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&other, MOVED), 0);
    struct pf_pageset_adder adder = pf_pageset_begin_adding(&one);
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        pf_pageset_put(&adder, runs[i]);
        pf_pageset_add_run(&other, runs[i]);
    }
    pf_pageset_end_adding(&adder);
    for (size_t page = 0; page < MOVED; page++)
        CU_ASSERT_EQUAL(pf_pageset_has(&one, page), pf_pageset_has(&other, page));
    CU_ASSERT_EQUAL(pf_pageset_count(&one), pf_pageset_count(&other));
    pf_pageset_free(&one);
    pf_pageset_free(&other);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"single_pages", single_pages},
        {"ranges_at_word_borders", ranges_at_word_borders},
        {"random_changes", random_changes},
        {"claims", claims},
        {"moving", moving},
        {"adding_in_order", adding_in_order},
        {"claims_never_overlap_and_never_miss", claims_never_overlap_and_never_miss},
        {NULL, NULL},
    };
    return pf_suite_run("pageset", tests, argc > 1 ? argv[1] : NULL);
}
