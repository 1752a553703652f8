/* SPDX-License-Identifier: BSD-2-Clause */
/* populated.h and source_memory.h, with an inproc device that is told that it needs pinning. */
#include "core/send/source_memory.h"

#include "core/backends.h"
#include "core/memory/populated.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)PF_PAGE_SIZE)
enum { CHUNK = PF_CHUNK_BYTES / PF_PAGE_SIZE, PAGES = 3 * CHUNK + 100 };

struct stand {
    struct pf_device *device;
    struct pf_regions *regions;
    struct pf_region *region;
    struct pf_source_rails rails;
    struct pf_source_memory memory;
};

static void set_up(struct stand *stand, bool pinning)
{
    struct pf_device_attr attr = {
        .uri = "inproc://memory", .node = PF_NODE_ANY, .transports = pf_backends};
    const struct pf_transport *transport = pf_transport_find(pf_backends, attr.uri);
    memset(stand, 0, sizeof *stand);
    CU_ASSERT_EQUAL_FATAL(pf_device_open(transport, &attr, &stand->device, NULL), 0);
    stand->device->caps.needs_pinning = pinning;
    stand->rails = (struct pf_source_rails){1, {stand->device}, {0}};
    stand->regions = calloc(1, sizeof *stand->regions);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(stand->regions, "r", (size_t)PAGES * PAGE, 0, 0, &stand->region, NULL), 0);
    madvise(stand->region->addr, stand->region->bytes, MADV_NOHUGEPAGE);
}

static void take_down(struct stand *stand)
{
    pf_source_memory_close(&stand->memory);
    pf_regions_unmap(stand->regions);
    free(stand->regions);
    pf_device_close(stand->device);
}

static void touch(struct stand *stand, size_t first, size_t pages)
{
    for (size_t i = first; i < first + pages; i++)
        *pf_region_page(stand->region, i) = 1;
}

static bool has_exactly(struct pf_pageset *set, const size_t *pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pf_pageset_has(set, pages[i]))
            return false;
    return pf_pageset_count(set) == count;
}

static void finds_what_is_populated(void)
{
    static const size_t pages[] = {0, 1, 63, 64, 1000, CHUNK - 1, CHUNK, PAGES - 1};
    enum { COUNT = sizeof pages / sizeof pages[0] };
    struct stand stand;
    struct pf_pageset set;
    set_up(&stand, false);
    for (size_t i = 0; i < COUNT; i++)
        touch(&stand, pages[i], 1);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, PAGES), 0);
    CU_ASSERT_EQUAL(pf_populated_scan(stand.region, &set, NULL), 0);
    CU_ASSERT_TRUE(has_exactly(&set, pages, COUNT));
    pf_pageset_free(&set);
    take_down(&stand);
}

/* More separate ranges than one call of the kernel's returns. */
static void finds_every_other_page(void)
{
    struct stand stand;
    struct pf_pageset set;
    set_up(&stand, false);
    for (size_t i = 0; i < PAGES; i += 2)
        touch(&stand, i, 1);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, PAGES), 0);
    CU_ASSERT_EQUAL(pf_populated_scan(stand.region, &set, NULL), 0);
    CU_ASSERT_EQUAL(pf_pageset_count(&set), PAGES / 2);
    CU_ASSERT_FALSE(pf_pageset_has(&set, 1));
    CU_ASSERT_TRUE(pf_pageset_has(&set, PAGES - 2));
    pf_pageset_free(&set);
    take_down(&stand);
}

static bool has_pagemap_scan(void)
{
    struct utsname name;
    int major = 0;
    int minor = 0;
    return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 7));
}

/* A page that was only read is the kernel's zero page: nothing of the job's (Linux 6.7). */
static void pages_only_read_have_no_content(void)
{
    struct stand stand;
    struct pf_pageset set;
    char seen = 0;
    set_up(&stand, false);
    for (size_t i = 0; i < 100; i++)
        seen = (char)(seen | *(volatile char *)pf_region_page(stand.region, i));
    touch(&stand, 200, 1);
    CU_ASSERT_EQUAL(seen, 0);
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&set, PAGES), 0);
    CU_ASSERT_EQUAL(pf_populated_scan(stand.region, &set, NULL), 0);
    CU_ASSERT_TRUE(pf_pageset_has(&set, 200));
    CU_ASSERT(pf_pageset_count(&set) == 1 || !has_pagemap_scan());
    if (!has_pagemap_scan())
        printf("not shown: this kernel has no PAGEMAP_SCAN ... ");
    pf_pageset_free(&set);
    take_down(&stand);
}

static void registers_all_at_once_where_it_is_free(void)
{
    struct stand stand;
    size_t covered;
    set_up(&stand, false);
    touch(&stand, 5, 1);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(pf_source_memory_mr(&stand.memory.regions[0], 0, 7, &covered));
    CU_ASSERT_EQUAL(covered, PAGES - 7);
    CU_ASSERT_EQUAL(pf_source_memory_unsent(&stand.memory), PAGE);
    take_down(&stand);
}

/* Chunk by chunk, the runs that are populated there; never a page that isn't. */
static void pins_only_what_is_used(void)
{
    struct stand stand;
    size_t covered;
    set_up(&stand, true);
    touch(&stand, 10, 50);
    touch(&stand, 70, 5);          /* too short to be worth a registration */
    touch(&stand, 500, 30);        /* another */
    touch(&stand, CHUNK - 20, 40); /* across the border of two chunks */
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    struct pf_source_region *source = &stand.memory.regions[0];
    CU_ASSERT_EQUAL(pf_source_memory_unsent(&stand.memory), 125 * PAGE);
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(source, 0, 10, &covered)); /* not yet */
    CU_ASSERT_EQUAL(covered, CHUNK - 10);
    pf_source_memory_prepare(&stand.memory, 0, 0, 10);
    const struct pf_mr *mr = pf_source_memory_mr(source, 0, 10, &covered);
    CU_ASSERT_EQUAL(covered, 50);
    if (!mr)
        CU_FAIL_FATAL("the first run has no registration");
    CU_ASSERT_EQUAL(mr->len, 50 * PAGE);
    CU_ASSERT_PTR_EQUAL(mr->addr, pf_region_page(stand.region, 10));
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(source, 0, 9, &covered));
    CU_ASSERT_EQUAL(covered, 1);
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(source, 0, 60, &covered));
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(source, 0, 70, &covered));
    CU_ASSERT_EQUAL(covered, 430);
    CU_ASSERT_PTR_NOT_NULL(pf_source_memory_mr(source, 0, 502, &covered));
    CU_ASSERT_EQUAL(covered, 28);
    CU_ASSERT_PTR_NOT_NULL(pf_source_memory_mr(source, 0, CHUNK - 20, &covered));
    CU_ASSERT_EQUAL(covered, 20); /* ends with the chunk */
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(source, 0, CHUNK, &covered));
    pf_source_memory_prepare(&stand.memory, 0, 0, CHUNK + 1);
    CU_ASSERT_PTR_NOT_NULL(pf_source_memory_mr(source, 0, CHUNK, &covered));
    CU_ASSERT_EQUAL(covered, 20);
    take_down(&stand);
}

/* The worst case of scattered pages still fits the table of a chunk. */
static void scattered_pages_fit(void)
{
    struct stand stand;
    size_t covered;
    size_t missing = 0;
    set_up(&stand, true);
    for (size_t i = 0; i < CHUNK; i += 17)
        touch(&stand, i, 16);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    pf_source_memory_prepare(&stand.memory, 0, 0, 0);
    for (size_t i = 0; i < CHUNK; i += 17)
        missing += !pf_source_memory_mr(&stand.memory.regions[0], 0, i, &covered) || covered != 16;
    CU_ASSERT_EQUAL(missing, 0);
    take_down(&stand);
}

static int refuse(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **mr, struct pf_why *why)
{
    (void)device, (void)addr, (void)len, (void)access, (void)mr;
    return pf_why(why, -ENOMEM, "no room for pins");
}

/* What can't be registered goes through bounce buffers, and is not tried for every page. */
static void refused_registration_is_remembered(void)
{
    struct stand stand;
    size_t covered;
    set_up(&stand, true);
    struct pf_transport refusing = *stand.device->transport;
    const struct pf_transport *real = stand.device->transport;
    refusing.mr_reg = refuse;
    touch(&stand, 0, 32);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    stand.device->transport = &refusing;
    pf_source_memory_prepare(&stand.memory, 0, 0, 0);
    stand.device->transport = real;
    pf_source_memory_prepare(&stand.memory, 0, 0, 0);
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(&stand.memory.regions[0], 0, 0, &covered));
    CU_ASSERT_EQUAL(covered, CHUNK);
    take_down(&stand);
}

static struct pf_mr *registered(struct stand *stand, size_t page)
{
    size_t covered;
    pf_source_memory_prepare(&stand->memory, 0, 0, page);
    return pf_source_memory_mr(&stand->memory.regions[0], 0, page, &covered);
}

/* The old ones stay as long as somebody may be sending, and then go at once. */
static void renewed_pages_are_registered_again(void)
{
    struct stand stand;
    size_t covered;
    set_up(&stand, true);
    touch(&stand, 0, 32);
    touch(&stand, CHUNK, 32);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    const struct pf_mr *first = registered(&stand, 0), *other = registered(&stand, CHUNK);
    pf_source_memory_renew(&stand.memory, 0, (struct pf_run){3, 1});
    CU_ASSERT_PTR_NULL(pf_source_memory_mr(&stand.memory.regions[0], 0, 0, &covered));
    const struct pf_mr *again = registered(&stand, 0);
    CU_ASSERT(again && again != first);
    CU_ASSERT_PTR_EQUAL(registered(&stand, CHUNK), other);
    CU_ASSERT_PTR_NOT_NULL(atomic_load(&stand.memory.retired));
    pf_source_memory_drop(&stand.memory);
    CU_ASSERT_PTR_NULL(atomic_load(&stand.memory.retired));
    CU_ASSERT_PTR_EQUAL(registered(&stand, 0), again);
    take_down(&stand);
}

/* Nobody knows when pages that are being given back will be others. */
static void distrusted_pages_are_registered_no_more(void)
{
    struct stand stand;
    set_up(&stand, true);
    touch(&stand, 0, 32);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand.memory, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(registered(&stand, 0));
    pf_source_memory_distrust(&stand.memory, 0, (struct pf_run){31, 1});
    pf_source_memory_renew(&stand.memory, 0, (struct pf_run){31, 1});
    pf_source_memory_drop(&stand.memory);
    CU_ASSERT_PTR_NULL(registered(&stand, 0));
    take_down(&stand);
}

/* As an ordinary user with a limit of 64 KiB. */
static int open_with_a_low_limit(void)
{
    struct stand stand;
    struct pf_why why = {""};
    struct rlimit limit = {65536, 65536};
    set_up(&stand, true);
    touch(&stand, 0, 100);
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || (geteuid() == 0 && setuid(65534)))
        return 77;
    prctl(PR_SET_DUMPABLE, 1); /* as one who logged in that way: /proc/self is his own */
    int error = pf_source_memory_open(&stand.memory, &stand.rails, stand.regions, &why);
    if (!error)
        error = pf_source_memory_scan(&stand.memory, &why);
    return error == -ENOMEM && strstr(why.text, "RLIMIT_MEMLOCK is 0.1 MiB, 0.4 MiB needed") &&
                   strstr(why.text, "ulimit -l")
               ? 0
               : 1;
}

static void low_memlock_limit_is_told(void)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(open_with_a_low_limit());
    waitpid(child, &status, 0);
    CU_ASSERT_TRUE_FATAL(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("skipped: cannot become an ordinary user ... ");
    else
        CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"finds_what_is_populated", finds_what_is_populated},
        {"finds_every_other_page", finds_every_other_page},
        {"pages_only_read_have_no_content", pages_only_read_have_no_content},
        {"registers_all_at_once_where_it_is_free", registers_all_at_once_where_it_is_free},
        {"pins_only_what_is_used", pins_only_what_is_used},
        {"scattered_pages_fit", scattered_pages_fit},
        {"refused_registration_is_remembered", refused_registration_is_remembered},
        {"renewed_pages_are_registered_again", renewed_pages_are_registered_again},
        {"distrusted_pages_are_registered_no_more", distrusted_pages_are_registered_no_more},
        {"low_memlock_limit_is_told", low_memlock_limit_is_told},
        {NULL, NULL},
    };
    return pf_suite_run("source_memory", tests, argc > 1 ? argv[1] : NULL);
}
