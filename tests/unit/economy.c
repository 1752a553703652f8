/* SPDX-License-Identifier: BSD-2-Clause */
/* What --fewer-bytes auto makes of a link, a CPU and a job. */
#include "core/encode/economy.h"

#include "core/encode/squeeze.h"
#include "tests/suite.h"

#include <stdlib.h>

static struct pf_economy choose(double link, double ratio, double speed, double differ)
{
    struct pf_economy choice;
    struct pf_economy_facts facts = {
        .link = link,
        .threads = 2,
        .speed = {0, speed / 2, speed}, /* zstd half as fast as lz4, and half as short again */
        .ratio = {0, ratio * 1.5, ratio},
        .differ = differ,
    };
    pf_economy_choose(&facts, &choice);
    return choice;
}

static void a_fast_link_wants_nothing(void)
{
    struct pf_economy choice = choose(6e9, 2, 1e9, 5e9);
    CU_ASSERT_EQUAL(choice.compress, PF_COMPRESS_OFF);
    CU_ASSERT_FALSE(choice.xbzrle);
    CU_ASSERT_PTR_NOT_NULL(strstr(choice.why, "6000 MB/s"));
}

static void a_slow_link_wants_the_shortest(void)
{
    struct pf_economy choice = choose(1e7, 2, 1e9, 5e9);
    CU_ASSERT_EQUAL(choice.compress, PF_COMPRESS_ZSTD);
    CU_ASSERT_TRUE(choice.xbzrle);
    CU_ASSERT_PTR_NOT_NULL(strstr(choice.why, "zstd"));
}

static void a_middling_link_wants_the_fastest(void)
{
    struct pf_economy choice = choose(1.2e9, 2, 1.5e9, 5e9);
    CU_ASSERT_EQUAL(choice.compress, PF_COMPRESS_LZ4);
    CU_ASSERT_TRUE(choice.xbzrle);
}

static void noise_is_left_alone(void)
{
    struct pf_economy choice = choose(1e8, 0.6, 1e9, 5e9);
    CU_ASSERT_EQUAL(choice.compress, PF_COMPRESS_OFF);
    CU_ASSERT_TRUE(choice.xbzrle);
}

static void without_libraries_or_pages_there_is_no_choice(void)
{
    struct pf_economy choice = choose(1e8, 0, 0, 0);
    CU_ASSERT_EQUAL(choice.compress, PF_COMPRESS_OFF);
    CU_ASSERT_FALSE(choice.xbzrle);
    struct pf_economy_facts facts;
    CU_ASSERT_EQUAL(pf_economy_measure(&facts, 1, NULL, 0), 0);
    CU_ASSERT_EQUAL(facts.differ, 0);
}

static void pages_are_measured_as_they_are(void)
{
    enum { BYTES = 1 << 16 };
    char *text = aligned_alloc(64, BYTES), *noise = aligned_alloc(64, BYTES);
    uint64_t state = 1;
    for (size_t i = 0; i < BYTES; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        noise[i] = (char)(state >> 56);
        text[i] = "many pages"[i % 10];
    }
    struct pf_economy_piece pieces[] = {{text, BYTES}, {text, 4096}};
    struct pf_economy_facts facts;
    CU_ASSERT_EQUAL(pf_economy_measure(&facts, 1, pieces, 2), 0);
    for (unsigned how = 1; how < PF_ECONOMY_WAYS; how++) {
        bool built = pf_squeeze_built() & 1u << how;
        CU_ASSERT_EQUAL(facts.speed[how] > 0, built);
        CU_ASSERT_EQUAL(facts.ratio[how] > 10, built);
    }
    CU_ASSERT(facts.differ > 0);
    pieces[0].addr = noise;
    CU_ASSERT_EQUAL(pf_economy_measure(&facts, 1, pieces, 1), 0);
    for (unsigned how = 1; how < PF_ECONOMY_WAYS; how++)
        CU_ASSERT(facts.ratio[how] <= 1);
    free(text);
    free(noise);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"a_fast_link_wants_nothing", a_fast_link_wants_nothing},
        {"a_slow_link_wants_the_shortest", a_slow_link_wants_the_shortest},
        {"a_middling_link_wants_the_fastest", a_middling_link_wants_the_fastest},
        {"noise_is_left_alone", noise_is_left_alone},
        {"without_libraries_or_pages_there_is_no_choice",
         without_libraries_or_pages_there_is_no_choice},
        {"pages_are_measured_as_they_are", pages_are_measured_as_they_are},
        {NULL, NULL},
    };
    return pf_suite_run("economy", tests, argc > 1 ? argv[1] : NULL);
}
