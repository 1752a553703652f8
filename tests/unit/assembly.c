/* SPDX-License-Identifier: BSD-2-Clause */
/* assembly.h: parts in and out of sequence, zeros before, between and behind data. */
#include "core/arrival/assembly.h"

#include "tests/suite.h"

#include <errno.h>

enum { PART = 4096, PARTS = 4 };
#define PAGE_BYTES ((size_t)4 * PART)

struct stand {
    struct pf_region region;
    struct pf_arriving arriving;
    struct pf_assembly assembly;
    struct pf_placing placing;
};

/* Host pages of 16 KiB, of which no kernel knows, in parts of 4 KiB. */
static void set_up(struct stand *stand)
{
    memset(stand, 0, sizeof *stand);
    stand->region = (struct pf_region){.bytes = 8 * PAGE_BYTES, .page_shift = 14};
    stand->arriving.region = &stand->region;
    CU_ASSERT_EQUAL_FATAL(pf_assembly_open(&stand->assembly, PAGE_BYTES, PART), 0);
}

static int take(struct stand *stand, uint64_t page, uint32_t part, uint32_t parts, const char *data)
{
    struct pf_stage_run run = {.region = 3,
                               .pages = parts,
                               .first = page,
                               .part = part,
                               .in_parts = true,
                               .zero = data == NULL};
    return pf_assembly_take(&stand->assembly, &stand->arriving, &run, data, &stand->placing);
}

static void page_is_placed_with_its_last_part(void)
{
    struct stand stand;
    char data[PARTS][PART];
    set_up(&stand);
    for (int i = 0; i < PARTS; i++)
        memset(data[i], 'a' + i, PART);
    CU_ASSERT_EQUAL(take(&stand, 5, 0, 1, data[0]), 0);
    CU_ASSERT_EQUAL(take(&stand, 5, 1, 2, data[1]), 0);
    CU_ASSERT_EQUAL(take(&stand, 5, 3, 1, data[3]), 1);
    CU_ASSERT_EQUAL(stand.placing.region, 3);
    CU_ASSERT_EQUAL(stand.placing.run.first, 5);
    CU_ASSERT_EQUAL(stand.placing.run.pages, 1);
    CU_ASSERT_EQUAL(memcmp(stand.placing.from, data, PAGE_BYTES), 0);
    pf_assembly_close(&stand.assembly);
}

/* The memory holds an earlier page: what is not written would show it. */
static void zero_parts_are_zeros_wherever_they_are(void)
{
    for (unsigned kinds = 0; kinds < 1u << PARTS; kinds++) {
        struct stand stand;
        char data[PART];
        char expected[PARTS * PART];
        set_up(&stand);
        memset(stand.assembly.memory, 's', PAGE_BYTES);
        memset(data, 'd', PART);
        for (unsigned i = 0; i < PARTS; i++) {
            bool zero = kinds >> i & 1;
            memset(expected + (size_t)i * PART, zero ? 0 : 'd', PART);
            CU_ASSERT_EQUAL(take(&stand, 0, i, 1, zero ? NULL : data), i + 1 == PARTS);
        }
        if (kinds == (1u << PARTS) - 1)
            CU_ASSERT_PTR_NULL(stand.placing.from) /* one page of zeros */
        else
            CU_ASSERT_EQUAL(memcmp(stand.placing.from, expected, PAGE_BYTES), 0);
        pf_assembly_close(&stand.assembly);
    }
}

static void what_is_out_of_sequence_is_refused(void)
{
    char data[PART * PARTS] = {1};
    struct stand stand;
    set_up(&stand);
    CU_ASSERT_EQUAL(take(&stand, 0, 1, 1, data), -EPROTO);         /* not the first */
    CU_ASSERT_EQUAL(take(&stand, 0, 0, 0, data), -EPROTO);         /* none */
    CU_ASSERT_EQUAL(take(&stand, 0, 0, PARTS + 1, data), -EPROTO); /* too many */
    CU_ASSERT_EQUAL(take(&stand, 0, PARTS, 1, data), -EPROTO);
    CU_ASSERT_EQUAL(take(&stand, 0, 0, 1, data), 0);
    CU_ASSERT_EQUAL(take(&stand, 0, 0, 1, data), -EPROTO); /* again */
    CU_ASSERT_EQUAL(take(&stand, 0, 2, 1, data), -EPROTO); /* one left out */
    CU_ASSERT_EQUAL(take(&stand, 1, 1, 1, data), -EPROTO); /* of another page */
    CU_ASSERT_EQUAL(take(&stand, 1, 0, 1, data), -EPROTO); /* another page begins */
    CU_ASSERT_EQUAL(take(&stand, 0, 1, UINT32_MAX, data), -EPROTO);
    CU_ASSERT_EQUAL(take(&stand, 0, 1, PARTS - 1, data), 1);
    CU_ASSERT_EQUAL(take(&stand, 0, 3, 1, data), -EPROTO); /* a page too long */
    pf_assembly_close(&stand.assembly);
}

/* A page that fits into a stage has no parts. */
static void small_page_has_no_parts(void)
{
    char data[PART] = {1};
    struct stand stand;
    set_up(&stand);
    stand.region.page_shift = 12;
    CU_ASSERT_EQUAL(take(&stand, 0, 0, 1, data), -EPROTO);
    pf_assembly_close(&stand.assembly);
}

/* Nothing is copied: the parts are in the file already. */
static void in_place_only_the_sequence_counts(void)
{
    char alias[1];
    struct stand stand;
    set_up(&stand);
    pf_assembly_close(&stand.assembly);
    CU_ASSERT_EQUAL_FATAL(pf_assembly_open(&stand.assembly, 0, PART), 0);
    CU_ASSERT_PTR_NULL(stand.assembly.memory);
    stand.arriving.in_place = true;
    stand.arriving.alias = alias;
    CU_ASSERT_EQUAL(take(&stand, 2, 0, 3, alias), 0);
    CU_ASSERT_EQUAL(take(&stand, 2, 3, 1, NULL), 1);
    CU_ASSERT_PTR_EQUAL(stand.placing.from, alias);
    CU_ASSERT_EQUAL(take(&stand, 3, 0, PARTS, NULL), 1);
    CU_ASSERT_PTR_NULL(stand.placing.from);
}

/* The last part of a page is shorter where a stage's size does not divide it. */
static void last_part_may_be_shorter(void)
{
    struct stand stand;
    char data[PART * PARTS];
    memset(data, 'd', sizeof data);
    set_up(&stand);
    stand.assembly.part_size = 3 * PART / 2;
    CU_ASSERT_EQUAL(take(&stand, 0, 0, 2, data), 0);
    struct pf_stage_run last = {.pages = 1, .part = 2};
    CU_ASSERT_EQUAL(pf_assembly_run_bytes(&stand.assembly, PAGE_BYTES, &last), PART);
    CU_ASSERT_EQUAL(take(&stand, 0, 2, 1, data), 1);
    CU_ASSERT_EQUAL(memcmp(stand.placing.from, data, PAGE_BYTES), 0);
    pf_assembly_close(&stand.assembly);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"page_is_placed_with_its_last_part", page_is_placed_with_its_last_part},
        {"zero_parts_are_zeros_wherever_they_are", zero_parts_are_zeros_wherever_they_are},
        {"what_is_out_of_sequence_is_refused", what_is_out_of_sequence_is_refused},
        {"small_page_has_no_parts", small_page_has_no_parts},
        {"in_place_only_the_sequence_counts", in_place_only_the_sequence_counts},
        {"last_part_may_be_shorter", last_part_may_be_shorter},
        {NULL, NULL},
    };
    return pf_suite_run("assembly", tests, argc > 1 ? argv[1] : NULL);
}
