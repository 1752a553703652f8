/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench precopy`: how fast a job that stands goes over by pre-copy alone, against raw
 * writes of 1 MiB over as much memory, into memory that is made as it is by default and into such
 * that has been made before. All take turns; medians.
 */
#include "base/clock.h"
#include "bench/link.h"
#include "bench/move.h"
#include "bench/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS_MIN = 3, ROUNDS_MAX = 15, DEFAULT_BYTES = 512 << 20, PIECE = 1 << 20 };

/* What a migration may take beside its bytes. */
static const double total_factor = 1.1;
static const double total_ns = 1e8;

enum figure { RAW, FIRST, RATIO, TOTAL, TOTAL_RATIO, SOURCE_CPU, DESTINATION_CPU, FIGURES };

/* The destination's memory is made as it is by default, or before the source comes. */
enum way { BY_DEFAULT, PREALLOC, WAYS };

struct precopy_bench {
    struct pf_bench bench; /* its regions of the bare connection are as large as the job's */
    struct pf_peer peer;
    struct pf_link link;
    double figures[WAYS][FIGURES][ROUNDS_MAX];
    unsigned rounds;
    struct pf_why *why;
};

static const struct row {
    const char *key, *label, *unit;
} rows[WAYS][FIGURES] = {
    [BY_DEFAULT] =
        {
            [RAW] = {"raw_GBps", "raw writes of 1 MiB", "GB/s"},
            [FIRST] = {"first_GBps", "first round of pre-copy", "GB/s"},
            [RATIO] = {"ratio", "first round / raw writes", ""},
            [TOTAL] = {"total_ms", "the whole migration", "ms"},
            [TOTAL_RATIO] = {"total_ratio", "the whole / (1.1 x bytes / raw + 100 ms)", ""},
            [SOURCE_CPU] = {"source_cpu_s_per_GB", "CPU time of the source", "s/GB"},
            [DESTINATION_CPU] = {"destination_cpu_s_per_GB", "CPU time of the destination", "s/GB"},
        },
    [PREALLOC] =
        {
            [FIRST] = {"prealloc_first_GBps", "with prealloc: first round", "GB/s"},
            [RATIO] = {"prealloc_ratio", "with prealloc: first round / raw writes", ""},
            [TOTAL] = {"prealloc_total_ms", "with prealloc: the whole migration", "ms"},
            [TOTAL_RATIO] = {"prealloc_total_ratio", "with prealloc: the whole / (as above)", ""},
            [SOURCE_CPU] = {"prealloc_source_cpu_s_per_GB", "with prealloc: the source", "s/GB"},
            [DESTINATION_CPU] = {"prealloc_destination_cpu_s_per_GB",
                                 "with prealloc: the destination", "s/GB"},
        },
};

static int measure_raw(struct precopy_bench *run, double *rate)
{
    struct pf_write_pattern pattern = {
        .piece = PIECE,
        .from_bytes = run->bench.bytes,
        .to_bytes = run->bench.bytes,
    };
    int error = pf_link_begin(&run->link, &run->peer);
    if (!error)
        error = pf_link_write_pass(&run->link, &pattern, run->bench.bytes / PIECE, rate);
    if (!error)
        error = pf_link_end(&run->link, &run->peer);
    if (error)
        *run->why = run->link.why;
    return error;
}

static void note(struct precopy_bench *run, enum way way, const struct pf_moved *moved, double raw)
{
    const struct pf_left *left = &run->peer.left;
    double bytes = (double)run->bench.bytes;
    double first = (double)left->first.sent_bytes / ((double)left->first.duration_us * 1e3);
    double total = (double)left->status.total_us * 1e3;
    const double figures[FIGURES] = {
        [RAW] = raw,
        [FIRST] = first,
        [RATIO] = first / raw,
        [TOTAL] = total / 1e6,
        [TOTAL_RATIO] = total / (total_factor * bytes / raw + total_ns),
        [SOURCE_CPU] = left->cpu_s / (bytes / 1e9),
        [DESTINATION_CPU] = moved->cpu_s / (bytes / 1e9),
    };
    for (unsigned i = 0; i < FIGURES; i++)
        run->figures[way][i][run->rounds] = figures[i];
}

static int measure_move(struct precopy_bench *run, enum way way, double raw)
{
    struct pf_moved moved;
    struct ferry_status status;
    struct pf_move how = {
        .bytes = run->bench.bytes,
        .background = true,
        .mode = PF_MODE_PRECOPY,
        .touched = true,
        .prealloc = way == PREALLOC,
    };
    int error = pf_move_by(&moved, &run->bench, &run->peer, &how, run->why);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    pf_moved_close(&moved);
    if (!error && run->peer.left.first.duration_us == 0)
        error = pf_why(run->why, -EIO, "the job was moved without a round of pre-copy");
    if (!error)
        note(run, way, &moved, raw);
    return error;
}

static int measure(struct precopy_bench *run)
{
    double raw = 0;
    uint64_t began = pf_now_ns();
    int error = pf_link_open(&run->link, &run->peer, &run->bench);
    if (error)
        *run->why = run->link.why;
    else
        error = measure_raw(run, &raw); /* the first pass over memory is not like the others */
    while (!error && run->rounds < ROUNDS_MAX &&
           (run->rounds < ROUNDS_MIN || (double)(pf_now_ns() - began) < run->bench.seconds * 1e9)) {
        for (enum way way = 0; way < WAYS && !error; way++) {
            error = measure_raw(run, &raw);
            if (!error)
                error = measure_move(run, way, raw);
        }
        run->rounds += !error;
    }
    return error;
}

static void fill(struct precopy_bench *run, struct pf_report *report)
{
    for (enum way way = 0; way < WAYS; way++)
        for (unsigned i = 0; i < FIGURES; i++) {
            const struct row *row = &rows[way][i];
            if (row->key)
                pf_report_add(report, row->key, row->label, row->unit,
                              pf_median(run->figures[way][i], run->rounds));
        }
    snprintf(report->note, sizeof report->note, "medians of %u; a job of %zu MiB that stands",
             run->rounds, run->bench.bytes >> 20);
}

int pf_bench_precopy(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct precopy_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = *bench;
    run->bench.bytes = bench->bytes ? bench->bytes : DEFAULT_BYTES;
    run->bench.link_bytes = run->bench.bytes;
    run->why = why;
    int error = pf_peer_start(&run->peer, &run->bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    pf_link_close(&run->link);
    free(run);
    return error;
}
