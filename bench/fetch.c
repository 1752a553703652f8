/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench fetch`: a fault that the source answers (--fetch write) beside one that the
 * destination reads by itself (--fetch read), background off. Both take turns in every round, so
 * that a bad moment of the machine does not fall on one of them alone.
 */
#include "bench/move.h"
#include "bench/samples.h"
#include "bench/touch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ROUNDS_MOST = 21,
    ROUNDS_LEAST = 3,
    SAMPLES_MAX = 1 << 18,
    DEFAULT_BYTES = 16 << 20,
};

struct fetch_bench {
    struct pf_bench bench[2]; /* by enum pf_fetch_mode */
    struct pf_peer peer;
    size_t bytes;
    unsigned rounds;
    struct pf_samples faults[2];
    double service[2][ROUNDS_MOST], answer[2][ROUNDS_MOST];
    struct pf_why *why;
};

static int touch_all(struct fetch_bench *run, const struct pf_moved *moved, int mode)
{
    size_t pages = moved->bytes / PF_TOUCH_PAGE;
    size_t *order = pf_touch_order(pages, moved->seed);
    int error = 0;
    if (!order)
        return pf_why(run->why, -ENOMEM, "no memory for the order of pages");
    for (size_t i = 0; i < pages && !error; i++) {
        uint64_t ns;
        uint64_t word = pf_touch(moved->memory + order[i] * PF_TOUCH_PAGE, &ns);
        pf_samples_add(&run->faults[mode], ns);
        if (word != pf_moved_word(moved->seed, order[i]))
            error = pf_moved_wrong(order[i], run->why);
    }
    free(order);
    return error;
}

static int move_once(struct fetch_bench *run, int mode)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error = pf_move_here(&moved, &run->bench[mode], &run->peer, run->bytes, false, run->why);
    if (!error)
        error = touch_all(run, &moved, mode);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    if (!error) {
        run->service[mode][run->rounds] = status.service_p50_us;
        run->answer[mode][run->rounds] = status.answer_p50_us;
    }
    pf_moved_close(&moved);
    return error;
}

/* Who goes first changes from round to round. */
static int measure(struct fetch_bench *run)
{
    uint64_t start = pf_now_ns();
    uint64_t budget = (uint64_t)(run->bench[0].seconds * 1e9);
    int error = 0;
    while (!error && run->rounds < ROUNDS_MOST &&
           (run->rounds < ROUNDS_LEAST || pf_now_ns() - start < budget)) {
        int first = (int)(run->rounds % 2);
        error = move_once(run, first);
        if (!error)
            error = move_once(run, !first);
        run->rounds++;
    }
    return error;
}

static void fill(struct fetch_bench *run, struct pf_report *report)
{
    double write = pf_samples_us(&run->faults[PF_FETCH_WRITE], 0.5);
    double read = pf_samples_us(&run->faults[PF_FETCH_READ], 0.5);
    pf_report_add(report, "write_p50_us", "fault, written by the source, p50", "us", write);
    pf_report_add(report, "write_p99_us", "fault, written by the source, p99", "us",
                  pf_samples_us(&run->faults[PF_FETCH_WRITE], 0.99));
    pf_report_add(report, "write_service_p50_us", "  service time", "us",
                  pf_median(run->service[PF_FETCH_WRITE], run->rounds));
    pf_report_add(report, "write_answer_p50_us", "  until the answer is here", "us",
                  pf_median(run->answer[PF_FETCH_WRITE], run->rounds));
    pf_report_add(report, "read_p50_us", "fault, read by the destination, p50", "us", read);
    pf_report_add(report, "read_p99_us", "fault, read by the destination, p99", "us",
                  pf_samples_us(&run->faults[PF_FETCH_READ], 0.99));
    pf_report_add(report, "read_service_p50_us", "  service time", "us",
                  pf_median(run->service[PF_FETCH_READ], run->rounds));
    pf_report_add(report, "read_answer_p50_us", "  until the page is here", "us",
                  pf_median(run->answer[PF_FETCH_READ], run->rounds));
    pf_report_add(report, "ratio_p50", "read / written", "", read / write);
    snprintf(report->note, sizeof report->note, "samples: %zu and %zu; %u rounds",
             run->faults[PF_FETCH_WRITE].count, run->faults[PF_FETCH_READ].count, run->rounds);
}

static int prepare(struct fetch_bench *run, const struct pf_bench *bench, struct pf_why *why)
{
    run->why = why;
    run->bytes = bench->bytes ? bench->bytes : DEFAULT_BYTES;
    for (int mode = 0; mode < 2; mode++) {
        run->bench[mode] = *bench;
        run->bench[mode].engine.fetch = (unsigned)mode;
        if (pf_samples_init(&run->faults[mode], SAMPLES_MAX))
            return pf_why(why, -ENOMEM, "no memory for samples");
    }
    return pf_peer_start(&run->peer, bench, why);
}

int pf_bench_fetch(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct fetch_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    int error = prepare(run, bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    for (int mode = 0; mode < 2; mode++)
        pf_samples_free(&run->faults[mode]);
    free(run);
    return error;
}
