/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench fault --threads N`: N threads of the job fault at once, against eight of them.
 * The two crowds take turns, each time with a job of its own; the bulk lane is off, so that every
 * touch is a remote fault.
 */
#include "bench/crowd.h"
#include "bench/touch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FEW = 8,
    ROUNDS_LEAST = 3,
    ROUNDS_MOST = 32,
    DEFAULT_BYTES = 64 << 20,
};

/* A crowd, and what each round found. */
struct crowd_run {
    struct pf_crowd crowd;
    double rate[ROUNDS_MOST]; /* faults per second */
    double mean[ROUNDS_MOST], worst_p50[ROUNDS_MOST], worst_p99[ROUNDS_MOST]; /* us */
    double fairness[ROUNDS_MOST];
};

struct crowd_bench {
    const struct pf_bench *bench;
    struct pf_peer peer;
    struct crowd_run few, many;
    unsigned rounds;
    size_t bytes;
    struct pf_why *why;
};

static void keep(struct crowd_run *run, unsigned round, double seconds)
{
    struct pf_crowd *crowd = &run->crowd;
    run->rate[round] = (double)crowd->pages / seconds;
    run->mean[round] = pf_crowd_mean_us(crowd);
    run->worst_p50[round] = pf_crowd_worst_us(crowd, 0.5);
    run->worst_p99[round] = pf_crowd_worst_us(crowd, 0.99);
    run->fairness[round] = run->worst_p99[round] / run->mean[round];
}

static int measure_crowd(struct crowd_bench *bench, struct crowd_run *run)
{
    struct pf_moved moved;
    struct ferry_status status;
    double seconds = 0;
    int error = pf_move_here(&moved, bench->bench, &bench->peer, bench->bytes, false, bench->why);
    if (!error)
        error = pf_crowd_touch(&run->crowd, &moved, &seconds, bench->why);
    if (!error)
        error = pf_moved_complete(&moved, &status, bench->why);
    if (!error)
        keep(run, bench->rounds, seconds);
    pf_moved_close(&moved);
    return error;
}

/* Who is first changes: the second of two migrations finds the machine as the first left it. */
static int measure(struct crowd_bench *bench)
{
    uint64_t start = pf_now_ns();
    uint64_t budget = (uint64_t)(bench->bench->seconds * 1e9);
    int error = 0;
    while (!error && bench->rounds < ROUNDS_MOST &&
           (bench->rounds < ROUNDS_LEAST || pf_now_ns() - start < budget)) {
        bool few_first = bench->rounds % 2 == 0;
        error = measure_crowd(bench, few_first ? &bench->few : &bench->many);
        if (!error)
            error = measure_crowd(bench, few_first ? &bench->many : &bench->few);
        bench->rounds++;
    }
    return error;
}

static void fill(struct crowd_bench *bench, struct pf_report *report)
{
    struct crowd_run *few = &bench->few;
    struct crowd_run *many = &bench->many;
    unsigned n = bench->rounds;
    double ratio[ROUNDS_MOST];
    for (unsigned i = 0; i < n; i++)
        ratio[i] = many->rate[i] / few->rate[i];
    pf_report_add(report, "threads", "threads that fault at once", "", many->crowd.count);
    pf_report_add(report, "throughput_ratio", "throughput / that of 8 threads", "",
                  pf_median(ratio, n));
    pf_report_add(report, "fairness", "worst thread's p99 / mean", "",
                  pf_median(many->fairness, n));
    pf_report_add(report, "faults_per_s", "faults", "/s", pf_median(many->rate, n));
    pf_report_add(report, "mean_us", "fault, mean", "us", pf_median(many->mean, n));
    pf_report_add(report, "worst_p50_us", "fault, worst thread's p50", "us",
                  pf_median(many->worst_p50, n));
    pf_report_add(report, "worst_p99_us", "fault, worst thread's p99", "us",
                  pf_median(many->worst_p99, n));
    pf_report_add(report, "few_faults_per_s", "8 threads: faults", "/s", pf_median(few->rate, n));
    pf_report_add(report, "few_mean_us", "8 threads: fault, mean", "us", pf_median(few->mean, n));
    pf_report_add(report, "few_worst_p99_us", "8 threads: fault, worst thread's p99", "us",
                  pf_median(few->worst_p99, n));
    snprintf(report->note, sizeof report->note, "medians of %u rounds of %zu MiB each", n,
             bench->bytes >> 20);
}

int pf_bench_fault_crowd(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct crowd_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->why = why;
    run->bytes = bench->bytes ? bench->bytes : DEFAULT_BYTES;
    int error = 0;
    if (pf_crowd_init(&run->few.crowd, FEW, run->bytes / PF_TOUCH_PAGE) ||
        pf_crowd_init(&run->many.crowd, bench->threads, run->bytes / PF_TOUCH_PAGE))
        error = pf_why(why, -ENOMEM, "no memory for samples");
    if (!error)
        error = pf_peer_start(&run->peer, bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    pf_crowd_free(&run->few.crowd);
    pf_crowd_free(&run->many.crowd);
    free(run);
    return error;
}
