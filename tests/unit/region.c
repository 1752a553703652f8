/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/region.h"

#include "pageferry.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static struct pf_regions *fresh(void)
{
    struct pf_regions *regions = calloc(1, sizeof *regions);
    CU_ASSERT_PTR_NOT_NULL_FATAL(regions);
    return regions;
}

static void finish(struct pf_regions *regions)
{
    pf_regions_unmap(regions);
    free(regions);
}

static char *map_pages(size_t pages)
{
    void *memory = mmap(NULL, pages * PF_PAGE_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(memory, MAP_FAILED);
    return memory;
}

static void maps_whole_zeroed_pages(void)
{
    struct pf_regions *regions = fresh();
    struct pf_region *region;
    CU_ASSERT_EQUAL(pf_regions_map(regions, "a", 5000, 0, 0, &region, NULL), 0);
    CU_ASSERT_EQUAL(region->bytes, 2 * PF_PAGE_SIZE);
    CU_ASSERT_EQUAL((uintptr_t)region->addr % PF_PAGE_SIZE, 0);
    CU_ASSERT_EQUAL(region->addr[8191], 0);
    CU_ASSERT_EQUAL(pf_region_pages(region), 2);
    CU_ASSERT_PTR_EQUAL(pf_region_page(region, 1), region->addr + PF_PAGE_SIZE);
    CU_ASSERT_EQUAL(pf_regions_bytes(regions), 2 * PF_PAGE_SIZE);
    finish(regions);
}

static void refuses_bad_regions(void)
{
    char name[PF_REGION_NAME + 1];
    struct pf_regions *regions = fresh();
    struct pf_region *region;
    struct pf_why why = {""};
    memset(name, 'n', sizeof name);
    name[PF_REGION_NAME] = '\0';
    CU_ASSERT_EQUAL(pf_regions_map(regions, "", 1, 0, 0, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, NULL, 1, 0, 0, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, name, 1, 0, 0, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, name + 1, 1, 0, 0, &region, NULL), 0);
    CU_ASSERT_EQUAL(pf_regions_map(regions, "a", 0, 0, 0, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, "a", SIZE_MAX, 0, 0, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, "a", 1, 0, 1u << 31, &region, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_map(regions, name + 1, 1, 0, 0, &region, &why), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "declared twice"));
    CU_ASSERT_EQUAL(regions->count, 1);
    finish(regions);
}

static void refuses_overlaps(void)
{
    struct pf_regions *regions = fresh();
    char *memory = map_pages(10);
    const size_t page = PF_PAGE_SIZE;
    CU_ASSERT_EQUAL(pf_regions_add(regions, "a", memory + 4 * page, 2 * page, PF_PAGE_SHIFT, NULL),
                    0);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory + 3 * page, 2 * page, PF_PAGE_SHIFT, NULL),
                    -EEXIST);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory + 5 * page, page, PF_PAGE_SHIFT, NULL),
                    -EEXIST);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory, 10 * page, PF_PAGE_SHIFT, NULL), -EEXIST);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory + 1, page, PF_PAGE_SHIFT, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory, page + 1, PF_PAGE_SHIFT, NULL), -EINVAL);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "b", memory + 3 * page, page, PF_PAGE_SHIFT, NULL), 0);
    CU_ASSERT_EQUAL(pf_regions_add(regions, "c", memory + 6 * page, page, PF_PAGE_SHIFT, NULL), 0);
    finish(regions);
    memory[0] = 1; /* added memory stays its owner's */
    munmap(memory, 10 * page);
}

static void finds_by_name(void)
{
    static const unsigned order[] = {5, 1, 7, 3, 0, 6, 2, 4};
    enum { COUNT = 8 };
    struct pf_regions *regions = fresh();
    char *memory = map_pages(2 * COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%u", order[i]);
        CU_ASSERT_EQUAL_FATAL(pf_regions_add(regions, name,
                                             memory + order[i] * 2 * (size_t)PF_PAGE_SIZE,
                                             PF_PAGE_SIZE, PF_PAGE_SHIFT, NULL),
                              0);
    }
    CU_ASSERT_EQUAL(pf_regions_named(regions, "r7"), 2);
    CU_ASSERT_EQUAL(pf_regions_named(regions, "r8"), -1);
    finish(regions);
    munmap(memory, 2 * COUNT * (size_t)PF_PAGE_SIZE);
}

#ifndef __SANITIZE_THREAD__
/* The same declarations give the same addresses, whatever else was mapped meanwhile. */
static void fixed_addresses_repeat(void)
{
    char *first[3] = {NULL};
    for (int round = 0; round < 2; round++) {
        struct pf_regions *regions = fresh();
        struct pf_region *region;
        char *between = map_pages(100);
        for (int i = 0; i < 3; i++) {
            char name[2] = {(char)('a' + i), '\0'};
            size_t bytes = i == 1 ? (size_t)3 << 30 : 100;
            CU_ASSERT_EQUAL_FATAL(
                pf_regions_map(regions, name, bytes, 0, FERRY_FIXED_ADDR, &region, NULL), 0);
            if (round == 0)
                first[i] = region->addr;
            CU_ASSERT_PTR_EQUAL(region->addr, first[i]);
        }
        CU_ASSERT(first[2] >= first[1] + ((size_t)3 << 30));
        finish(regions);
        munmap(between, 100 * (size_t)PF_PAGE_SIZE);
    }
}

static void fixed_address_may_be_taken(void)
{
    struct pf_regions *regions = fresh();
    struct pf_regions *others = fresh();
    struct pf_region *region;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_regions_map(regions, "a", 1, 0, FERRY_FIXED_ADDR, &region, NULL), 0);
    CU_ASSERT_EQUAL(pf_regions_map(others, "a", 1, 0, FERRY_FIXED_ADDR, &region, &why), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "fixed address"));
    finish(others);
    finish(regions);
}

#endif

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"maps_whole_zeroed_pages", maps_whole_zeroed_pages},
        {"refuses_bad_regions", refuses_bad_regions},
        {"refuses_overlaps", refuses_overlaps},
        {"finds_by_name", finds_by_name},
#ifndef __SANITIZE_THREAD__ /* which keeps the area of fixed addresses for itself */
        {"fixed_addresses_repeat", fixed_addresses_repeat},
        {"fixed_address_may_be_taken", fixed_address_may_be_taken},
#endif
        {NULL, NULL},
    };
    return pf_suite_run("region", tests, argc > 1 ? argv[1] : NULL);
}
