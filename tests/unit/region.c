/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/region.h"

#include "core/memory/backing.h"
#include "pageferry.h"
#include "tests/huge.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ---- huge pages ------------------------------------------------------------------------------ */

#define HUGE ((size_t)FERRY_PAGE_2M)

static void maps_huge_pages(void)
{
    struct pf_regions *regions = fresh();
    struct pf_region *region;
    if (!huge_2m(8)) {
        printf("skipped: no huge pages to be had ... ");
        finish(regions);
        return;
    }
    for (unsigned shared = 0; shared < 2; shared++) {
        const char *name = shared ? "shared" : "anonymous";
        CU_ASSERT_EQUAL_FATAL(pf_regions_map(regions, name, HUGE + 1, HUGE,
                                             shared ? FERRY_SHARED : FERRY_ANON, &region, NULL),
                              0);
        CU_ASSERT_EQUAL(region->bytes, 2 * HUGE);
        CU_ASSERT_EQUAL(region->page_shift, 21);
        CU_ASSERT_EQUAL((uintptr_t)region->addr % HUGE, 0);
        region->addr[2 * HUGE - 1] = 1;
        struct pf_region found = {.addr = region->addr, .bytes = region->bytes};
        CU_ASSERT_EQUAL(pf_backing_of_memory(&found, NULL), shared ? -EINVAL : 0);
        CU_ASSERT_EQUAL(found.page_shift, shared ? PF_PAGE_SHIFT : 21);
    }
    finish(regions);
}

/* What a test has raised the pool by is gone with it. */
static void pool_is_left_as_it_was(void)
{
    long before = huge_count(2048, "nr");
    long wanted = huge_free(2048) + 1;
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        bool raised = huge_2m(wanted);
        if (fork() == 0)
            exit(0); /* nothing to put back */
        wait(NULL);
        exit(!raised ? 77 : huge_count(2048, "nr") == before);
    }
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        printf("skipped: no huge pages to be had ... ");
        return;
    }
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(huge_count(2048, "nr"), before);
}

/* The line says how many are needed, how many there are, and what helps. */
static void small_pool_is_named(void)
{
    struct pf_regions *regions = fresh();
    struct pf_region *region;
    for (unsigned shared = 0; shared < 2; shared++) {
        struct pf_why why = {""};
        int error = pf_regions_map(regions, "big", (size_t)1 << 45, HUGE,
                                   shared ? FERRY_SHARED : FERRY_ANON, &region, &why);
        if (error == -ENOTSUP)
            break; /* a machine without such pages */
        CU_ASSERT_EQUAL(error, -ENOMEM);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "needs huge pages of 2 MiB: 16777216, and "));
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "are free"));
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "hugepages-2048kB/nr_hugepages"));
    }
    CU_ASSERT_EQUAL(regions->count, 0);
    finish(regions);
}

/* Two kinds of pages side by side: no page size is right for both. */
static void mixed_pages_are_refused(void)
{
    struct pf_why why = {""};
    if (!huge_2m(1)) {
        printf("skipped: no huge pages to be had ... ");
        return;
    }
    char *area = mmap(NULL, 4 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *aligned = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    CU_ASSERT_PTR_EQUAL_FATAL(mmap(aligned, HUGE, PROT_READ | PROT_WRITE,
                                   how | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT, -1, 0),
                              aligned);
    struct pf_region region = {.name = "mixed", .addr = aligned, .bytes = 2 * HUGE};
    CU_ASSERT_EQUAL(pf_backing_of_memory(&region, &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "pages of 2 MiB and of 4 KiB"));
    munmap(area, 4 * HUGE);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int add_file(struct pf_regions *regions, void *addr, size_t bytes, int fd, uint64_t offset,
                    const char *words)
{
    struct pf_why why = {""};
    int error = pf_regions_add_file(regions, "file", addr, bytes, fd, offset, &why);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, words));
    return error;
}

static void takes_only_the_file_that_is_mapped(void)
{
    enum { PAGES = 4 };
    const size_t page = PF_PAGE_SIZE;
    struct pf_regions *regions = fresh();
    int fd = memfd_create("a", MFD_ALLOW_SEALING);
    int other = memfd_create("b", 0);
    int disk = open("/proc/self/exe", O_RDONLY);
    CU_ASSERT_EQUAL(ftruncate(fd, PAGES * PF_PAGE_SIZE), 0);
    CU_ASSERT_EQUAL(ftruncate(other, PAGES * PF_PAGE_SIZE), 0);
    char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PF_PAGE_SIZE);
    char *private = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CU_ASSERT_EQUAL(add_file(regions, memory, 3 * page, -1, page, "no usable descriptor"), -EBADF);
    CU_ASSERT_EQUAL(add_file(regions, memory, 3 * page, disk, page, "no memfd"), -EINVAL);
    CU_ASSERT_EQUAL(add_file(regions, memory, 3 * page, other, page, "is not the file"), -EINVAL);
    CU_ASSERT_EQUAL(add_file(regions, memory, 3 * page, fd, 0, "is not the file"), -EINVAL);
    CU_ASSERT_EQUAL(add_file(regions, private, page, fd, 0, "is not the file"), -EINVAL);
    CU_ASSERT_EQUAL(add_file(regions, memory, page + 1, fd, page, "multiples of 4 KiB"), -EINVAL);
    CU_ASSERT_EQUAL(add_file(regions, memory + page, 2 * page, fd, 2 * page, ""), 0);
    CU_ASSERT_EQUAL(regions->count, 1);
    /* Our own descriptor, and nobody can shorten the file any more. */
    CU_ASSERT(regions->list[0].fd != fd);
    CU_ASSERT_EQUAL(ftruncate(fd, PF_PAGE_SIZE), -1);
    CU_ASSERT_EQUAL(pf_region_check_file(&regions->list[0], NULL), 0);
    finish(regions);
    munmap(memory, 3 * page);
    munmap(private, page);
    close(fd);
    close(other);
    close(disk);
}

/* A file without seals can still shrink: that is noticed where it is looked at. */
static void shrunken_file_is_named(void)
{
    struct pf_regions *regions = fresh();
    struct pf_why why = {""};
    int fd = memfd_create("a", 0);
    CU_ASSERT_EQUAL(ftruncate(fd, 2 * PF_PAGE_SIZE), 0);
    char *memory = mmap(NULL, 2 * PF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CU_ASSERT_EQUAL(add_file(regions, memory, 2 * PF_PAGE_SIZE, fd, 0, ""), 0);
    CU_ASSERT_EQUAL(ftruncate(fd, PF_PAGE_SIZE), 0);
    CU_ASSERT_EQUAL(pf_region_check_file(&regions->list[0], &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "has 4096 bytes, the region ends at 8192"));
    finish(regions);
    munmap(memory, 2 * PF_PAGE_SIZE);
    close(fd);
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
        {"maps_huge_pages", maps_huge_pages},
        {"pool_is_left_as_it_was", pool_is_left_as_it_was},
        {"small_pool_is_named", small_pool_is_named},
        {"mixed_pages_are_refused", mixed_pages_are_refused},
        {"takes_only_the_file_that_is_mapped", takes_only_the_file_that_is_mapped},
        {"shrunken_file_is_named", shrunken_file_is_named},
#ifndef __SANITIZE_THREAD__ /* which keeps the area of fixed addresses for itself */
        {"fixed_addresses_repeat", fixed_addresses_repeat},
        {"fixed_address_may_be_taken", fixed_address_may_be_taken},
#endif
        {NULL, NULL},
    };
    return pf_suite_run("region", tests, argc > 1 ? argv[1] : NULL);
}
