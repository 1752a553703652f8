/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every tracker has to keep, run with each that works here. With arguments: only tests whose
 * name contains the first.
 */
#include "core/tracker.h"

#include "core/backing.h"
#include "core/thp.h"
#include "core/tracker_ops.h"
#include "tests/huge.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 64 };
#define PAGE ((size_t)PF_PAGE_SIZE)

/* Which tracker the tests run with: CUnit's tests have no arguments. */
static unsigned kind;

struct stand {
    struct pf_regions regions;
    struct pf_region *region;
    struct pf_tracker *tracker;
    struct pf_pageset dirty;
    struct pf_pageset marked;
    struct pf_run replaced; /* told last */
    char *base;
    size_t page;
};

static void replaced(void *ctx, unsigned region, struct pf_run run)
{
    struct stand *stand = ctx;
    (void)region;
    stand->replaced = run;
}

static void begin(struct stand *stand)
{
    struct pf_why why = {""};
    struct pf_tracker_attr attr = {
        .regions = &stand->regions,
        .choice = kind,
        .marked = &stand->marked,
        .replaced = replaced,
        .ctx = stand,
    };
    int error = pf_tracker_open(&stand->tracker, &attr, &why);
    if (error)
        printf("%s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(error, 0);
}

static struct stand *set_up_pages(unsigned flags, size_t page_size, size_t pages)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_why why = {""};
    stand->page = page_size ? page_size : PAGE;
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "region", pages * stand->page, page_size,
                                         flags, &stand->region, &why),
                          0);
    stand->base = stand->region->addr;
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->dirty, pages), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->marked, pages), 0);
    begin(stand);
    return stand;
}

static struct stand *set_up(unsigned flags)
{
    return set_up_pages(flags, 0, PAGES);
}

static void take_down(struct stand *stand)
{
    pf_tracker_close(stand->tracker);
    pf_pageset_free(&stand->dirty);
    pf_pageset_free(&stand->marked);
    pf_regions_unmap(&stand->regions);
    free(stand);
}

static void write_page(struct stand *stand, size_t page)
{
    volatile char *at = stand->base + page * stand->page;
    at[0]++;
}

static void collect(struct stand *stand)
{
    struct pf_why why = {""};
    struct pf_run all = {0, pf_region_pages(stand->region)};
    pf_pageset_remove_run(&stand->dirty, all);
    int error = pf_tracker_collect(stand->tracker, 0, all, &stand->dirty, &why);
    if (error)
        printf("%s\n", why.text);
    CU_ASSERT_EQUAL(error, 0);
}

/* Collects exactly these pages, in order; ends with SIZE_MAX. */
static bool collects(struct stand *stand, const size_t *pages)
{
    size_t count = 0;
    bool all = true;
    collect(stand);
    for (; pages[count] != SIZE_MAX; count++)
        all = all && pf_pageset_has(&stand->dirty, pages[count]);
    if (!all || pf_pageset_count(&stand->dirty) != count)
        for (size_t page = 0; page < stand->dirty.pages; page++)
            if (pf_pageset_has(&stand->dirty, page))
                printf("got %zu\n", page);
    return all && pf_pageset_count(&stand->dirty) == count;
}

#define COLLECTS(stand, ...) collects(stand, (const size_t[]){__VA_ARGS__ __VA_OPT__(, ) SIZE_MAX})

/* ---- writes ---------------------------------------------------------------------------------- */

static void finds_each_write_once_in(unsigned flags, size_t page_size, size_t pages)
{
    struct stand *stand = set_up_pages(flags, page_size, pages);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 2));
    write_page(stand, 3); /* touched for the first time */
    CU_ASSERT_TRUE(COLLECTS(stand, 3));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void finds_each_write_once(void)
{
    finds_each_write_once_in(FERRY_ANON, 0, PAGES);
}

static void finds_writes_to_a_file(void)
{
    finds_each_write_once_in(FERRY_SHARED, 0, PAGES);
}

/* A choice that can't be is refused in words. */
static void refuses_huge_pages(void)
{
    struct pf_regions *regions = calloc(1, sizeof *regions);
    struct pf_region *region;
    struct pf_tracker *tracker;
    struct pf_why why = {""};
    struct pf_tracker_attr attr = {.regions = regions, .choice = kind};
    CU_ASSERT_EQUAL(pf_regions_map(regions, "huge", FERRY_PAGE_2M, FERRY_PAGE_2M, 0, &region, &why),
                    0);
    CU_ASSERT_EQUAL(pf_tracker_open(&tracker, &attr, &why), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"huge\" has pages of 2 MiB"));
    attr.choice = PF_TRACK_AUTO;
    CU_ASSERT_EQUAL(pf_tracker_open(&tracker, &attr, &why), 0);
    CU_ASSERT_STRING_NOT_EQUAL(pf_tracker_name(tracker), "soft-dirty");
    pf_tracker_close(tracker);
    pf_regions_unmap(regions);
    free(regions);
}

static void finds_writes_to_huge_pages(void)
{
    if (!huge_2m(4)) {
        printf("skipped: too few huge pages ");
        return;
    }
    if (kind == PF_TRACK_SOFT_DIRTY) {
        refuses_huge_pages();
        return;
    }
    finds_each_write_once_in(FERRY_ANON, FERRY_PAGE_2M, 4);
    finds_each_write_once_in(FERRY_SHARED, FERRY_PAGE_2M, 4);
}

static void finds_writes_to_pages_of_1_gib(void)
{
    if (kind == PF_TRACK_SOFT_DIRTY || huge_free(1 << 20) < 4) {
        printf("skipped: no huge pages of 1 GiB ");
        return;
    }
    finds_each_write_once_in(FERRY_ANON, FERRY_PAGE_1G, 4);
}

/* A range is collected without touching what is known of the others. */
static void ranges_are_apart(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    for (size_t page = 0; page < 8; page++)
        write_page(stand, page);
    CU_ASSERT_EQUAL(
        pf_tracker_collect(stand->tracker, 0, (struct pf_run){2, 3}, &stand->dirty, NULL), 0);
    CU_ASSERT_EQUAL(pf_pageset_count(&stand->dirty), 3);
    write_page(stand, 3);
    CU_ASSERT_TRUE(COLLECTS(stand, 0, 1, 3, 5, 6, 7));
    take_down(stand);
}

static size_t page_tables_kib(void)
{
    char line[128];
    size_t kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "VmPTE: %zu kB", &kib);
    if (status)
        fclose(status);
    return kib;
}

/* Memory that isn't used is not dirty, and costs no page tables. */
static void sparse_regions_cost_nothing(void)
{
    enum { MANY = 1 << 18 }; /* 1 GiB */
    const unsigned flags[] = {FERRY_ANON, FERRY_SHARED};
    for (unsigned i = 0; i < 2; i++) {
        struct stand *stand = set_up_pages(flags[i], 0, MANY);
        size_t before = page_tables_kib();
        write_page(stand, MANY / 2);
        CU_ASSERT_TRUE(COLLECTS(stand, MANY / 2));
        CU_ASSERT_TRUE(COLLECTS(stand));
        CU_ASSERT(page_tables_kib() < before + 256);
        take_down(stand);
    }
}

/* Reading makes no page dirty. */
static void reading_is_not_writing(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    char seen = *(volatile char *)(stand->base + PAGE);
    CU_ASSERT_EQUAL(seen, 1);
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/* ---- huge pages that nobody asked for -------------------------------------------------------- */

static bool advised(const struct stand *stand)
{
    bool may[PF_REGIONS_MAX] = {false};
    pf_thp_note(&stand->regions, may);
    return may[0];
}

static void transparent_huge_pages_are_base_pages(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    enum { HUGE = 1 << 21, MANY = 2 * HUGE >> PF_PAGE_SHIFT };
    char *memory =
        mmap(NULL, 3 * (size_t)HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stand->base = memory + (-(uintptr_t)memory & (HUGE - 1));
    stand->page = PAGE;
    madvise(stand->base, 2 * (size_t)HUGE, MADV_HUGEPAGE);
    memset(stand->base, 1, 2 * (size_t)HUGE);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_add(&stand->regions, "thp", stand->base, 2 * (size_t)HUGE, PF_PAGE_SHIFT, NULL),
        0);
    stand->region = &stand->regions.list[0];
    bool before = advised(stand);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->dirty, MANY), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->marked, MANY), 0);
    begin(stand);
    CU_ASSERT_FALSE(advised(stand));
    collect(stand);
    CU_ASSERT_EQUAL(pf_pageset_count(&stand->dirty), MANY);
    write_page(stand, 7);
    write_page(stand, 600);
    CU_ASSERT_TRUE(COLLECTS(stand, 7, 600));
    CU_ASSERT_TRUE(COLLECTS(stand));
    pf_tracker_close(stand->tracker);
    stand->tracker = NULL;
    CU_ASSERT_EQUAL(advised(stand), before);
    take_down(stand);
    munmap(memory, 3 * (size_t)HUGE);
}

/* ---- memory that the job gives back ---------------------------------------------------------- */

static void what_is_given_back_is_dirty_in(unsigned flags, int advice)
{
    struct stand *stand = set_up(flags);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, advice), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(stand->replaced.first, 1);
    CU_ASSERT_EQUAL(stand->replaced.pages, 1);
    CU_ASSERT_EQUAL(stand->base[PAGE], 0);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    take_down(stand);
}

static void what_is_given_back_is_dirty(void)
{
    what_is_given_back_is_dirty_in(FERRY_ANON, MADV_DONTNEED);
    what_is_given_back_is_dirty_in(FERRY_SHARED, MADV_REMOVE);
}

/* As a madvise() whose event was read long before, or the kernel when it is short of memory. */
static void vanish(struct stand *stand, size_t page)
{
    char *at = stand->base + page * PAGE;
    CU_ASSERT_EQUAL(pf_uffd_unregister(&stand->tracker->uffd, at, PAGE), 0);
    CU_ASSERT_EQUAL(madvise(at, PAGE, MADV_DONTNEED), 0);
    CU_ASSERT_EQUAL(pf_uffd_register_writes(&stand->tracker->uffd, at, PAGE), 0);
}

/* A page may go at any time after its event was read. */
static void what_goes_late_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/* And may be read before anybody looks: the kernel protects the new page as the old one was. */
static void what_goes_late_and_is_read_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 1);
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(
        fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), 0);
    CU_ASSERT_EQUAL(*(volatile char *)(stand->base + PAGE), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    take_down(stand);
}

/* A written page of a file that lost its mapping: when it was swapped out, say. */
static void what_is_not_mapped_any_more_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    write_page(stand, 1);
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(stand->base[PAGE], 2); /* as who sends it does */
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void what_was_never_mapped_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    CU_ASSERT_EQUAL(pwrite(stand->region->fd, "x", 1, 5 * PAGE), 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_EQUAL(stand->base[5 * PAGE], 'x');
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    take_down(stand);
}

static void a_punched_hole_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_EQUAL(
        fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE, PAGE),
        0);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void unmapping_is_an_error(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_why why = {""};
    write_page(stand, 1);
    collect(stand);
    munmap(stand->base + PAGE, PAGE);
    CU_ASSERT_EQUAL(
        pf_tracker_collect(stand->tracker, 0, (struct pf_run){4, 1}, &stand->dirty, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"region\" was unmapped"));
    CU_ASSERT_EQUAL(stand->replaced.first, 1);
    take_down(stand);
}

static void moving_is_an_error(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_why why = {""};
    void *moved = mremap(stand->base, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    CU_ASSERT_EQUAL(
        pf_tracker_collect(stand->tracker, 0, (struct pf_run){4, 1}, &stand->dirty, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"region\" was"));
    take_down(stand);
    munmap(moved, 2 * PAGE);
}

/* ---- others ---------------------------------------------------------------------------------- */

/* A forked child has plain memory; what its parent writes afterwards is found all the same. */
static void a_fork_is_not_tracked(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    int status;
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    pid_t child = fork();
    if (child == 0) {
        write_page(stand, 1);
        madvise(stand->base + 2 * PAGE, PAGE, MADV_DONTNEED);
        write_page(stand, 3);
        _exit(stand->base[PAGE] != 2 || stand->base[2 * PAGE] != 0);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 2));
    take_down(stand);
}

static void marks_are_taken_once(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    pf_pageset_add(&stand->marked, 9);
    CU_ASSERT_TRUE(COLLECTS(stand, 9));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/* What no tracker can see, and the mark that tells it. */
static void only_marks_tell_of_other_ways(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    char *second = pf_backing_map_again(stand->region);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    second[PAGE] = 7;
    CU_ASSERT_EQUAL(pwrite(stand->region->fd, "x", 1, 2 * PAGE), 1);
    CU_ASSERT_TRUE(COLLECTS(stand));
    CU_ASSERT_EQUAL(stand->base[PAGE], 7);
    CU_ASSERT_EQUAL(stand->base[2 * PAGE], 'x');
    pf_pageset_add_run(&stand->marked, (struct pf_run){1, 2});
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    munmap(second, stand->region->bytes);
    take_down(stand);
}

static void late_regions_are_left_alone(void)
{
    struct stand *stand = set_up(FERRY_SEND_LATE);
    struct pf_uffd other;
    bool zeropage;
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand));
    CU_ASSERT_EQUAL(pf_uffd_open(&other, 0, NULL), 0);
    CU_ASSERT_EQUAL(pf_uffd_register(&other, stand->base, stand->region->bytes, false, &zeropage),
                    0);
    pf_uffd_close(&other);
    take_down(stand);
}

/* ---- closing --------------------------------------------------------------------------------- */

static bool protected(uint64_t entry)
{
    return entry & PF_ENTRY_PROTECTED;
}

static bool free_for_another(struct stand *stand)
{
    struct pf_uffd other;
    bool zeropage;
    CU_ASSERT_EQUAL_FATAL(pf_uffd_open(&other, 0, NULL), 0);
    int error = pf_uffd_register(&other, stand->base, stand->region->bytes, false, &zeropage);
    pf_uffd_close(&other);
    return !error;
}

static void closing_leaves_no_trace_in(unsigned flags)
{
    struct stand *stand = set_up(flags);
    for (size_t page = 0; page < PAGES; page++)
        write_page(stand, page);
    collect(stand);
    CU_ASSERT_FALSE(free_for_another(stand));
    pf_tracker_close(stand->tracker);
    stand->tracker = NULL;
    for (size_t page = 0; page < PAGES; page++)
        write_page(stand, page);
    CU_ASSERT_EQUAL(stand->base[PAGE], 2);
    CU_ASSERT_TRUE(free_for_another(stand));
    int pagemap = pf_pagemap_open(NULL);
    pf_pageset_remove_run(&stand->dirty, (struct pf_run){0, PAGES});
    CU_ASSERT_EQUAL(pf_pagemap_read(pagemap, stand->region, (struct pf_run){0, PAGES}, protected,
                                    &stand->dirty),
                    0);
    CU_ASSERT_EQUAL(pf_pageset_count(&stand->dirty), 0);
    close(pagemap);
    take_down(stand);
}

static void closing_leaves_no_trace(void)
{
    closing_leaves_no_trace_in(FERRY_ANON);
    closing_leaves_no_trace_in(FERRY_SHARED);
}

/* It fails at the second region, and leaves the first as it was. */
static void failing_leaves_no_trace(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_region *second;
    struct pf_uffd other;
    bool zeropage;
    struct pf_why why = {""};
    struct pf_tracker_attr attr = {.regions = &stand->regions, .choice = kind};
    pf_tracker_close(stand->tracker);
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "other", PAGE, 0, 0, &second, &why), 0);
    CU_ASSERT_EQUAL(pf_uffd_open(&other, 0, NULL), 0);
    CU_ASSERT_EQUAL(pf_uffd_register(&other, second->addr, PAGE, false, &zeropage), 0);
    CU_ASSERT(pf_tracker_open(&stand->tracker, &attr, &why) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"other\" can't be tracked"));
    CU_ASSERT_TRUE(free_for_another(stand));
    pf_uffd_close(&other);
    stand->tracker = NULL;
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"finds_each_write_once", finds_each_write_once},
        {"finds_writes_to_a_file", finds_writes_to_a_file},
        {"finds_writes_to_huge_pages", finds_writes_to_huge_pages},
        {"finds_writes_to_pages_of_1_gib", finds_writes_to_pages_of_1_gib},
        {"ranges_are_apart", ranges_are_apart},
        {"sparse_regions_cost_nothing", sparse_regions_cost_nothing},
        {"reading_is_not_writing", reading_is_not_writing},
        {"transparent_huge_pages_are_base_pages", transparent_huge_pages_are_base_pages},
        {"what_is_given_back_is_dirty", what_is_given_back_is_dirty},
        {"what_goes_late_is_dirty", what_goes_late_is_dirty},
        {"what_goes_late_and_is_read_is_dirty", what_goes_late_and_is_read_is_dirty},
        {"what_is_not_mapped_any_more_is_found", what_is_not_mapped_any_more_is_found},
        {"what_was_never_mapped_is_found", what_was_never_mapped_is_found},
        {"a_punched_hole_is_found", a_punched_hole_is_found},
        {"unmapping_is_an_error", unmapping_is_an_error},
        {"moving_is_an_error", moving_is_an_error},
        {"a_fork_is_not_tracked", a_fork_is_not_tracked},
        {"marks_are_taken_once", marks_are_taken_once},
        {"only_marks_tell_of_other_ways", only_marks_tell_of_other_ways},
        {"late_regions_are_left_alone", late_regions_are_left_alone},
        {"closing_leaves_no_trace", closing_leaves_no_trace},
        {"failing_leaves_no_trace", failing_leaves_no_trace},
        {NULL, NULL},
    };
    static const char *const names[] = {"auto", "pagemap-scan", "soft-dirty", "write-protect"};
    int failed = 0;
    unsigned worked = 0;
    for (kind = PF_TRACK_AUTO + 1; kind <= PF_TRACK_WRITE_PROTECT; kind++) {
        struct pf_why why = {""};
        if (pf_tracker_probe(kind, &why)) {
            printf("skipped: %s\n", why.text);
            failed |= argc > 2 && strcmp(argv[2], names[kind]) == 0;
            continue;
        }
        worked++;
        failed |= pf_suite_run(names[kind], tests, argc > 1 ? argv[1] : NULL);
    }
    return worked ? failed : PF_TEST_SKIPPED;
}
