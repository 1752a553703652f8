/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is made before it's written to: which, when it is kept, and when it goes again. */
#include "core/arrival/populator.h"

#include "core/memory/populated.h"
#include "core/memory/thp.h"
#include "tests/suite.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE  ((size_t)PF_PAGE_SIZE)
#define PIECE ((size_t)2 << 20)

enum { PLAIN, SHARED, REGIONS };

struct stand {
    struct pf_regions regions;
    struct pf_region *region[REGIONS];
    struct pf_counters counters;
    struct pf_session session;
    struct pf_arrival arrival;
    struct pf_populator populator;
    struct pf_why why;
};

/* Regions that the program has written to, without huge pages, which would hide single ones. */
static struct stand *set_up(size_t bytes)
{
    struct stand *stand = calloc(1, sizeof *stand);
    stand->session.rail_count = 1;
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&stand->regions, "plain", bytes, 0, 0, &stand->region[PLAIN], &stand->why),
        0);
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "shared", bytes, 0, FERRY_SHARED,
                                         &stand->region[SHARED], &stand->why),
                          0);
    for (unsigned i = 0; i < REGIONS; i++) {
        pf_thp_off(stand->region[i]);
        memset(stand->region[i]->addr, 'x', PAGE);
        memset(stand->region[i]->addr + bytes - PAGE, 'x', PAGE);
    }
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, -1, &stand->why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_arrival_probe(&stand->arrival, &stand->why), 0);
    return stand;
}

static void take_down(struct stand *stand)
{
    pf_populator_stop(&stand->populator);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    free(stand);
}

static size_t resident(const struct stand *stand, unsigned region, size_t first, size_t bytes)
{
    unsigned char *there = malloc(bytes / PAGE);
    size_t count = 0;
    CU_ASSERT_EQUAL_FATAL(mincore(stand->region[region]->addr + first, bytes, there), 0);
    for (size_t i = 0; i < bytes / PAGE; i++)
        count += there[i] & 1;
    free(there);
    return count;
}

static size_t resident_all(const struct stand *stand, unsigned region)
{
    return resident(stand, region, 0, stand->region[region]->bytes);
}

static bool all_zero(const struct stand *stand, unsigned region)
{
    const char *bytes = stand->region[region]->addr;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, stand->region[region]->bytes - 1) == 0;
}

static void await_made(const struct stand *stand, uint64_t bytes)
{
    while (pf_count_get(&stand->counters.made_bytes) < bytes)
        usleep(1000);
}

/* All of it, as while nobody has come yet. */
static void freshen(struct stand *stand)
{
    CU_ASSERT_EQUAL_FATAL(pf_arrival_freshen(&stand->arrival, &stand->why), 0);
    pf_populator_start(&stand->populator, &stand->arrival, &stand->session, false);
    await_made(stand, pf_regions_bytes(&stand->regions));
    pf_populator_stop(&stand->populator);
}

/* So many stretches from the beginning of each region are full at the source. */
static void prepare(struct stand *stand, size_t plain, size_t shared, bool ahead)
{
    const size_t full[REGIONS] = {[PLAIN] = plain, [SHARED] = shared};
    for (unsigned i = 0; i < REGIONS; i++) {
        struct pf_pageset *set = &stand->arrival.list[i].full;
        stand->arrival.list[i].populated = full[i] * PIECE;
        pf_pageset_remove_run(set, (struct pf_run){0, set->pages});
        if (full[i])
            CU_ASSERT_TRUE(pf_arrival_note_full(&stand->arrival, i, (struct pf_run){0, full[i]}));
    }
    CU_ASSERT_EQUAL_FATAL(pf_arrival_prepare(&stand->arrival, ahead, &stand->why), 0);
}

static void made_while_waiting_and_kept(void)
{
    struct stand *stand = set_up(2 * PIECE + 3 * PAGE);
    size_t bytes = stand->region[PLAIN]->bytes;
    freshen(stand);
    for (unsigned i = 0; i < REGIONS; i++) {
        CU_ASSERT_EQUAL(resident_all(stand, i), bytes / PAGE);
        CU_ASSERT_TRUE(all_zero(stand, i));
    }
    prepare(stand, 3, 2, true);
    for (unsigned i = 0; i < REGIONS; i++)
        CU_ASSERT_EQUAL(resident_all(stand, i), bytes / PAGE);
    take_down(stand);
}

static void made_in_vain_and_dropped(void)
{
    struct stand *stand = set_up(2 * PIECE);
    freshen(stand);
    prepare(stand, 1, 0, true);
    for (unsigned i = 0; i < REGIONS; i++)
        CU_ASSERT_EQUAL(resident_all(stand, i), 0);
    take_down(stand);
}

/* Pages have to be missing; and a session that ends before it begins leaves nothing behind. */
static void dropped_where_pages_have_to_be_missing(void)
{
    struct stand *stand = set_up(PIECE);
    freshen(stand);
    CU_ASSERT_EQUAL(pf_arrival_unmake(&stand->arrival, &stand->why), 0);
    for (unsigned i = 0; i < REGIONS; i++)
        CU_ASSERT_EQUAL(resident_all(stand, i), 0);
    pf_count_set(&stand->counters.made_bytes, 0);
    freshen(stand);
    CU_ASSERT_EQUAL(resident_all(stand, PLAIN), PIECE / PAGE);
    pf_arrival_abandon(&stand->arrival);
    for (unsigned i = 0; i < REGIONS; i++)
        CU_ASSERT_EQUAL(resident_all(stand, i), 0);
    take_down(stand);
}

static void only_what_is_full(void)
{
    struct stand *stand = set_up(3 * PIECE - PAGE);
    prepare(stand, 0, 1, true);
    CU_ASSERT_TRUE(pf_arrival_note_full(&stand->arrival, PLAIN, (struct pf_run){1, 2}));
    CU_ASSERT_FALSE(pf_arrival_note_full(&stand->arrival, PLAIN, (struct pf_run){1, 3}));
    CU_ASSERT_FALSE(pf_arrival_note_full(&stand->arrival, PLAIN, (struct pf_run){3, 0}));
    pf_populator_start(&stand->populator, &stand->arrival, &stand->session, true);
    await_made(stand, 3 * PIECE - PAGE);
    pf_populator_stop(&stand->populator);
    CU_ASSERT_EQUAL(resident(stand, PLAIN, 0, PIECE), 0);
    CU_ASSERT_EQUAL(resident_all(stand, PLAIN), 2 * PIECE / PAGE - 1);
    CU_ASSERT_EQUAL(resident_all(stand, SHARED), PIECE / PAGE);
    prepare(stand, 3, 3, false);
    pf_populator_start(&stand->populator, &stand->arrival, &stand->session, true);
    CU_ASSERT_EQUAL(stand->populator.running, 0);
    take_down(stand);
}

/* However many cores there are: two threads would leap one behind the other, over the end. */
static void have_one_thread(struct stand *stand)
{
    struct pf_placement *placement = &stand->session.rails[0].placement;
    placement->pin = true;
    CPU_SET((size_t)sched_getcpu(), &placement->cpus);
}

/* What others have begun is left to them, and what is to come next. */
static void leaps_when_overtaken(void)
{
    struct stand *stand = set_up(32 * PIECE);
    have_one_thread(stand);
    char *memory = stand->region[PLAIN]->addr;
    prepare(stand, 32, 0, true);
    for (size_t at = 0; at < 4 * PIECE; at += PIECE)
        memory[at] = 'w';
    pf_populator_start(&stand->populator, &stand->arrival, &stand->session, true);
    while (resident(stand, PLAIN, 31 * PIECE, PIECE) < PIECE / PAGE)
        usleep(1000);
    pf_populator_stop(&stand->populator);
    CU_ASSERT_EQUAL(resident(stand, PLAIN, 0, 4 * PIECE), 4);
    for (size_t at = 0; at < 4 * PIECE; at += PIECE)
        CU_ASSERT_EQUAL(memory[at], 'w');
    take_down(stand);
}

/* What the source tells. */
static void full_is_what_has_data_everywhere(void)
{
    struct stand *stand = set_up(4 * PIECE - PAGE);
    for (unsigned i = 0; i < REGIONS; i++) {
        char *memory = stand->region[i]->addr;
        struct pf_pageset full;
        uint64_t bytes;
        CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&full, 4), 0);
        memset(memory, 'd', PIECE - PAGE);             /* one page was never used */
        memset(memory + PIECE, 'd', PIECE);            /* full */
        memset(memory + 2 * PIECE, 0, PIECE);          /* zeros */
        memset(memory + 3 * PIECE, 'd', PIECE - PAGE); /* full, and shorter */
        CU_ASSERT_EQUAL(pf_populated_survey(stand->region[i], &bytes, &full, &stand->why), 0);
        CU_ASSERT_EQUAL(bytes, 4 * PIECE - 2 * PAGE);
        CU_ASSERT_FALSE(pf_pageset_has(&full, 0));
        CU_ASSERT_TRUE(pf_pageset_has(&full, 1));
        CU_ASSERT_FALSE(pf_pageset_has(&full, 2));
        CU_ASSERT_TRUE(pf_pageset_has(&full, 3));
        pf_pageset_free(&full);
    }
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"made_while_waiting_and_kept", made_while_waiting_and_kept},
        {"made_in_vain_and_dropped", made_in_vain_and_dropped},
        {"dropped_where_pages_have_to_be_missing", dropped_where_pages_have_to_be_missing},
        {"only_what_is_full", only_what_is_full},
        {"full_is_what_has_data_everywhere", full_is_what_has_data_everywhere},
        {"leaps_when_overtaken", leaps_when_overtaken},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    return pf_suite_run("populator", tests, argc > 1 ? argv[1] : NULL);
}
