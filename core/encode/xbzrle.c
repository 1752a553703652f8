/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/xbzrle.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    WORD = sizeof(uint64_t),
    WORDS = PF_XBZRLE_PAGE / WORD,
    MASK_BITS = 64,
    MASKS = WORDS / MASK_BITS,
    LEB_MORE = 0x80,
    LEB_BITS = 7,
};

/* ---- which words differ ---------------------------------------------------------------------- */

/* A bit for each word of the page. */
struct map {
    uint64_t masks[MASKS];
};

static void map_plain(const uint64_t *before, const uint64_t *after, struct map *map)
{
    for (unsigned i = 0; i < MASKS; i++) {
        uint64_t mask = 0;
        for (unsigned bit = 0; bit < MASK_BITS; bit++)
            mask |= (uint64_t)(before[i * MASK_BITS + bit] != after[i * MASK_BITS + bit]) << bit;
        map->masks[i] = mask;
    }
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void map_avx2(const uint64_t *before, const uint64_t *after,
                                                     struct map *map)
{
    enum { EACH = 4 };
    for (unsigned i = 0; i < MASKS; i++) {
        uint64_t same = 0;
        for (unsigned bit = 0; bit < MASK_BITS; bit += EACH) {
            size_t word = (size_t)i * MASK_BITS + bit;
            __m256i equal = _mm256_cmpeq_epi64(_mm256_loadu_si256((const __m256i *)(before + word)),
                                               _mm256_loadu_si256((const __m256i *)(after + word)));
            same |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(equal)) << bit;
        }
        map->masks[i] = ~same;
    }
}

__attribute__((target("avx512f"))) static void map_avx512(const uint64_t *before,
                                                          const uint64_t *after, struct map *map)
{
    enum { EACH = 8 };
    for (unsigned i = 0; i < MASKS; i++) {
        uint64_t mask = 0;
        for (unsigned bit = 0; bit < MASK_BITS; bit += EACH) {
            size_t word = (size_t)i * MASK_BITS + bit;
            mask |= (uint64_t)_mm512_cmpneq_epi64_mask(_mm512_loadu_si512(before + word),
                                                       _mm512_loadu_si512(after + word))
                    << bit;
        }
        map->masks[i] = mask;
    }
}
#endif

static void map_words(const uint64_t *before, const uint64_t *after, struct map *map)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) {
        map_avx512(before, after, map);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        map_avx2(before, after, map);
        return;
    }
#endif
    map_plain(before, after, map);
}

/* The first word from `word` on whose bit is as flip says (0: set, ~0: clear); WORDS: none. */
static unsigned find(const struct map *map, unsigned word, uint64_t flip)
{
    unsigned i = word / MASK_BITS;
    if (i == MASKS)
        return WORDS;
    uint64_t bits = (map->masks[i] ^ flip) >> word % MASK_BITS << word % MASK_BITS;
    while (bits == 0 && ++i < MASKS)
        bits = map->masks[i] ^ flip;
    return bits ? i * MASK_BITS + (unsigned)__builtin_ctzll(bits) : WORDS;
}

/* ---- literals -------------------------------------------------------------------------------- */

/*
 * Most changes are of a word or two, which don't pay for memcpy() of a length that nobody can
 * predict: two copies of a fixed length, one from the front and one from the end.
 */
static void copy_literals(uint8_t *to, const uint8_t *from, size_t length)
{
    enum { HALF = WORD / 2 };
    if (length > (size_t)2 * WORD) {
        memcpy(to, from, length);
    } else if (length >= WORD) {
        memcpy(to, from, WORD);
        memcpy(to + length - WORD, from + length - WORD, WORD);
    } else if (length >= HALF) {
        memcpy(to, from, HALF);
        memcpy(to + length - HALF, from + length - HALF, HALF);
    } else {
        for (size_t i = 0; i < length; i++)
            to[i] = from[i];
    }
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Bytes of a word that differ: of its first, which; of its last, which one is behind it. */
static unsigned first_byte(uint64_t before, uint64_t after)
{
    return (unsigned)__builtin_ctzll(le64toh(before ^ after)) / 8;
}

static unsigned behind_last_byte(uint64_t before, uint64_t after)
{
    return WORD - (unsigned)__builtin_clzll(le64toh(before ^ after)) / 8;
}

/* Lengths are at most a page's, so one or two bytes. */
static unsigned leb_bytes(unsigned value)
{
    return value < LEB_MORE ? 1 : 2;
}

static uint8_t *put_leb(uint8_t *out, unsigned value)
{
    if (value >= LEB_MORE) {
        *out++ = (uint8_t)(value | LEB_MORE);
        value >>= LEB_BITS;
    }
    *out++ = (uint8_t)value;
    return out;
}

int pf_xbzrle_encode(const void *before, const void *after, uint8_t out[PF_XBZRLE_MAX])
{
    const uint64_t *old = before, *new = after;
    struct map map;
    uint8_t *at = out;
    unsigned done = 0; /* bytes of the page */
    map_words(old, new, &map);
    for (unsigned word = find(&map, 0, 0); word < WORDS; word = find(&map, word, 0)) {
        unsigned begin = word * WORD + first_byte(old[word], new[word]);
        word = find(&map, word, ~0ull);
        unsigned end = (word - 1) * WORD + behind_last_byte(old[word - 1], new[word - 1]);
        unsigned same = begin - done, length = end - begin;
        size_t room = (size_t)(out + PF_XBZRLE_MAX - at);
        if (leb_bytes(same) + leb_bytes(length) + length > room)
            return -E2BIG;
        at = put_leb(put_leb(at, same), length);
        copy_literals(at, (const uint8_t *)new + begin, length);
        at += length;
        done = end;
    }
    return (int)(at - out);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* False if it is cut off or longer than it need be. */
static bool take_leb(const uint8_t **at, const uint8_t *end, size_t *value)
{
    if (*at == end)
        return false;
    unsigned low = *(*at)++;
    *value = low;
    if (!(low & LEB_MORE))
        return true;
    if (*at == end)
        return false;
    unsigned high = *(*at)++;
    *value = (low & ~(unsigned)LEB_MORE) | high << LEB_BITS;
    return high > 0 && high < LEB_MORE;
}

int pf_xbzrle_decode(const uint8_t *in, size_t length, void *page)
{
    const uint8_t *at = in, *end = in + length;
    size_t done = 0;
    while (at < end) {
        size_t same, changed;
        if (!take_leb(&at, end, &same) || !take_leb(&at, end, &changed))
            return -EPROTO;
        if (changed == 0 || (same == 0 && done > 0) || changed > (size_t)(end - at) ||
            same + changed > PF_XBZRLE_PAGE - done)
            return -EPROTO;
        copy_literals((uint8_t *)page + done + same, at, changed);
        at += changed;
        done += same + changed;
    }
    return 0;
}
