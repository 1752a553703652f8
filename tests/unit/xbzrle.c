/* SPDX-License-Identifier: BSD-2-Clause */
/* Differences of pages, and the cache that they are differences from. */
#include "core/encode/xbzrle.h"

#include "core/encode/xbzrle_cache.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = PF_XBZRLE_PAGE };

struct pages {
    _Alignas(64) uint8_t before[PAGE], after[PAGE], got[PAGE];
    uint8_t out[PF_XBZRLE_MAX];
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void fill_random(uint8_t *page, uint64_t *state)
{
    for (size_t i = 0; i < PAGE; i++)
        page[i] = (uint8_t)next_random(state);
}

/* Encode and decode; the length, or -E2BIG. */
static int there_and_back(struct pages *pages)
{
    memset(pages->out, 0xaa, sizeof pages->out);
    int length = pf_xbzrle_encode(pages->before, pages->after, pages->out);
    if (length < 0)
        return length;
    memcpy(pages->got, pages->before, PAGE);
    CU_ASSERT_EQUAL(pf_xbzrle_decode(pages->out, (size_t)length, pages->got), 0);
    CU_ASSERT_EQUAL(memcmp(pages->got, pages->after, PAGE), 0);
    return length;
}

static void every_density_of_changes_comes_back(void)
{
    struct pages *pages = aligned_alloc(64, sizeof *pages);
    uint64_t state = 1;
    for (unsigned round = 0; round < 400; round++) {
        fill_random(pages->before, &state);
        memcpy(pages->after, pages->before, PAGE);
        for (unsigned i = 0; i < round * 2; i++)
            pages->after[next_random(&state) % PAGE] = (uint8_t)next_random(&state);
        int length = there_and_back(pages);
        CU_ASSERT(length >= 0 ? length < PAGE : length == -E2BIG && round > 100);
    }
    free(pages);
}

static void a_change_is_as_long_as_it_must_be(void)
{
    struct pages *pages = aligned_alloc(64, sizeof *pages);
    memset(pages, 0, sizeof *pages);
    CU_ASSERT_EQUAL(there_and_back(pages), 0);
    for (size_t at = 0; at < PAGE; at++) {
        pages->after[at] = 1;
        CU_ASSERT_EQUAL(there_and_back(pages), at < 128 ? 3 : 4);
        pages->after[at] = 0;
    }
    for (size_t to = 1; to <= PAGE; to++) { /* from a byte to all of the page */
        pages->after[to - 1] = 1;
        int length = 1 + (to < 128 ? 1 : 2) + (int)to;
        CU_ASSERT_EQUAL(there_and_back(pages), length < PAGE ? length : -E2BIG);
    }
    free(pages);
}

/* The input lies at the end of its memory, where AddressSanitizer sees a read beyond. */
static int decode(const char *bytes, size_t length)
{
    uint8_t *in = malloc(length ? length : 1);
    uint8_t *page = calloc(1, PAGE);
    memcpy(in, bytes, length);
    int error = pf_xbzrle_decode(in, length, page);
    free(in);
    free(page);
    return error;
}

static void malformed_differences_are_refused(void)
{
    CU_ASSERT_EQUAL(decode("\x00\x01x", 3), 0);
    CU_ASSERT_EQUAL(decode("\xff\x1f\x01x", 4), 0);       /* the last byte */
    CU_ASSERT_EQUAL(decode("\x80\x20\x01x", 4), -EPROTO); /* the byte behind it */
    CU_ASSERT_EQUAL(decode("\xff\x1f\x02xy", 5), -EPROTO);
    CU_ASSERT_EQUAL(decode("\x00", 1), -EPROTO); /* cut off */
    CU_ASSERT_EQUAL(decode("\x80", 1), -EPROTO);
    CU_ASSERT_EQUAL(decode("\x00\x80", 2), -EPROTO);
    CU_ASSERT_EQUAL(decode("\x00\x03xy", 4), -EPROTO);
    CU_ASSERT_EQUAL(decode("\x00\x00", 2), -EPROTO);           /* no change */
    CU_ASSERT_EQUAL(decode("\x00\x01x\x00\x01y", 6), -EPROTO); /* no gap */
    CU_ASSERT_EQUAL(decode("\x81\x00\x01x", 4), -EPROTO);      /* longer than need be */
    CU_ASSERT_EQUAL(decode("\x81\x80\x00\x01x", 5), -EPROTO);
    CU_ASSERT_EQUAL(decode("\xff\xff\xff\xff\x0f\x01x", 7), -EPROTO);
}

static void noise_does_no_harm(void)
{
    uint64_t state = 7;
    for (unsigned round = 0; round < 20000; round++) {
        char noise[64];
        size_t length = next_random(&state) % sizeof noise;
        for (size_t i = 0; i < length; i++)
            noise[i] = (char)(next_random(&state) & (round % 2 ? 0x07 : 0xff));
        int error = decode(noise, length);
        CU_ASSERT(error == 0 || error == -EPROTO);
    }
}

/* ---- the cache ------------------------------------------------------------------------------- */

struct stand {
    struct pf_xbzrle_cache cache;
    struct pages pages;
};

static struct stand *stand_open(size_t places)
{
    struct stand *stand = aligned_alloc(64, sizeof *stand);
    memset(stand, 0, sizeof *stand);
    CU_ASSERT_EQUAL_FATAL(pf_xbzrle_cache_open(&stand->cache, places * PAGE, NULL), 0);
    return stand;
}

static void stand_close(struct stand *stand)
{
    pf_xbzrle_cache_close(&stand->cache);
    free(stand);
}

/* Send a page that is all `value`. */
static enum pf_change take(struct stand *stand, unsigned region, size_t page, int value)
{
    size_t length;
    memset(stand->pages.after, value, PAGE);
    stand->pages.after[0] = (uint8_t)(value + 1); /* so that pages differ by a little and by all */
    return pf_xbzrle_cache_take(&stand->cache, region, page, stand->pages.after, stand->pages.out,
                                &length);
}

static void a_size_is_a_power_of_two_of_pages(void)
{
    struct pf_xbzrle_cache cache;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_xbzrle_cache_open(&cache, 0, &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "--xbzrle-cache"));
    pf_xbzrle_cache_close(&cache);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_open(&cache, PAGE - 1, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_open(&cache, PAGE, NULL), 0);
    CU_ASSERT_EQUAL(cache.places, 1);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_resize(&cache, 1000 * (size_t)PAGE, NULL), 0);
    CU_ASSERT_EQUAL(cache.places, 512);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_resize(&cache, 0, &why), -EINVAL);
    CU_ASSERT_EQUAL(cache.places, 512);
    pf_xbzrle_cache_close(&cache);
}

static void a_page_is_known_once_it_was_sent(void)
{
    struct stand *stand = stand_open(4);
    struct pf_xbzrle_counts counts;
    size_t length = 0;
    CU_ASSERT_EQUAL(take(stand, 1, 2, 5), PF_CHANGE_WHOLE);
    CU_ASSERT_EQUAL(take(stand, 1, 2, 5), PF_CHANGE_NONE);
    CU_ASSERT_EQUAL(take(stand, 1, 2, 9), PF_CHANGE_WHOLE); /* all of it differs */
    stand->pages.after[100]++;
    CU_ASSERT_EQUAL(
        pf_xbzrle_cache_take(&stand->cache, 1, 2, stand->pages.after, stand->pages.out, &length),
        PF_CHANGE_DIFFERENCE);
    CU_ASSERT_EQUAL(length, 3);
    CU_ASSERT_EQUAL(take(stand, 2, 2, 9), PF_CHANGE_WHOLE); /* of another region */
    pf_xbzrle_cache_counts(&stand->cache, &counts);
    CU_ASSERT_EQUAL(counts.pages, 2);
    CU_ASSERT_EQUAL(counts.bytes, 3);
    CU_ASSERT_EQUAL(counts.misses, 2);
    CU_ASSERT_EQUAL(counts.overflows, 1);
    CU_ASSERT_DOUBLE_EQUAL(pf_xbzrle_cache_miss_rate(&stand->cache), 0.4, 1e-9);
    pf_xbzrle_cache_next_round(&stand->cache);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_miss_rate(&stand->cache), 0);
    stand_close(stand);
}

/* After a page of zeros the difference is from zeros, not from what was before. */
static void zeros_are_remembered(void)
{
    struct stand *stand = stand_open(4);
    size_t length = 0;
    take(stand, 0, 1, 5);
    pf_xbzrle_cache_zero(&stand->cache, 0, 0, 4);
    memset(stand->pages.after, 0, PAGE);
    stand->pages.after[7] = 1;
    CU_ASSERT_EQUAL(
        pf_xbzrle_cache_take(&stand->cache, 0, 1, stand->pages.after, stand->pages.out, &length),
        PF_CHANGE_DIFFERENCE);
    CU_ASSERT_EQUAL(length, 3);
    CU_ASSERT_EQUAL(take(stand, 0, 2, 5), PF_CHANGE_WHOLE); /* was no page of the cache */
    stand_close(stand);
}

static void a_young_page_keeps_its_place(void)
{
    struct stand *stand = stand_open(4);
    take(stand, 0, 1, 5);
    CU_ASSERT_EQUAL(take(stand, 0, 5, 6), PF_CHANGE_WHOLE); /* wants the same place */
    CU_ASSERT_EQUAL(take(stand, 0, 1, 5), PF_CHANGE_NONE);
    pf_xbzrle_cache_next_round(&stand->cache);
    CU_ASSERT_EQUAL(take(stand, 0, 5, 6), PF_CHANGE_WHOLE);
    CU_ASSERT_EQUAL(take(stand, 0, 1, 5), PF_CHANGE_NONE);
    pf_xbzrle_cache_next_round(&stand->cache);
    pf_xbzrle_cache_next_round(&stand->cache);
    CU_ASSERT_EQUAL(take(stand, 0, 5, 6), PF_CHANGE_WHOLE); /* the other is old now */
    CU_ASSERT_EQUAL(take(stand, 0, 5, 6), PF_CHANGE_NONE);
    CU_ASSERT_EQUAL(take(stand, 0, 1, 5), PF_CHANGE_WHOLE);
    stand_close(stand);
}

static void what_fits_survives_another_size(void)
{
    struct stand *stand = stand_open(8);
    for (size_t page = 0; page < 8; page++)
        take(stand, 0, page, (int)page + 10);
    pf_xbzrle_cache_next_round(&stand->cache);
    for (size_t page = 4; page < 8; page++)
        take(stand, 0, page, (int)page + 10);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_resize(&stand->cache, 64 * (size_t)PAGE, NULL), 0);
    for (size_t page = 4; page < 8; page++)
        CU_ASSERT_EQUAL(take(stand, 0, page, (int)page + 10), PF_CHANGE_NONE);
    CU_ASSERT_EQUAL(pf_xbzrle_cache_resize(&stand->cache, 4 * (size_t)PAGE, NULL), 0);
    for (size_t page = 4; page < 8; page++) /* those sent later have the places */
        CU_ASSERT_EQUAL(take(stand, 0, page, (int)page + 10), PF_CHANGE_NONE);
    CU_ASSERT_EQUAL(take(stand, 0, 0, 10), PF_CHANGE_WHOLE);
    stand_close(stand);
}

/* Whatever is asked of the cache, a destination that does as it is told has the same pages. */
static void the_destination_has_what_the_cache_says(void)
{
    enum { PAGES = 40, STEPS = 4000 };
    struct stand *stand = stand_open(16);
    uint8_t(*job)[PAGE] = aligned_alloc(64, sizeof *job * PAGES);
    uint8_t(*there)[PAGE] = calloc(PAGES, sizeof *there);
    uint64_t state = 3;
    unsigned wrong = 0;
    memset(job, 0, sizeof *job * PAGES);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t page = next_random(&state) % PAGES, length = 0;
        job[page][next_random(&state) % PAGE] = (uint8_t)next_random(&state);
        if (step % 97 == 0)
            fill_random(job[page], &state);
        if (step % 500 == 0)
            pf_xbzrle_cache_next_round(&stand->cache);
        if (step % 700 == 0)
            pf_xbzrle_cache_resize(&stand->cache, (next_random(&state) % 40 + 1) * PAGE, NULL);
        if (step % 31 == 0) {
            memset(job[page], 0, PAGE);
            memset(there[page], 0, PAGE);
            pf_xbzrle_cache_zero(&stand->cache, 0, page, 1);
            continue;
        }
        enum pf_change change =
            pf_xbzrle_cache_take(&stand->cache, 0, page, job[page], stand->pages.out, &length);
        if (change == PF_CHANGE_DIFFERENCE)
            wrong += pf_xbzrle_decode(stand->pages.out, length, there[page]) != 0;
        else if (change == PF_CHANGE_WHOLE)
            memcpy(there[page], job[page], PAGE);
        wrong += memcmp(there[page], job[page], PAGE) != 0;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(job);
    free(there);
    stand_close(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"every_density_of_changes_comes_back", every_density_of_changes_comes_back},
        {"a_change_is_as_long_as_it_must_be", a_change_is_as_long_as_it_must_be},
        {"malformed_differences_are_refused", malformed_differences_are_refused},
        {"noise_does_no_harm", noise_does_no_harm},
        {"a_size_is_a_power_of_two_of_pages", a_size_is_a_power_of_two_of_pages},
        {"a_page_is_known_once_it_was_sent", a_page_is_known_once_it_was_sent},
        {"zeros_are_remembered", zeros_are_remembered},
        {"a_young_page_keeps_its_place", a_young_page_keeps_its_place},
        {"what_fits_survives_another_size", what_fits_survives_another_size},
        {"the_destination_has_what_the_cache_says", the_destination_has_what_the_cache_says},
        {NULL, NULL},
    };
    return pf_suite_run("xbzrle", tests, argc > 1 ? argv[1] : NULL);
}
