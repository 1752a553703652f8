/* SPDX-License-Identifier: BSD-2-Clause */
/* Pull mode's tables: what the source registers (source_keys.h), what the destination makes of it
 * (fetch.h). */
#include "core/arrival/fetch.h"
#include "core/send/source_keys.h"

#include "core/backends.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)PF_PAGE_SIZE)
enum { PAGES = 1 << 18, GAP = 16, ENOUGH = 4096 }; /* 1 GiB, little of it touched */

/* ---- at the source --------------------------------------------------------------------------- */

struct stand {
    struct pf_device *device;
    struct pf_regions *regions;
    struct pf_region *region;
    struct pf_source_memory memory;
    struct pf_source_keys keys;
};

static void set_up(struct stand *stand, bool pinning)
{
    struct pf_device_attr attr = {
        .uri = "inproc://fetch", .node = PF_NODE_ANY, .transports = pf_backends};
    memset(stand, 0, sizeof *stand);
    CU_ASSERT_EQUAL_FATAL(
        pf_device_open(pf_transport_find(pf_backends, attr.uri), &attr, &stand->device, NULL), 0);
    stand->device->caps.needs_pinning = pinning;
    stand->regions = calloc(1, sizeof *stand->regions);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(stand->regions, "r", PAGES * PAGE, 0, 0, &stand->region, NULL), 0);
    madvise(stand->region->addr, stand->region->bytes, MADV_NOHUGEPAGE);
}

static void take_down(struct stand *stand)
{
    pf_source_keys_close(&stand->keys);
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

static void plan(struct stand *stand)
{
    struct pf_source_rails rails = {1, {stand->device}, {0}};
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand->memory, &rails, stand->regions, &why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand->memory, &why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_source_keys_plan(&stand->keys, &stand->memory, &why), 0);
}

static bool is(const struct pf_keyed *keyed, size_t first, size_t pages)
{
    return keyed->first == first && keyed->pages == pages;
}

static void one_registration_where_it_costs_nothing(void)
{
    struct stand stand;
    set_up(&stand, false);
    touch(&stand, 100, 1);
    plan(&stand);
    CU_ASSERT_EQUAL(stand.keys.count, 1);
    CU_ASSERT_TRUE(is(&stand.keys.list[0], 0, PAGES));
    take_down(&stand);
}

static void nothing_unsent_needs_no_key(void)
{
    for (int pinning = 0; pinning < 2; pinning++) {
        struct stand stand;
        set_up(&stand, pinning);
        plan(&stand);
        CU_ASSERT_EQUAL(stand.keys.count, 0);
        take_down(&stand);
    }
}

static void runs_are_joined_over_small_gaps(void)
{
    struct stand stand;
    set_up(&stand, true);
    touch(&stand, 10, 2);
    touch(&stand, 12 + GAP, 3);
    touch(&stand, 15 + 2 * GAP + 1, 1); /* the gap is a page too long */
    plan(&stand);
    CU_ASSERT_EQUAL_FATAL(stand.keys.count, 2);
    CU_ASSERT_TRUE(is(&stand.keys.list[0], 10, 5 + GAP));
    CU_ASSERT_TRUE(is(&stand.keys.list[1], 16 + 2 * GAP, 1));
    take_down(&stand);
}

/* A page in every 36 would take 7281 keys. */
static void larger_gaps_are_joined_before_there_are_thousands(void)
{
    struct stand stand;
    set_up(&stand, true);
    for (size_t page = 0; page < PAGES; page += 36)
        touch(&stand, page, 1);
    plan(&stand);
    CU_ASSERT_TRUE(stand.keys.count > 0 && stand.keys.count <= ENOUGH);
    take_down(&stand);
}

/* In a child: what it gives up does not come back. Its exit status: 0 well, 77 can't be tried. */
static int plan_with_a_low_limit(void)
{
    struct stand stand;
    struct pf_why why = {""};
    const struct rlimit low = {PAGE, PAGE};
    set_up(&stand, true);
    touch(&stand, 0, 8);
    struct pf_source_rails rails = {1, {stand.device}, {0}};
    if (pf_source_memory_open(&stand.memory, &rails, stand.regions, &why) ||
        pf_source_memory_scan(&stand.memory, &why))
        return 1;
    if (setrlimit(RLIMIT_MEMLOCK, &low) || (geteuid() == 0 && setuid(65534)))
        return 77;
    if (pf_source_keys_plan(&stand.keys, &stand.memory, &why) != -ENOMEM)
        return 2;
    return strstr(why.text, "RLIMIT_MEMLOCK is 0.0 MiB, 0.0 MiB needed") ? 0 : 3;
}

static void memlock_is_checked_before(void)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(plan_with_a_low_limit());
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE_FATAL(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("skipped: cannot become an ordinary user ... ");
    else
        CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

/* ---- at the destination ---------------------------------------------------------------------- */

enum { SMALL = 64 };

struct arrival_stand {
    struct pf_regions regions;
    struct pf_counters counters;
    struct pf_arrival arrival;
    struct pf_fetch fetch;
    int done_fd;
};

static struct arrival_stand *open_arrival(void)
{
    struct arrival_stand *stand = calloc(1, sizeof *stand);
    struct pf_region *region;
    stand->done_fd = eventfd(0, EFD_NONBLOCK);
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(&stand->regions, "r", SMALL * PAGE, 0, 0, &region, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, stand->done_fd, NULL),
        0);
    CU_ASSERT_EQUAL_FATAL(pf_fetch_open(&stand->fetch, &stand->arrival, NULL), 0);
    return stand;
}

static void close_arrival(struct arrival_stand *stand)
{
    pf_fetch_close(&stand->fetch);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    close(stand->done_fd);
    free(stand);
}

static int add(struct arrival_stand *stand, size_t first, size_t pages, uint64_t address)
{
    struct pf_remote_extent extent = {.first = first, .pages = pages, .address = address};
    return pf_fetch_add(&stand->fetch, 0, &extent, NULL);
}

static void a_page_is_found_in_its_extent(void)
{
    struct arrival_stand *stand = open_arrival();
    CU_ASSERT_EQUAL(add(stand, 2, 10, 0x100000), 0);
    CU_ASSERT_EQUAL(add(stand, 12, 1, 0x200000), 0);
    CU_ASSERT_EQUAL(add(stand, 20, 44, 0x300000), 0);
    static const struct {
        size_t page;
        uint64_t address;
        size_t pages;
    } places[] = {{2, 0x100000, 10},
                  {11, 0x109000, 1},
                  {12, 0x200000, 1},
                  {20, 0x300000, 44},
                  {63, 0x32b000, 1}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct pf_remote_place place = pf_fetch_place(&stand->fetch, 0, places[i].page);
        CU_ASSERT_EQUAL(place.address, places[i].address);
        CU_ASSERT_EQUAL(place.pages, places[i].pages);
    }
    close_arrival(stand);
}

static void missing_pages_must_be_covered(void)
{
    static const struct pf_run missing[] = {{0, 2}, {5, 1}, {63, 1}};
    static const struct {
        struct pf_run covered[3];
        int result;
    } cases[] = {
        {{{0, 2}, {5, 1}, {63, 1}}, 0},       {{{0, 64}}, 0},       {{{0, 6}, {60, 4}}, 0},
        {{{0, 2}, {5, 1}}, -EPROTO},          {{{1, 63}}, -EPROTO}, {{{0, 5}, {6, 58}}, -EPROTO},
        {{{0, 2}, {3, 1}, {63, 1}}, -EPROTO}, {{{0, 0}}, -EPROTO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arrival_stand *stand = open_arrival();
        for (size_t j = 0; j < 3; j++)
            pf_arrival_expect(&stand->arrival, 0, missing[j]);
        for (size_t j = 0; j < 3 && cases[i].covered[j].pages; j++)
            CU_ASSERT_EQUAL(add(stand, cases[i].covered[j].first, cases[i].covered[j].pages, PAGE),
                            0);
        CU_ASSERT_EQUAL(pf_fetch_ready(&stand->fetch, NULL), cases[i].result);
        close_arrival(stand);
    }
}

static void a_page_is_claimed_once(void)
{
    struct arrival_stand *stand = open_arrival();
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){7, 1});
    CU_ASSERT_EQUAL(add(stand, 0, SMALL, PAGE), 0);
    CU_ASSERT_EQUAL(pf_fetch_ready(&stand->fetch, NULL), 0);
    CU_ASSERT_TRUE(pf_fetch_claim(&stand->fetch, 0, 7));
    CU_ASSERT_FALSE(pf_fetch_claim(&stand->fetch, 0, 7));
    CU_ASSERT_FALSE(pf_fetch_claim(&stand->fetch, 0, 8));
    close_arrival(stand);
}

static void extents_are_limited(void)
{
    struct arrival_stand *stand = open_arrival();
    stand->fetch.extents = PF_KEYS_MAX;
    CU_ASSERT_EQUAL(add(stand, 0, 1, PAGE), -EPROTO);
    close_arrival(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"one_registration_where_it_costs_nothing", one_registration_where_it_costs_nothing},
        {"nothing_unsent_needs_no_key", nothing_unsent_needs_no_key},
        {"runs_are_joined_over_small_gaps", runs_are_joined_over_small_gaps},
        {"larger_gaps_are_joined_before_there_are_thousands",
         larger_gaps_are_joined_before_there_are_thousands},
        {"memlock_is_checked_before", memlock_is_checked_before},
        {"a_page_is_found_in_its_extent", a_page_is_found_in_its_extent},
        {"missing_pages_must_be_covered", missing_pages_must_be_covered},
        {"a_page_is_claimed_once", a_page_is_claimed_once},
        {"extents_are_limited", extents_are_limited},
        {NULL, NULL},
    };
    return pf_suite_run("fetch", tests, argc > 1 ? argv[1] : NULL);
}
