/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench bulk`: how fast memory follows a job that touches none of it, against what one
 * core could do that receives and then places. The three measurements take turns; medians.
 */
#include "bench/link.h"
#include "bench/local.h"
#include "bench/move.h"
#include "bench/touch.h"
#include "pageferry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ROUNDS = 5,
    NAP_US = 500,
    DEFAULT_BYTES = 512 << 20,
    HUGE_BYTES = 128 << 20,
    BYTES_MIN = 16 << 20
};

#define BULK_NS 100000000000ull

struct bulk_bench {
    const struct pf_bench *bench;
    struct pf_peer peer;
    struct pf_link link;
    double raw[ROUNDS], copy[ROUNDS], bulk[ROUNDS];
    size_t bytes;
    struct pf_why *why;
};

static uint64_t share(const struct bulk_bench *run, double part)
{
    return (uint64_t)(run->bench->seconds * 1e9 * part / ROUNDS);
}

/*
 * As the bulk lane writes: from the job's memory, in stages, into a few stages again and again; or
 * in place, all over the region.
 */
static int measure_raw(struct bulk_bench *run, unsigned round)
{
    const struct pf_options *options = &run->bench->engine;
    size_t piece = pf_options_stage_size(options, run->bench->page_size);
    bool in_place = run->bench->flags & FERRY_SHARED && options->place != PF_PLACE_COPY;
    size_t most = PF_LINK_REGION_BYTES / piece * piece;
    size_t ring = in_place ? most : options->stages * piece;
    struct pf_write_pattern pattern = {
        .piece = piece,
        .from_bytes = most,
        .to_bytes = ring < most ? ring : most,
    };
    int error = pf_link_begin(&run->link, &run->peer);
    if (!error)
        error = pf_link_write_rate(&run->link, &pattern, share(run, 0.2), &run->raw[round]);
    if (!error)
        error = pf_link_end(&run->link, &run->peer);
    if (error)
        *run->why = run->link.why;
    return error;
}

/* A size that the raw rate would move in the time there is. */
static size_t bulk_bytes(const struct bulk_bench *run, unsigned round)
{
    double fitting = run->raw[round] * (double)share(run, 0.6) / 2;
    size_t bytes = fitting < (double)run->bytes ? (size_t)fitting : run->bytes;
    if (bytes < BYTES_MIN)
        bytes = run->bytes < BYTES_MIN ? run->bytes : BYTES_MIN;
    size_t page_size =
        run->bench->page_size == FERRY_PAGE_DEFAULT ? PF_TOUCH_PAGE : run->bench->page_size;
    return bytes / page_size * page_size;
}

/* Naps, so as to leave both cores to the engine; the end is known to half a millisecond. */
static int time_arrival(const struct pf_moved *moved, double *rate, struct pf_why *why)
{
    struct ferry_status status;
    uint64_t ns = 0;
    do {
        usleep(NAP_US);
        ferry_job_status(moved->job, &status);
        ns = pf_now_ns() - moved->began_ns;
        if (ns > BULK_NS)
            return pf_why(why, -ETIMEDOUT, "the job's memory did not arrive within %d s",
                          (int)(BULK_NS / 1000000000));
    } while (status.received_bytes < moved->bytes);
    *rate = (double)moved->bytes / (double)ns;
    return 0;
}

static int measure_bulk(struct bulk_bench *run, unsigned round)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error =
        pf_move_here(&moved, run->bench, &run->peer, bulk_bytes(run, round), true, run->why);
    if (!error)
        error = time_arrival(&moved, &run->bulk[round], run->why);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    pf_moved_close(&moved);
    return error;
}

static int measure(struct bulk_bench *run)
{
    int error = pf_link_open(&run->link, &run->peer, run->bench);
    if (error)
        *run->why = run->link.why;
    for (unsigned round = 0; round < ROUNDS && !error; round++) {
        error = measure_raw(run, round);
        if (!error)
            error = pf_local_copy_rate(&run->bench->engine, share(run, 0.2), &run->copy[round],
                                       run->why);
        if (!error)
            error = measure_bulk(run, round);
    }
    return error;
}

static void fill(struct bulk_bench *run, struct pf_report *report)
{
    double bulk = pf_median(run->bulk, ROUNDS);
    double raw = pf_median(run->raw, ROUNDS);
    double copy = pf_median(run->copy, ROUNDS);
    pf_report_add(report, "bulk_GBps", "background stream", "GB/s", bulk);
    pf_report_add(report, "raw_GBps", "raw writes of a stage's size", "GB/s", raw);
    pf_report_add(report, "copy_GBps", "UFFDIO_COPY, 64 KiB runs", "GB/s", copy);
    pf_report_add(report, "raw_ratio", "stream / raw writes", "", bulk / raw);
    pf_report_add(report, "ratio", "stream / (raw, then copy, on one core)", "",
                  bulk * (1 / raw + 1 / copy));
    snprintf(report->note, sizeof report->note, "medians of %d; regions of at most %zu MiB", ROUNDS,
             run->bytes >> 20);
}

int pf_bench_bulk(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct bulk_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->why = why;
    size_t most = bench->page_size == FERRY_PAGE_DEFAULT ? DEFAULT_BYTES : HUGE_BYTES;
    run->bytes = bench->bytes ? bench->bytes : most;
    int error = pf_peer_start(&run->peer, bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    pf_link_close(&run->link);
    free(run);
    return error;
}
