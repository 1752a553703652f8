/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench prefetch`: how many faults a job has that goes through its memory in one way or
 * another, and what a page costs it, without and with neighbours sent unasked. Both take turns in
 * every round; each figure is the median over the rounds.
 *
 * And what a thread that touches pages at random pays for another that walks: the price of what
 * goes ahead of its answers.
 */
#include "bench/samples.h"
#include "bench/touch.h"
#include "bench/walks.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS_MOST = 21, ROUNDS_LEAST = 3, LOOKUPS = 1 << 17, DEFAULT_BYTES = 64 << 20 };

/* One migration. */
struct passage {
    double faults, requests, page_us, useful, useless;
};

struct prefetch_bench {
    struct pf_bench bench[2]; /* prefetch off, on */
    struct pf_peer peer;
    size_t bytes;
    unsigned rounds;
    struct passage passages[PF_WALKS][2][ROUNDS_MOST];
    struct pf_samples lookups[2];
    struct pf_why *why;
};

/* ---- walks ----------------------------------------------------------------------------------- */

/* With the background off nothing else brings what the walk did not touch. */
static void touch_rest(const struct pf_moved *moved)
{
    uint64_t ns;
    for (size_t page = 0; page < moved->bytes / PF_TOUCH_PAGE; page++)
        pf_touch(moved->memory + page * PF_TOUCH_PAGE, &ns);
}

static void go(const struct pf_walk *walk, const struct pf_moved *moved, struct passage *passage)
{
    struct ferry_status status;
    uint64_t start = pf_now_ns();
    walk->go(moved);
    uint64_t ns = pf_now_ns() - start;
    ferry_job_status(moved->job, &status);
    passage->faults = (double)status.faults;
    passage->requests = (double)status.requests;
    passage->page_us = (double)ns / 1000.0 / (double)walk->touched(moved);
    walk->undo(moved);
    touch_rest(moved);
}

static int walk_once(struct prefetch_bench *run, const struct pf_walk *walk, bool on,
                     struct passage *passage)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error =
        pf_move_here(&moved, &run->bench[on], &run->peer, run->bytes, walk->background, run->why);
    if (!error) {
        go(walk, &moved, passage);
        error = pf_moved_complete(&moved, &status, run->why);
    }
    if (!error) {
        passage->useful = (double)status.prefetch_useful_pages;
        passage->useless = (double)status.prefetch_useless_pages;
    }
    pf_moved_close(&moved);
    return error;
}

/* ---- lookups --------------------------------------------------------------------------------- */

/* One thread reads the first half page by page, over and done when the other has looked up all. */
struct reader {
    pthread_t thread;
    const struct pf_moved *moved;
};

static void *read_on(void *arg)
{
    const struct reader *reader = arg;
    uint64_t ns;
    for (size_t page = 0; page < reader->moved->bytes / PF_TOUCH_PAGE / 2; page++)
        pf_touch(reader->moved->memory + page * PF_TOUCH_PAGE, &ns);
    return NULL;
}

static int look_up(struct prefetch_bench *run, const struct pf_moved *moved,
                   struct pf_samples *samples)
{
    size_t half = moved->bytes / PF_TOUCH_PAGE / 2;
    struct reader reader = {.moved = moved};
    uint64_t ns;
    size_t *order = pf_touch_order(half, moved->seed);
    if (!order || pthread_create(&reader.thread, NULL, read_on, &reader)) {
        free(order);
        return pf_why(run->why, -ENOMEM, "no memory for lookups");
    }
    for (size_t i = 0; i < half; i++) {
        pf_touch(moved->memory + (half + order[i]) * PF_TOUCH_PAGE, &ns);
        pf_samples_add(samples, ns);
    }
    pthread_join(reader.thread, NULL);
    free(order);
    touch_rest(moved);
    return 0;
}

static int look_up_once(struct prefetch_bench *run, bool on)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error = pf_move_here(&moved, &run->bench[on], &run->peer, run->bytes, false, run->why);
    if (!error)
        error = look_up(run, &moved, &run->lookups[on]);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    pf_moved_close(&moved);
    return error;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Who goes first changes from round to round. */
static int measure_round(struct prefetch_bench *run)
{
    int error = 0;
    bool first = run->rounds % 2;
    for (unsigned i = 0; i < PF_WALKS && !error; i++)
        for (int turn = 0; turn < 2 && !error; turn++) {
            bool on = first ^ (turn > 0);
            error = walk_once(run, &pf_walks[i], on, &run->passages[i][on][run->rounds]);
        }
    for (int turn = 0; turn < 2 && !error; turn++)
        error = look_up_once(run, first ^ (turn > 0));
    run->rounds++;
    return error;
}

static double median_of(const struct prefetch_bench *run, unsigned walk, int on, size_t offset)
{
    double values[ROUNDS_MOST];
    for (unsigned i = 0; i < run->rounds; i++)
        values[i] = *(const double *)((const char *)&run->passages[walk][on][i] + offset);
    return pf_median(values, run->rounds);
}

/* The keys and labels of a report live as long as the program. */
struct names {
    char keys[PF_WALKS][PF_COLUMNS_MAX][40];
};

static void fill(const struct prefetch_bench *run, struct pf_report *report)
{
    static struct names names;
    static const struct {
        const char *key, *head;
        int on;
        size_t offset;
    } columns[] = {
        {"faults_off", "faults off", 0, offsetof(struct passage, faults)},
        {"faults_on", "on", 1, offsetof(struct passage, faults)},
        {"requests_off", "requests off", 0, offsetof(struct passage, requests)},
        {"requests_on", "on", 1, offsetof(struct passage, requests)},
        {"page_off_us", "us/page off", 0, offsetof(struct passage, page_us)},
        {"page_on_us", "on", 1, offsetof(struct passage, page_us)},
        {"useful_pages", "useful", 1, offsetof(struct passage, useful)},
        {"useless_pages", "useless", 1, offsetof(struct passage, useless)},
    };
    enum { COLUMNS = sizeof columns / sizeof columns[0] };
    report->rows = PF_WALKS;
    report->columns = COLUMNS + 1;
    for (unsigned walk = 0; walk < PF_WALKS; walk++) {
        for (unsigned i = 0; i < COLUMNS; i++) {
            char *key = names.keys[walk][i];
            snprintf(key, sizeof names.keys[walk][i], "%s_%s", pf_walks[walk].key, columns[i].key);
            report->heads[i] = columns[i].head;
            pf_report_add(report, key, pf_walks[walk].label, "",
                          median_of(run, walk, columns[i].on, columns[i].offset));
        }
        char *key = names.keys[walk][COLUMNS];
        snprintf(key, sizeof names.keys[walk][COLUMNS], "%s_fault_ratio", pf_walks[walk].key);
        report->heads[COLUMNS] = "fault ratio";
        double on = median_of(run, walk, 1, offsetof(struct passage, faults));
        pf_report_add(report, key, pf_walks[walk].label, "",
                      median_of(run, walk, 0, offsetof(struct passage, faults)) / (on ? on : 1));
    }
}

static void fill_lookups(struct prefetch_bench *run, struct pf_report *report)
{
    struct pf_samples *off = &run->lookups[0];
    struct pf_samples *on = &run->lookups[1];
    pf_report_add(report, "lookup_p50_off_us", "random touch beside a walk, off, p50", "us",
                  pf_samples_us(off, 0.5));
    pf_report_add(report, "lookup_p50_on_us", "  on, p50", "us", pf_samples_us(on, 0.5));
    pf_report_add(report, "lookup_p99_off_us", "  off, p99", "us", pf_samples_us(off, 0.99));
    pf_report_add(report, "lookup_p99_on_us", "  on, p99", "us", pf_samples_us(on, 0.99));
    snprintf(report->note, sizeof report->note,
             "medians of %u rounds with %zu MiB each; %zu and %zu random touches", run->rounds,
             run->bytes >> 20, off->count, on->count);
}

static int measure(struct prefetch_bench *run, double seconds)
{
    uint64_t start = pf_now_ns();
    uint64_t budget = (uint64_t)(seconds * 1e9);
    int error = 0;
    for (int i = 0; i < 2 && !error; i++)
        if (pf_samples_init(&run->lookups[i], LOOKUPS))
            error = pf_why(run->why, -ENOMEM, "no memory for samples");
    while (!error && run->rounds < ROUNDS_MOST &&
           (run->rounds < ROUNDS_LEAST || pf_now_ns() - start < budget))
        error = measure_round(run);
    return error;
}

int pf_bench_prefetch(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct prefetch_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench[0] = run->bench[1] = *bench;
    run->bench[1].prefetch = true;
    run->why = why;
    run->bytes = bench->bytes ? bench->bytes : DEFAULT_BYTES;
    /* The source never grants anything: it fills what the destination does. */
    int error = pf_peer_start(&run->peer, &run->bench[1], why);
    if (!error)
        error = measure(run, bench->seconds);
    if (!error) {
        fill(run, report);
        fill_lookups(run, report);
    }
    pf_peer_stop(&run->peer);
    pf_samples_free(&run->lookups[0]);
    pf_samples_free(&run->lookups[1]);
    free(run);
    return error;
}
