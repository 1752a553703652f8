/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench compress`: how fast pages of several kinds are compressed and decompressed by
 * the engine's pool of threads, and how much shorter they get.
 */
#include "bench/bench.h"
#include "bench/rate.h"
#include "bench/samples.h"
#include "core/encode/squeeze_pool.h"

#include <errno.h>
#include <math.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = PF_SQUEEZE_MAX, ROUNDS = 3, COLUMNS = 4 };

#define DEFAULT_BYTES ((size_t)4 << 20)

enum content { TEXT, NUMBERS, NOISE };

/* Who, how hard, on what; the keys of its four figures. */
#define ROW(how, level, content, key, label)                                                       \
    {                                                                                              \
        how, level, content, label,                                                                \
        {                                                                                          \
            key "_GBps", key "_pool_GBps", key "_back_GBps", key "_ratio"                          \
        }                                                                                          \
    }
#define ROWS_OF(how, level, key, label)                                                            \
    ROW(how, level, TEXT, key "_text", label ", text"),                                            \
        ROW(how, level, NUMBERS, key "_numbers", label ", numbers"),                               \
        ROW(how, level, NOISE, key "_noise", label ", noise")

static const struct row {
    unsigned how, level;
    enum content content;
    const char *label, *keys[COLUMNS];
} rows[] = {
    ROWS_OF(PF_COMPRESS_LZ4, 1, "lz4_1", "lz4, level 1"),
    ROWS_OF(PF_COMPRESS_LZ4, 4, "lz4_4", "lz4, level 4"),
    ROWS_OF(PF_COMPRESS_ZSTD, 1, "zstd_1", "zstd, level 1"),
    ROWS_OF(PF_COMPRESS_ZSTD, 6, "zstd_6", "zstd, level 6"),
};

enum { ROWS = sizeof rows / sizeof rows[0] };

struct compress_bench {
    const struct pf_bench *bench;
    size_t pieces;
    char *pages, *out, *back;
    struct pf_squeeze_task *tasks;
    int *lengths; /* of the compressed pieces; -E2BIG: it stays as it is */
    sem_t done;
    struct pf_squeeze_pool *pool;
    const struct row *row;
    uint64_t turn_ns;
};

/* ---- what is compressed ---------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* Words that are the more frequent the shorter they are. */
static void fill_text(char *to, size_t bytes)
{
    static const char *const words[] = {"the",  "of",     "page",     "a",       "and",
                                        "job",  "memory", "is",       "host",    "migration",
                                        "this", "in",     "transfer", "network", "configuration"};
    enum { WORDS = sizeof words / sizeof words[0] };
    uint64_t state = 1;
    for (size_t at = 0; at < bytes;) {
        uint64_t number = next_random(&state);
        char word[40];
        int length = number % 8 == 0
                         ? snprintf(word, sizeof word, "%u, ", (unsigned)(number >> 8))
                         : snprintf(word, sizeof word, "%s ", words[number / 8 % WORDS]);
        size_t left = bytes - at;
        memcpy(to + at, word, (size_t)length < left ? (size_t)length : left);
        at += (size_t)length;
    }
}

/* A field of doubles that are known to a thousandth. */
static void fill_numbers(char *to, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(double); i++) {
        double value = round((20 + 5 * sin((double)i / 700)) * 1024) / 1024;
        memcpy(to + i * sizeof value, &value, sizeof value);
    }
}

static void fill_noise(char *to, size_t bytes)
{
    uint64_t state = 1;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)next_random(&state);
}

static void fill_pages(struct compress_bench *run, enum content content)
{
    static void (*const kinds[])(char *to, size_t bytes) = {fill_text, fill_numbers, fill_noise};
    kinds[content](run->pages, run->pieces * PIECE);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void task_done(struct pf_squeeze_task *task)
{
    struct compress_bench *run = task->ctx;
    sem_post(&run->done);
}

static void give(struct compress_bench *run, size_t piece, struct pf_squeeze_task task)
{
    task.how = run->row->how;
    task.done = task_done;
    task.ctx = run;
    run->tasks[piece] = task;
    if (pf_squeeze_pool_add(run->pool, &run->tasks[piece], NULL)) {
        run->tasks[piece].result = -EAGAIN;
        sem_post(&run->done);
    }
}

static void compress_all(void *ctx)
{
    struct compress_bench *run = ctx;
    for (size_t i = 0; i < run->pieces; i++)
        give(run, i,
             (struct pf_squeeze_task){.level = run->row->level,
                                      .from = run->pages + i * PIECE,
                                      .bytes = PIECE,
                                      .to = run->out + i * PIECE});
    for (size_t i = 0; i < run->pieces; i++)
        sem_wait(&run->done);
    for (size_t i = 0; i < run->pieces; i++)
        run->lengths[i] = run->tasks[i].result;
}

/* What was no shorter travels as it is and costs nothing here. */
static void decompress_all(void *ctx)
{
    struct compress_bench *run = ctx;
    size_t given = 0;
    for (size_t i = 0; i < run->pieces; i++)
        if (run->lengths[i] > 0 && ++given)
            give(run, i,
                 (struct pf_squeeze_task){.from = run->out + i * PIECE,
                                          .bytes = (size_t)run->lengths[i],
                                          .to = run->back + i * PIECE,
                                          .to_bytes = PIECE});
    while (given-- > 0)
        sem_wait(&run->done);
}

static double rate_of(struct compress_bench *run, void (*once)(void *), unsigned threads)
{
    struct pf_squeeze_pool pool;
    struct pf_work work = {once, run, run->pieces * PIECE};
    double rates[ROUNDS];
    pf_squeeze_pool_init(&pool, threads);
    run->pool = &pool;
    for (unsigned i = 0; i < ROUNDS; i++)
        rates[i] = pf_work_rate(&work, run->turn_ns);
    pf_squeeze_pool_close(&pool);
    return pf_median(rates, ROUNDS);
}

static double ratio_of(const struct compress_bench *run)
{
    size_t bytes = 0;
    for (size_t i = 0; i < run->pieces; i++)
        bytes += run->lengths[i] > 0 ? (size_t)run->lengths[i] : PIECE;
    return (double)(run->pieces * PIECE) / (double)bytes;
}

static void measure_row(struct compress_bench *run, struct pf_report *report)
{
    double figures[COLUMNS];
    unsigned threads = run->bench->engine.compress_threads;
    fill_pages(run, run->row->content);
    figures[0] = rate_of(run, compress_all, 1);
    figures[1] = rate_of(run, compress_all, threads);
    figures[3] = ratio_of(run);
    figures[2] = figures[3] > 1 ? rate_of(run, decompress_all, 1) : 0;
    for (unsigned i = 0; i < COLUMNS; i++)
        pf_report_add(report, run->row->keys[i], run->row->label, i == 3 ? "" : "GB/s", figures[i]);
    report->rows++;
}

static void measure(struct compress_bench *run, struct pf_report *report)
{
    static const char *const heads[COLUMNS] = {"GB/s", "pool, GB/s", "back, GB/s", "ratio"};
    run->turn_ns = (uint64_t)(run->bench->seconds * 1e9 / (ROWS * (COLUMNS - 1) * ROUNDS));
    report->columns = COLUMNS;
    memcpy(report->heads, heads, sizeof heads);
    for (unsigned i = 0; i < ROWS; i++) {
        run->row = &rows[i];
        if (pf_squeeze_built() & 1u << rows[i].how)
            measure_row(run, report);
    }
    snprintf(report->note, sizeof report->note,
             "pool: %u threads; by bytes of pages, %zu MiB in pieces of %d KiB; medians of %d",
             run->bench->engine.compress_threads, run->pieces * PIECE >> 20, PIECE >> 10, ROUNDS);
}

int pf_bench_compress(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct compress_bench run = {.bench = bench};
    if (pf_squeeze_built() == 0)
        return pf_why(why, -ENOTSUP, "this pageferry was built without zstd and lz4");
    run.pieces = (bench->bytes ? bench->bytes : DEFAULT_BYTES) / PIECE;
    run.pages = malloc(run.pieces * PIECE);
    run.out = malloc(run.pieces * PIECE);
    run.back = malloc(run.pieces * PIECE);
    run.tasks = calloc(run.pieces, sizeof *run.tasks);
    run.lengths = calloc(run.pieces, sizeof *run.lengths);
    sem_init(&run.done, 0, 0);
    int error = 0;
    if (run.pages && run.out && run.back && run.tasks && run.lengths)
        measure(&run, report);
    else
        error = pf_why(why, -ENOMEM, "no memory for three times %zu MiB", run.pieces * PIECE >> 20);
    sem_destroy(&run.done);
    free(run.pages);
    free(run.out);
    free(run.back);
    free(run.tasks);
    free(run.lengths);
    return error;
}
