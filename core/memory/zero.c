/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/zero.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/*
 * Each way looks at a block of eight vectors before it decides: one branch for each would cost as
 * much as the loads. What is left of a size that is no multiple of a block goes line by line.
 */
enum { VECTORS = 8 };

/* ThreadSanitizer is told that a job may write to what is looked at. */
#define RACING __attribute__((no_sanitize_thread))

RACING static bool lines_zero(const char *p, size_t size)
{
    for (size_t at = 0; at < size; at += PF_ZERO_LINE) {
        const uint64_t *word = (const uint64_t *)(p + at);
        uint64_t any = 0;
        for (unsigned i = 0; i < PF_ZERO_LINE / sizeof *word; i++)
            any |= word[i];
        if (any)
            return false;
    }
    return true;
}

/* Two words at a time: every x86-64 and aarch64 CPU has vectors of 16 bytes. */
typedef uint64_t pair __attribute__((vector_size(16), aligned(8), may_alias));

RACING static bool plain(const void *from, size_t size)
{
    const char *p = from;
    size_t block = VECTORS * sizeof(pair), at = 0;
    for (; at + block <= size; at += block) {
        const pair *v = (const pair *)(p + at);
        pair any = (v[0] | v[1] | v[2] | v[3]) | (v[4] | v[5] | v[6] | v[7]);
        if (any[0] | any[1])
            return false;
    }
    return lines_zero(p + at, size - at);
}

#ifdef __x86_64__
#define LOAD(bits, v, i) _mm##bits##_loadu_si##bits((v) + (i))

__attribute__((target("avx2"))) RACING static bool avx2(const void *from, size_t size)
{
    const char *p = from;
    size_t block = VECTORS * sizeof(__m256i), at = 0;
    for (; at + block <= size; at += block) {
        const __m256i *v = (const __m256i *)(p + at);
        __m256i low = _mm256_or_si256(_mm256_or_si256(LOAD(256, v, 0), LOAD(256, v, 1)),
                                      _mm256_or_si256(LOAD(256, v, 2), LOAD(256, v, 3)));
        __m256i high = _mm256_or_si256(_mm256_or_si256(LOAD(256, v, 4), LOAD(256, v, 5)),
                                       _mm256_or_si256(LOAD(256, v, 6), LOAD(256, v, 7)));
        __m256i any = _mm256_or_si256(low, high);
        if (!_mm256_testz_si256(any, any))
            return false;
    }
    return lines_zero(p + at, size - at);
}

__attribute__((target("avx512f"))) RACING static bool avx512(const void *from, size_t size)
{
    const char *p = from;
    size_t block = VECTORS * sizeof(__m512i), at = 0;
    for (; at + block <= size; at += block) {
        const __m512i *v = (const __m512i *)(p + at);
        __m512i low = _mm512_or_si512(_mm512_or_si512(LOAD(512, v, 0), LOAD(512, v, 1)),
                                      _mm512_or_si512(LOAD(512, v, 2), LOAD(512, v, 3)));
        __m512i high = _mm512_or_si512(_mm512_or_si512(LOAD(512, v, 4), LOAD(512, v, 5)),
                                       _mm512_or_si512(LOAD(512, v, 6), LOAD(512, v, 7)));
        __m512i any = _mm512_or_si512(low, high);
        if (_mm512_test_epi64_mask(any, any))
            return false;
    }
    return lines_zero(p + at, size - at);
}
#endif

unsigned pf_zero_ways(struct pf_zero_way ways[PF_ZERO_WAYS_MAX])
{
    unsigned count = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        ways[count++] = (struct pf_zero_way){"avx512", avx512};
    if (__builtin_cpu_supports("avx2"))
        ways[count++] = (struct pf_zero_way){"avx2", avx2};
#endif
    ways[count++] = (struct pf_zero_way){"plain", plain};
    return count;
}

/* What the CPU has is a bit in memory that never changes: asking costs less than a pointer's call.
 */
bool pf_zero_widest(const void *p, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return avx512(p, size);
    if (__builtin_cpu_supports("avx2"))
        return avx2(p, size);
#endif
    return plain(p, size);
}
