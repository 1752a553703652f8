/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench downtime`: how long a job stands still when it is moved, against the size of its
 * memory. Whatever its size it writes to the same number of pages at the same rate. Modes and sizes
 * take turns; medians.
 */
#include "base/clock.h"
#include "bench/move.h"
#include "bench/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIZES = 4,
    MODES = 3,
    ROUNDS_MIN = 3,
    ROUNDS_MAX = 9,
    RATE = 20000, /* pages a second */
    DEFAULT_MIB = 8192,
    DIRTY_MIB = 64,
    SPARE_KIB = 512 << 10, /* what else needs memory meanwhile */
};

/* The largest is --size; 256 MiB, 1, 4 and 8 GiB by default. */
static const size_t parts[SIZES] = {32, 8, 2, 1};

enum part { DOWNTIME, SCAN, REST, DISCARDS, STATE, LISTEN, RESUME, PAUSE, PAGES, TOTAL, PARTS };

static const char *const heads[PARTS] = {"downtime us", "scan",    "rest",   "discards",
                                         "state",       "listen",  "resume", "(pause)",
                                         "(left KiB)",  "total ms"};

struct downtime_bench {
    struct pf_bench bench;
    struct pf_peer peer;
    size_t bytes[SIZES];
    unsigned sizes;
    size_t dirty_bytes;
    double figures[MODES][SIZES][PARTS][ROUNDS_MAX];
    unsigned rounds;
    struct pf_why *why;
};

static const unsigned modes[MODES] = {PF_MODE_HYBRID, PF_MODE_PRECOPY, PF_MODE_POSTCOPY};

#define KEYS(mode, size)                                                                           \
    {                                                                                              \
        mode "_x" size "_downtime_us", mode "_x" size "_scan_us", mode "_x" size "_rest_us",       \
            mode "_x" size "_discards_us", mode "_x" size "_state_us",                             \
            mode "_x" size "_listen_us", mode "_x" size "_resume_us", mode "_x" size "_pause_us",  \
            mode "_x" size "_left_KiB", mode "_x" size "_total_ms"                                 \
    }
#define SIZE_KEYS(mode)                                                                            \
    {                                                                                              \
        KEYS(mode, "1"), KEYS(mode, "4"), KEYS(mode, "16"), KEYS(mode, "32")                       \
    }

static const char *const keys[MODES][SIZES][PARTS] = {SIZE_KEYS("hybrid"), SIZE_KEYS("precopy"),
                                                      SIZE_KEYS("postcopy")};

static const char *const labels[MODES][SIZES] = {
    {"hybrid", "hybrid, x 4", "hybrid, x 16", "hybrid, x 32"},
    {"pre-copy", "pre-copy, x 4", "pre-copy, x 16", "pre-copy, x 32"},
    {"post-copy", "post-copy, x 4", "post-copy, x 16", "post-copy, x 32"},
};

static const struct {
    const char *key, *label;
} growths[MODES] = {
    {"hybrid_growth", "hybrid: largest / smallest"},
    {"precopy_growth", "pre-copy: largest / smallest"},
    {"postcopy_growth", "post-copy: largest / smallest"},
};

/* ---- sizes ----------------------------------------------------------------------------------- */

static size_t available_kib(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %zu", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* Those that fit twice: both ends are on this machine. */
static int choose_sizes(struct downtime_bench *run)
{
    size_t most = run->bench.bytes ? run->bench.bytes : (size_t)DEFAULT_MIB << 20;
    size_t available = available_kib();
    for (unsigned i = 0; i < SIZES; i++) {
        size_t bytes = most / parts[i] / PF_TOUCH_PAGE * PF_TOUCH_PAGE;
        if (bytes >= PF_TOUCH_PAGE && bytes / 1024 * 2 + SPARE_KIB < available)
            run->bytes[run->sizes++] = bytes;
        else
            break;
    }
    if (run->sizes == 0)
        return pf_why(run->why, -ENOMEM, "there is no memory for both ends of a job of %zu MiB",
                      most / parts[0] >> 20);
    run->dirty_bytes = (size_t)DIRTY_MIB << 20;
    if (run->dirty_bytes > run->bytes[0] / 4)
        run->dirty_bytes = run->bytes[0] / 4;
    return 0;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void note(struct downtime_bench *run, unsigned mode, unsigned size)
{
    const struct ferry_status *status = &run->peer.left.status;
    uint64_t left = status->sent_bytes - status->precopy_bytes;
    const double figures[PARTS] = {
        [DOWNTIME] = (double)status->downtime_us,
        [SCAN] = (double)status->scan_us,
        [REST] = (double)status->rest_us,
        [DISCARDS] = (double)status->discard_us,
        [STATE] = (double)status->state_us,
        [LISTEN] = (double)status->listen_us,
        [RESUME] = (double)status->resume_us,
        [PAUSE] = (double)status->pause_us,
        [PAGES] = (double)left / 1024,
        [TOTAL] = (double)status->total_us / 1e3,
    };
    for (unsigned part = 0; part < PARTS; part++)
        run->figures[mode][size][part][run->rounds] = figures[part];
}

static int measure_one(struct downtime_bench *run, unsigned mode, unsigned size)
{
    struct pf_moved moved;
    struct ferry_status status;
    struct pf_move how = {
        .bytes = run->bytes[size],
        .background = true,
        .mode = modes[mode],
        .dirty_rate = RATE,
        .dirty_bytes = run->dirty_bytes,
        /* Post-copy empties what is there while the job stands. */
        .touched = modes[mode] != PF_MODE_POSTCOPY,
    };
    int error = pf_move_by(&moved, &run->bench, &run->peer, &how, run->why);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    pf_moved_close(&moved);
    if (!error)
        note(run, mode, size);
    return error;
}

static bool is_wanted(const struct downtime_bench *run, unsigned mode)
{
    return !run->bench.one_mode || run->bench.engine.mode == modes[mode];
}

static int measure_round(struct downtime_bench *run)
{
    int error = 0;
    for (unsigned size = 0; size < run->sizes && !error; size++)
        for (unsigned mode = 0; mode < MODES && !error; mode++)
            if (is_wanted(run, mode))
                error = measure_one(run, mode, size);
    run->rounds++;
    return error;
}

static int measure(struct downtime_bench *run)
{
    uint64_t began = pf_now_ns();
    int error = 0;
    while (!error && run->rounds < ROUNDS_MAX &&
           (run->rounds < ROUNDS_MIN || (double)(pf_now_ns() - began) < run->bench.seconds * 1e9))
        error = measure_round(run);
    return error;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void fill(struct downtime_bench *run, struct pf_report *report)
{
    double downtime[SIZES];
    report->rows = (run->bench.one_mode ? 1 : MODES) * run->sizes;
    report->columns = PARTS;
    memcpy(report->heads, heads, sizeof heads);
    double growth[MODES] = {0};
    for (unsigned mode = 0; mode < MODES; mode++) {
        if (!is_wanted(run, mode))
            continue;
        for (unsigned size = 0; size < run->sizes; size++)
            for (unsigned part = 0; part < PARTS; part++) {
                double value = pf_median(run->figures[mode][size][part], run->rounds);
                pf_report_add(report, keys[mode][size][part], labels[mode][size], "", value);
                if (part == DOWNTIME)
                    downtime[size] = value;
            }
        if (run->sizes > 0)
            growth[mode] = downtime[run->sizes - 1] / downtime[0];
    }
    for (unsigned mode = 0; mode < MODES; mode++)
        if (is_wanted(run, mode))
            pf_report_add(report, growths[mode].key, growths[mode].label, "", growth[mode]);
    pf_report_add(report, "smallest_MiB", "smallest job", "MiB", (double)(run->bytes[0] >> 20));
    pf_report_add(report, "largest_MiB", "largest job", "MiB",
                  (double)(run->bytes[run->sizes - 1] >> 20));
    snprintf(report->note, sizeof report->note,
             "medians of %u; %d pages/s written in %zu KiB of each job%s", run->rounds, RATE,
             run->dirty_bytes >> 10,
             run->sizes < SIZES ? "; larger jobs don't fit here twice" : "");
}

int pf_bench_downtime(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct downtime_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = *bench;
    run->why = why;
    int error = choose_sizes(run);
    if (!error && bench->one_mode && bench->engine.mode == PF_MODE_AUTO)
        error = pf_why(why, -EINVAL, "the downtime is measured of hybrid, precopy and postcopy");
    if (!error)
        error = pf_peer_start(&run->peer, &run->bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    free(run);
    return error;
}
