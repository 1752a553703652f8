/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench scan`: how fast pages are known to be zero or not, by each way that the CPU has,
 * against reading them with the widest loads and doing nothing else, and against memcpy().
 */
#include "bench/bench.h"
#include "bench/rate.h"
#include "bench/samples.h"
#include "core/memory/zero.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { PAGE = 4096, ROUNDS = 15, CACHED_PAGES = 6, FROM_MEMORY = 0, IN_CACHE, PLACES };

#define DEFAULT_BYTES ((size_t)512 << 20)

/* What is compared most stands side by side, to be measured right after each other. */
enum { MEMCPY, READ, WIDEST, WAYS_MAX = WIDEST + PF_ZERO_WAYS_MAX };

static const struct {
    const char *name, *keys[PLACES], *labels[PLACES];
} rows[] = {
    {"read", {"read_GBps", "read_cache_GBps"}, {"plain widest loads", "the same in cache"}},
    {"memcpy", {"memcpy_GBps", "memcpy_cache_GBps"}, {"memcpy", "the same in cache"}},
    {"avx512", {"avx512_GBps", "avx512_cache_GBps"}, {"AVX-512", "the same in cache"}},
    {"avx2", {"avx2_GBps", "avx2_cache_GBps"}, {"AVX2", "the same in cache"}},
    {"plain", {"plain_GBps", "plain_cache_GBps"}, {"plain vectors", "the same in cache"}},
};

struct scan_bench {
    const struct pf_bench *bench;
    char *pages, *copy;
    size_t bytes;
    struct pf_zero_way ways[WAYS_MAX];
    unsigned count;
    double rates[WAYS_MAX][PLACES][ROUNDS], first_line[ROUNDS];
    size_t zeros; /* counted by whoever looks, so that no look is left out */
};

/* What one piece of work goes over, and how. */
struct pass {
    struct scan_bench *run;
    size_t bytes;
    bool (*all_zero)(const void *p, size_t size);
};

/* ---- the plain loops ------------------------------------------------------------------------- */

/* Four sums side by side, since a chain of one would be as slow as its additions. */
#define READ_LOOP(vector, zero, or, load)                                                          \
    vector a = zero(), b = zero(), c = zero(), d = zero();                                         \
    for (const vector *v = from, *end = v + size / sizeof *v; v < end; v += 4) {                   \
        a = or (a, load(v));                                                                       \
        b = or (b, load(v + 1));                                                                   \
        c = or (c, load(v + 2));                                                                   \
        d = or (d, load(v + 3));                                                                   \
    }                                                                                              \
    a = or (or (a, b), or (c, d))

#ifdef __x86_64__
__attribute__((target("avx512f"))) static bool read_avx512(const void *from, size_t size)
{
    READ_LOOP(__m512i, _mm512_setzero_si512, _mm512_or_si512, _mm512_loadu_si512);
    return _mm512_test_epi64_mask(a, a) == 0;
}

__attribute__((target("avx2"))) static bool read_avx2(const void *from, size_t size)
{
    READ_LOOP(__m256i, _mm256_setzero_si256, _mm256_or_si256, _mm256_loadu_si256);
    return _mm256_testz_si256(a, a);
}
#endif

#define ZERO_WORD()   0
#define OR_WORD(x, y) ((x) | (y))
#define LOAD_WORD(v)  (*(v))

static bool read_plain(const void *from, size_t size)
{
    READ_LOOP(uint64_t, ZERO_WORD, OR_WORD, LOAD_WORD);
    return a == 0;
}

static struct pf_zero_way widest_read(void)
{
    struct pf_zero_way way = {"read", read_plain};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        way.all_zero = read_avx512;
    else if (__builtin_cpu_supports("avx2"))
        way.all_zero = read_avx2;
#endif
    return way;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void look(void *ctx)
{
    struct pass *pass = ctx;
    for (size_t at = 0; at < pass->bytes; at += PAGE)
        pass->run->zeros += pass->all_zero(pass->run->pages + at, PAGE);
}

static void copy(void *ctx)
{
    struct pass *pass = ctx;
    for (size_t at = 0; at < pass->bytes; at += PAGE)
        memcpy(pass->run->copy + at, pass->run->pages + at, PAGE);
    __asm__ volatile("" ::: "memory");
}

static bool any_zero(const void *p, size_t size)
{
    return pf_all_zero(p, size);
}

/* Every page differs in its last word only, or in its first. */
static void fill_pages(struct scan_bench *run, size_t offset)
{
    memset(run->pages, 0, run->bytes);
    for (size_t at = 0; at < run->bytes; at += PAGE)
        run->pages[at + offset] = 1;
}

static void measure_round(struct scan_bench *run, unsigned round, uint64_t turn_ns)
{
    for (unsigned way = 0; way < run->count; way++)
        for (unsigned place = 0; place < PLACES; place++) {
            struct pass pass = {run, place == IN_CACHE ? (size_t)CACHED_PAGES * PAGE : run->bytes,
                                run->ways[way].all_zero};
            struct pf_work work = {way == MEMCPY ? copy : look, &pass, pass.bytes};
            run->rates[way][place][round] = pf_work_rate(&work, turn_ns);
        }
}

static void measure(struct scan_bench *run)
{
    uint64_t turn_ns =
        (uint64_t)(run->bench->seconds * 1e9 / ROUNDS / (double)(run->count * PLACES + 1));
    fill_pages(run, PAGE - 1);
    memset(run->copy, 1, run->bytes);
    for (unsigned round = 0; round < ROUNDS; round++)
        measure_round(run, round, turn_ns);
    fill_pages(run, 0);
    struct pass pass = {run, (size_t)CACHED_PAGES * PAGE, any_zero};
    struct pf_work work = {look, &pass, pass.bytes};
    for (unsigned round = 0; round < ROUNDS; round++)
        run->first_line[round] = pf_work_rate(&work, turn_ns);
}

/* Of what was measured in the same round: the machine was in the same mood then. */
static double median_ratio(const double a[ROUNDS], const double b[ROUNDS])
{
    double ratios[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++)
        ratios[i] = a[i] / b[i];
    return pf_median(ratios, ROUNDS);
}

static void fill(struct scan_bench *run, struct pf_report *report)
{
    double median[WAYS_MAX][PLACES], ratio[WIDEST][PLACES];
    for (unsigned way = 0; way < WIDEST; way++)
        for (unsigned place = 0; place < PLACES; place++)
            ratio[way][place] = median_ratio(run->rates[WIDEST][place], run->rates[way][place]);
    for (unsigned way = 0; way < run->count; way++)
        for (unsigned place = 0; place < PLACES; place++)
            median[way][place] = pf_median(run->rates[way][place], ROUNDS);
    for (unsigned way = 0; way < run->count; way++)
        for (unsigned row = 0; row < sizeof rows / sizeof rows[0]; row++)
            for (unsigned place = 0; place < PLACES; place++)
                if (strcmp(rows[row].name, run->ways[way].name) == 0)
                    pf_report_add(report, rows[row].keys[place], rows[row].labels[place], "GB/s",
                                  median[way][place]);
    pf_report_add(report, "ratio", "widest way / plain loads", "", ratio[READ][FROM_MEMORY]);
    pf_report_add(report, "cache_ratio", "the same in cache", "", ratio[READ][IN_CACHE]);
    pf_report_add(report, "memcpy_ratio", "widest way / memcpy", "", ratio[MEMCPY][FROM_MEMORY]);
    pf_report_add(report, "first_line_ns", "a page that differs in its first line", "ns",
                  PAGE / pf_median(run->first_line, ROUNDS));
    snprintf(report->note, sizeof report->note,
             "medians of %d; %zu MiB of pages that differ in their last word; in cache %d pages",
             ROUNDS, run->bytes >> 20, CACHED_PAGES);
}

static char *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE); /* of walking page tables every way has the same */
    return memory;
}

int pf_bench_scan(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct scan_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->bytes = bench->bytes ? bench->bytes : DEFAULT_BYTES;
    run->ways[READ] = widest_read();
    run->ways[MEMCPY].name = "memcpy";
    run->count = WIDEST + pf_zero_ways(run->ways + WIDEST);
    run->pages = map(run->bytes);
    run->copy = map(run->bytes);
    int error = 0;
    if (run->pages && run->copy) {
        measure(run);
        fill(run, report);
    } else {
        error = pf_why(why, -ENOMEM, "no memory for twice %zu MiB", run->bytes >> 20);
    }
    if (run->pages)
        munmap(run->pages, run->bytes);
    if (run->copy)
        munmap(run->copy, run->bytes);
    free(run);
    return error;
}
