/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench xbzrle`: how fast pages become differences and back, by how many of their words
 * have changed, beside memcpy() of the same pages.
 */
#include "core/encode/xbzrle.h"

#include "bench/bench.h"
#include "bench/rate.h"
#include "bench/samples.h"
#include "bench/touch.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = PF_XBZRLE_PAGE, WORDS = PAGE / sizeof(uint64_t), ROUNDS = 7, OUT = PAGE };

#define DEFAULT_BYTES ((size_t)32 << 20)

/* Words that change, evenly spread or at random, and how the figures are called. */
static const struct density {
    unsigned words;
    const char *encode_key, *encode_label, *decode_key, *decode_label, *share_key, *share_label;
} densities[] = {
    {0, "encode_0_GBps", "nothing changed: encode", NULL, NULL, NULL, NULL},
    {1, "encode_1_GBps", "1 word of 512 changed: encode", "decode_1_GBps", "decode", "size_1",
     "of the page's size"},
    {5, "encode_5_GBps", "5 words: encode", "decode_5_GBps", "decode", "size_5",
     "of the page's size"},
    {50, "encode_50_GBps", "50 words: encode", "decode_50_GBps", "decode", "size_50",
     "of the page's size"},
    {200, "encode_200_GBps", "200 words: encode", "decode_200_GBps", "decode", "size_200",
     "of the page's size"},
};

enum { DENSITIES = sizeof densities / sizeof densities[0] };

struct xbzrle_bench {
    const struct pf_bench *bench;
    size_t pages;
    uint8_t *before, *after, *out;
    int *lengths;
    double encode[DENSITIES][ROUNDS], decode[DENSITIES][ROUNDS], copy[ROUNDS], share[DENSITIES];
};

static void encode_all(void *ctx)
{
    struct xbzrle_bench *run = ctx;
    for (size_t i = 0; i < run->pages; i++)
        run->lengths[i] =
            pf_xbzrle_encode(run->before + i * PAGE, run->after + i * PAGE, run->out + i * OUT);
}

/* Into pages that have changed already: as much work, and it can be repeated. */
static void decode_all(void *ctx)
{
    struct xbzrle_bench *run = ctx;
    for (size_t i = 0; i < run->pages; i++)
        if (run->lengths[i] > 0)
            pf_xbzrle_decode(run->out + i * OUT, (size_t)run->lengths[i], run->after + i * PAGE);
}

static void copy_all(void *ctx)
{
    struct xbzrle_bench *run = ctx;
    for (size_t i = 0; i < run->pages; i++)
        memcpy(run->out + i * OUT, run->after + i * PAGE, PAGE);
    __asm__ volatile("" ::: "memory");
}

/* So many words of each page, anywhere, get another value. */
static int change(struct xbzrle_bench *run, unsigned words)
{
    memcpy(run->after, run->before, run->pages * PAGE);
    for (size_t i = 0; i < run->pages; i++) {
        size_t *order = pf_touch_order(WORDS, i + 1);
        if (!order)
            return -ENOMEM;
        uint64_t *page = (uint64_t *)(run->after + i * PAGE);
        for (unsigned n = 0; n < words; n++)
            page[order[n]] ^= 0x0123456789abcdefull + n;
        free(order);
    }
    return 0;
}

static double mean_share(const struct xbzrle_bench *run)
{
    size_t bytes = 0;
    for (size_t i = 0; i < run->pages; i++)
        bytes += run->lengths[i] < 0 ? PAGE : (size_t)run->lengths[i];
    return (double)bytes / (double)(run->pages * PAGE);
}

static int measure(struct xbzrle_bench *run)
{
    uint64_t turn_ns = (uint64_t)(run->bench->seconds * 1e9 / ROUNDS / (3 * DENSITIES));
    size_t bytes = run->pages * PAGE;
    struct pf_work encode = {encode_all, run, bytes}, decode = {decode_all, run, bytes},
                   copy = {copy_all, run, bytes};
    for (unsigned d = 0; d < DENSITIES; d++) {
        if (change(run, densities[d].words))
            return -ENOMEM;
        for (unsigned round = 0; round < ROUNDS; round++) {
            run->copy[round] = pf_work_rate(&copy, turn_ns);
            run->encode[d][round] = pf_work_rate(&encode, turn_ns);
            run->decode[d][round] = pf_work_rate(&decode, turn_ns);
        }
        run->share[d] = mean_share(run);
    }
    return 0;
}

static void fill(struct xbzrle_bench *run, struct pf_report *report)
{
    pf_report_add(report, "memcpy_GBps", "memcpy of the pages", "GB/s",
                  pf_median(run->copy, ROUNDS));
    for (unsigned d = 0; d < DENSITIES; d++) {
        const struct density *density = &densities[d];
        pf_report_add(report, density->encode_key, density->encode_label, "GB/s",
                      pf_median(run->encode[d], ROUNDS));
        if (!density->decode_key)
            continue;
        pf_report_add(report, density->decode_key, density->decode_label, "GB/s",
                      pf_median(run->decode[d], ROUNDS));
        pf_report_add(report, density->share_key, density->share_label, "", run->share[d]);
    }
    snprintf(report->note, sizeof report->note,
             "medians of %d, by bytes of pages; %zu MiB of random words", ROUNDS,
             run->pages * PAGE >> 20);
}

static int make_room(struct xbzrle_bench *run)
{
    size_t bytes = run->pages * PAGE;
    run->before = aligned_alloc(PAGE, bytes);
    run->after = aligned_alloc(PAGE, bytes);
    run->out = aligned_alloc(PAGE, run->pages * OUT);
    run->lengths = calloc(run->pages, sizeof *run->lengths);
    if (!run->before || !run->after || !run->out || !run->lengths)
        return -ENOMEM;
    uint64_t word = 1;
    for (size_t i = 0; i < bytes; i += sizeof word) {
        word = word * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(run->before + i, &word, sizeof word);
    }
    return 0;
}

int pf_bench_xbzrle(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct xbzrle_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->pages = (bench->bytes ? bench->bytes : DEFAULT_BYTES) / PAGE;
    int error = make_room(run);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    else
        pf_why(why, error, "no memory for three times %zu MiB", run->pages * PAGE >> 20);
    free(run->before);
    free(run->after);
    free(run->out);
    free(run->lengths);
    free(run);
    return error;
}
