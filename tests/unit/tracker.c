/* SPDX-License-Identifier: BSD-2-Clause */
/* What every tracker has to keep: writes, huge pages, forks, and leaving no trace. */
#include "core/memory/thp.h"
#include "tests/huge.h"
#include "tests/unit/tracker_rig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* The kernel's scan treats them in a way of its own. */
static void finds_writes_to_pages_of_1_gib(void)
{
    if (kind == PF_TRACK_SOFT_DIRTY || huge_free(1 << 20) < 2) {
        printf("skipped: no huge pages of 1 GiB ");
        return;
    }
    struct stand *stand = set_up_pages(FERRY_ANON, FERRY_PAGE_1G, 2);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    take_down(stand);
}

/* ---- others who take from the set ------------------------------------------------------------ */

enum { TAKEN = 4096 }; /* pages of one piece */

/* Take the page at once, as who sends it does, and write to it. */
static void *take_and_write(void *ctx)
{
    struct stand *stand = ctx;
    while (!pf_pageset_remove(&stand->dirty, TAKEN - 1))
        sched_yield();
    write_page(stand, TAKEN - 1);
    return NULL;
}

/* Whoever takes a page from the set reads it, so what is written after that has to be found. */
static void what_is_said_is_watched_in(unsigned flags, bool marked)
{
    struct stand *stand = set_up_pages(flags, 0, TAKEN);
    pthread_t taker;
    for (size_t page = 0; page < TAKEN; page++)
        write_page(stand, page);
    if (marked)
        pf_pageset_add(&stand->marked, TAKEN - 1);
    CU_ASSERT_EQUAL(pthread_create(&taker, NULL, take_and_write, stand), 0);
    collect(stand);
    pthread_join(taker, NULL);
    CU_ASSERT_FALSE(pf_pageset_has(&stand->dirty, TAKEN - 1)); /* nor is it said twice */
    CU_ASSERT_TRUE(COLLECTS(stand, TAKEN - 1));
    take_down(stand);
}

static void what_is_said_is_watched(void)
{
    if (kind == PF_TRACK_SOFT_DIRTY)
        return; /* nobody writes meanwhile */
    for (unsigned i = 0; i < 4; i++) {
        what_is_said_is_watched_in(FERRY_ANON, i % 2);
        what_is_said_is_watched_in(FERRY_SHARED, i % 2);
    }
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
        /* A huge page that comes later is dirty as a whole, once. */
        madvise(stand->base, MANY * PAGE, MADV_NOHUGEPAGE);
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
    bool may[PF_REGIONS_MAX] = {false}, never[PF_REGIONS_MAX] = {false};
    pf_thp_note(&stand->regions, may, never);
    return may[0];
}

static void base_pages_are_no_huge_pages(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    /* A kernel with this tracker can tell. */
    if (kind == PF_TRACK_PAGEMAP_SCAN)
        CU_ASSERT_FALSE(pf_thp_present(&stand->regions));
    take_down(stand);
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
    bool before = advised(stand), present = pf_thp_present(&stand->regions);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->dirty, MANY), 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&stand->marked, MANY), 0);
    begin(stand);
    CU_ASSERT_FALSE(present && advised(stand));
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

static bool protected(uint64_t entry, const struct pf_entry_mark *mark)
{
    (void)mark;
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
                                    NULL, &stand->dirty),
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
        {"what_is_said_is_watched", what_is_said_is_watched},
        {"ranges_are_apart", ranges_are_apart},
        {"sparse_regions_cost_nothing", sparse_regions_cost_nothing},
        {"reading_is_not_writing", reading_is_not_writing},
        {"base_pages_are_no_huge_pages", base_pages_are_no_huge_pages},
        {"transparent_huge_pages_are_base_pages", transparent_huge_pages_are_base_pages},
        {"a_fork_is_not_tracked", a_fork_is_not_tracked},
        {"late_regions_are_left_alone", late_regions_are_left_alone},
        {"closing_leaves_no_trace", closing_leaves_no_trace},
        {"failing_leaves_no_trace", failing_leaves_no_trace},
        {NULL, NULL},
    };
    return rig_run(tests, argc, argv);
}
