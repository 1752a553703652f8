/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Placing pages, and the gate between the placers and the reading of events. A pair of sessions
 * over inproc gives the fault thread a lane to poll; nobody answers there.
 */
#include "core/arrival/arrival.h"

#include "core/arrival/faults.h"
#include "core/backends.h"
#include "core/memory/thp.h"
#include "tests/suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 64 };
#define PAGE ((size_t)PF_PAGE_SIZE)

struct stand {
    struct pf_regions regions;
    struct pf_region *region;
    struct pf_counters counters;
    struct pf_options options;
    struct pf_session session;
    struct pf_arrival arrival;
    struct pf_fault_thread faults;
    int done_fd;
};

/* A region whose pages are all to come, armed; the fault thread serves. */
static struct stand *set_up(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_why why = {""};
    pf_options_init(&stand->options);
    stand->session = (struct pf_session){
        .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
    stand->done_fd = eventfd(0, EFD_NONBLOCK);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&stand->regions, "region", PAGES * PAGE, 0, 0, &stand->region, &why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->session, "inproc://arrival", true), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, stand->done_fd, &why),
        0);
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_open(&stand->faults, &stand->session, &stand->arrival),
                          0);
    return stand;
}

static void arm(struct stand *stand)
{
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_start(&stand->faults), 0);
    CU_ASSERT_EQUAL_FATAL(pf_arrival_arm(&stand->arrival, NULL), 0);
}

static void take_down(struct stand *stand)
{
    pf_arrival_disarm(&stand->arrival);
    pf_worker_stop(&stand->faults.worker);
    pf_session_hang_up(&stand->session);
    pf_fault_thread_close(&stand->faults);
    pf_session_close(&stand->session);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    close(stand->done_fd);
    free(stand);
}

static char *data(char value)
{
    char *bytes = malloc(PAGES * PAGE);
    memset(bytes, value, PAGES * PAGE);
    return bytes;
}

static void expects_only_what_is_there(void)
{
    struct stand *stand = set_up();
    struct pf_arrival *arrival = &stand->arrival;
    CU_ASSERT_FALSE(pf_arrival_expect(arrival, 1, (struct pf_run){0, 1}));
    CU_ASSERT_FALSE(pf_arrival_expect(arrival, 0, (struct pf_run){PAGES, 1}));
    CU_ASSERT_FALSE(pf_arrival_expect(arrival, 0, (struct pf_run){0, PAGES + 1}));
    CU_ASSERT_FALSE(pf_arrival_expect(arrival, 0, (struct pf_run){1, SIZE_MAX}));
    CU_ASSERT_FALSE(pf_arrival_expect(arrival, 0, (struct pf_run){SIZE_MAX, 2}));
    CU_ASSERT_EQUAL(atomic_load(&arrival->missing_bytes), 0);
    CU_ASSERT_TRUE(pf_arrival_expect(arrival, 0, (struct pf_run){PAGES - 2, 2}));
    CU_ASSERT_TRUE(pf_arrival_expect(arrival, 0, (struct pf_run){PAGES - 3, 2})); /* overlaps */
    CU_ASSERT_EQUAL(atomic_load(&arrival->missing_bytes), 3 * PF_PAGE_SIZE);
    take_down(stand);
}

static void places_skips_and_counts(void)
{
    struct stand *stand = set_up();
    struct pf_arrival *arrival = &stand->arrival;
    char *old = data('o');
    char *new = data('n');
    uint64_t events;
    pf_arrival_expect(arrival, 0, (struct pf_run){0, PAGES});
    memset(stand->region->addr, 's', PAGES * PAGE); /* gone when armed */
    arm(stand);
    struct pf_placing some = {.run = {10, 3}, .from = old};
    CU_ASSERT_EQUAL(pf_arrival_place(arrival, &some), 0);
    CU_ASSERT_EQUAL(some.run.pages, 0);
    CU_ASSERT_EQUAL(atomic_load(&arrival->missing_bytes), (PAGES - 3) * PF_PAGE_SIZE);
    CU_ASSERT(read(stand->done_fd, &events, sizeof events) < 0);
    struct pf_placing all = {.run = {0, PAGES}, .from = new};
    CU_ASSERT_EQUAL(pf_arrival_place_gated(arrival, &all), 0);
    for (size_t i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(stand->region->addr[i * PAGE], i >= 10 && i < 13 ? 'o' : 'n');
    CU_ASSERT_EQUAL(atomic_load(&arrival->missing_bytes), 0);
    CU_ASSERT_EQUAL(read(stand->done_fd, &events, sizeof events), sizeof events);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.received_bytes), PAGES * PAGE);
    take_down(stand);
    free(old);
    free(new);
}

/* Missing by the books, yet there: nobody's page is overwritten, and the run goes on behind it. */
static void page_that_exists_is_left_alone(void)
{
    struct stand *stand = set_up();
    char *from = data('n');
    size_t done;
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    arm(stand);
    CU_ASSERT_EQUAL(
        pf_uffd_zero(&stand->arrival.uffd, pf_region_page(stand->region, 5), PAGE, &done),
        PF_PLACED_ALL);
    struct pf_placing placing = {.run = {0, PAGES}, .from = from};
    CU_ASSERT_EQUAL(pf_arrival_place(&stand->arrival, &placing), 0);
    for (size_t i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(*pf_region_page(stand->region, i), i == 5 ? 0 : 'n');
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
    take_down(stand);
    free(from);
}

static void zeros_without_zeropage(void)
{
    struct stand *stand = set_up();
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    arm(stand);
    stand->arrival.list[0].zeropage = false; /* as on huge pages */
    struct pf_placing placing = {.run = {0, PAGES}, .from = NULL};
    CU_ASSERT_EQUAL(pf_arrival_place(&stand->arrival, &placing), 0);
    for (size_t i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(*pf_region_page(stand->region, i), 0);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
    take_down(stand);
}

static void memory_that_was_unmapped_is_settled(void)
{
    struct stand *stand = set_up();
    char *from = data('n');
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    arm(stand);
    munmap(pf_region_page(stand->region, 20), 8 * PAGE);
    struct pf_placing placing = {.run = {0, PAGES}, .from = from};
    CU_ASSERT_EQUAL(pf_arrival_place_gated(&stand->arrival, &placing), 0);
    CU_ASSERT_EQUAL(*pf_region_page(stand->region, 19), 'n');
    CU_ASSERT_EQUAL(*pf_region_page(stand->region, 28), 'n');
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
    take_down(stand);
    free(from);
}

/* The kernel keeps a region in two mappings when their attributes differ. */
static void region_of_two_mappings_arrives_whole(void)
{
    for (int zero = 0; zero < 2; zero++) {
        struct stand *stand = set_up();
        char *from = data('n');
        madvise(pf_region_page(stand->region, 21), (PAGES - 21) * PAGE, MADV_DONTDUMP);
        pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
        arm(stand);
        struct pf_placing placing = {.run = {0, PAGES}, .from = zero ? NULL : from};
        CU_ASSERT_EQUAL(pf_arrival_place_gated(&stand->arrival, &placing), 0);
        CU_ASSERT_EQUAL(pf_count_get(&stand->counters.received_bytes), PAGES * PAGE);
        for (size_t i = 0; i < PAGES; i++)
            CU_ASSERT_EQUAL(*pf_region_page(stand->region, i), zero ? 0 : 'n');
        take_down(stand);
        free(from);
    }
}

static void states_are_exchanged(void)
{
    struct stand *stand = set_up();
    CU_ASSERT_EQUAL(pf_arrival_set_state(&stand->arrival, PF_INCOMING_ADVISE), PF_INCOMING_NONE);
    CU_ASSERT_EQUAL(pf_arrival_set_state(&stand->arrival, PF_INCOMING_END), PF_INCOMING_ADVISE);
    take_down(stand);
}

/* ---- the gate
 * --------------------------------------------------------------------------------------- */

enum { PLACERS = 2, ROUNDS = 400 };

struct torture {
    struct stand *stand;
    char *stale;
    atomic_bool stop;
};

/* Again and again the same stale data for all pages, as late stages would bring it. */
static void *place_stale(void *arg)
{
    struct torture *torture = arg;
    while (!atomic_load(&torture->stop)) {
        struct pf_placing placing = {.run = {0, PAGES}, .from = torture->stale};
        if (pf_arrival_place_gated(&torture->stand->arrival, &placing))
            return (void *)1;
    }
    return NULL;
}

/* What the job does: gives pages back, and reads them at once and a little later. */
static size_t stale_bytes_after_giving_back(struct torture *torture)
{
    struct pf_region *region = torture->stand->region;
    size_t wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pf_arrival_expect(&torture->stand->arrival, 0, (struct pf_run){0, PAGES});
        if (round % 3)
            sched_yield();
        madvise(region->addr, region->bytes, MADV_DONTNEED);
        for (int twice = 0; twice < 2; twice++)
            for (size_t page = 0; page < PAGES; page++)
                wrong += *(volatile char *)pf_region_page(region, page) != 0;
        madvise(region->addr, region->bytes, MADV_DONTNEED);
    }
    return wrong;
}

static void given_back_pages_stay_zero(void)
{
    struct torture torture = {.stand = set_up(), .stale = data('s')};
    pthread_t placers[PLACERS];
    arm(torture.stand);
    for (int i = 0; i < PLACERS; i++)
        pthread_create(&placers[i], NULL, place_stale, &torture);
    CU_ASSERT_EQUAL(stale_bytes_after_giving_back(&torture), 0);
    atomic_store(&torture.stop, true);
    for (int i = 0; i < PLACERS; i++) {
        void *failed;
        pthread_join(placers[i], &failed);
        CU_ASSERT_PTR_NULL(failed);
    }
    CU_ASSERT_EQUAL(atomic_load(&torture.stand->faults.worker.status), 0);
    CU_ASSERT(pf_count_get(&torture.stand->counters.given_back_pages) >= (uint64_t)ROUNDS * PAGES);
    take_down(torture.stand);
    free(torture.stale);
}

struct gated {
    struct pf_gate gate;
    int inside, seen_inside; /* plain: the gate is what orders them */
    atomic_bool stop;
};

static void *pass_gate(void *arg)
{
    struct gated *gated = arg;
    while (!atomic_load(&gated->stop)) {
        pf_gate_enter(&gated->gate);
        gated->inside = 1;
        gated->inside = 0;
        pf_gate_leave(&gated->gate);
    }
    return NULL;
}

static void gate_keeps_apart(void)
{
    struct gated gated = {.inside = 0};
    pthread_t thread;
    pthread_create(&thread, NULL, pass_gate, &gated);
    for (int i = 0; i < 20000; i++) {
        pf_gate_close(&gated.gate);
        gated.seen_inside += *(volatile int *)&gated.inside;
        pf_gate_open(&gated.gate);
    }
    atomic_store(&gated.stop, true);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(gated.seen_inside, 0);
}

/* ---- huge pages for what comes by pre-copy --------------------------------------------------- */

static bool has_huge_pages(const struct stand *stand)
{
    bool may[PF_REGIONS_MAX] = {false}, never[PF_REGIONS_MAX] = {false};
    pf_thp_note(&stand->regions, may, never);
    return may[0];
}

/* From the beginning of pre-copy to the switch, if so many pages have content at the source. */
static bool prepared_with_huge_pages(struct stand *stand, size_t populated)
{
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(pf_arrival_probe(&stand->arrival, &why), 0);
    bool before = has_huge_pages(stand);
    stand->arrival.list[0].populated = populated * PAGE;
    CU_ASSERT_EQUAL_FATAL(pf_arrival_prepare(&stand->arrival, false, &why), 0);
    bool during = has_huge_pages(stand);
    memset(stand->region->addr, 1, PAGES * PAGE);
    CU_ASSERT_TRUE(pf_arrival_expect(&stand->arrival, 0, (struct pf_run){3, 2}));
    arm(stand);
    CU_ASSERT_FALSE(has_huge_pages(stand));
    CU_ASSERT_EQUAL(stand->region->addr[2 * PAGE], 1);
    pf_arrival_disarm(&stand->arrival);
    CU_ASSERT_EQUAL(has_huge_pages(stand), before);
    CU_ASSERT_EQUAL(stand->region->addr[3 * PAGE], 0);
    return during;
}

static void nearly_full_regions_get_huge_pages(void)
{
    static const struct {
        size_t populated;
        int advice;
        bool huge;
    } cases[] = {
        {PAGES, MADV_NORMAL, true},      {PAGES - 4, MADV_NORMAL, true},
        {PAGES - 5, MADV_NORMAL, false}, {0, MADV_NORMAL, false},
        {PAGES, MADV_NOHUGEPAGE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stand *stand = set_up();
        if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
            printf("skipped: a kernel without transparent huge pages ... ");
        else if (madvise(stand->region->addr, PAGES * PAGE, cases[i].advice) == 0)
            CU_ASSERT_EQUAL(prepared_with_huge_pages(stand, cases[i].populated), cases[i].huge);
        take_down(stand);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"expects_only_what_is_there", expects_only_what_is_there},
        {"places_skips_and_counts", places_skips_and_counts},
        {"page_that_exists_is_left_alone", page_that_exists_is_left_alone},
        {"zeros_without_zeropage", zeros_without_zeropage},
        {"memory_that_was_unmapped_is_settled", memory_that_was_unmapped_is_settled},
        {"region_of_two_mappings_arrives_whole", region_of_two_mappings_arrives_whole},
        {"states_are_exchanged", states_are_exchanged},
        {"given_back_pages_stay_zero", given_back_pages_stay_zero},
        {"gate_keeps_apart", gate_keeps_apart},
        {"nearly_full_regions_get_huge_pages", nearly_full_regions_get_huge_pages},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    return pf_suite_run("arrival", tests, argc > 1 ? argv[1] : NULL);
}
