/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's trays: what is written into them here stands for the source's write. The fault
 * thread does not run; the test is in its place.
 */
#include "core/arrival/trays.h"

#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 64, WINDOW = 32 };
#define PAGE ((size_t)PF_PAGE_SIZE)

struct stand {
    struct pf_options options;
    struct pf_counters counters;
    struct pf_regions regions;
    struct pf_region *region;
    struct pf_session session;
    struct pf_arrival arrival;
    struct pf_trays trays;
    int done_fd;
};

static struct stand *set_up(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    pf_options_init(&stand->options);
    stand->options.prefetch_window = WINDOW * PAGE;
    stand->session = (struct pf_session){
        .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
    stand->done_fd = eventfd(0, EFD_NONBLOCK);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->session, "inproc://trays", true), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&stand->regions, "r", PAGES * PAGE, 0, 0, &stand->region, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, stand->done_fd, NULL),
        0);
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    CU_ASSERT_EQUAL_FATAL(pf_trays_open(&stand->trays, &stand->session, &stand->arrival), 0);
    CU_ASSERT_EQUAL_FATAL(pf_arrival_arm(&stand->arrival, NULL), 0);
    return stand;
}

static void take_down(struct stand *stand)
{
    pf_arrival_disarm(&stand->arrival);
    pf_trays_close(&stand->trays);
    pf_session_close(&stand->session);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    close(stand->done_fd);
    free(stand);
}

/* Runs and their data, each page full of its number + 1; returns the immediate. */
static uint32_t write_tray(struct stand *stand, unsigned index, const struct pf_stage_run *runs,
                           unsigned count)
{
    struct pf_tray *tray = &stand->trays.list[index];
    uint8_t *header = tray->memory + PF_STAGE_PAGES - pf_tray_header_bytes(count);
    uint8_t *data = tray->memory + PF_STAGE_PAGES;
    memset(header, 0, PF_TRAY_VERDICT_BYTES);
    for (unsigned i = 0; i < count; i++) {
        pf_stage_run_pack(&runs[i], header + PF_TRAY_VERDICT_BYTES + (size_t)i * PF_RUN_BYTES);
        for (size_t page = 0; !runs[i].zero && page < runs[i].pages; page++, data += PAGE)
            memset(data, (int)(runs[i].first + page + 1), PAGE);
    }
    return pf_tray_to_imm((struct pf_tray_imm){
        .tray = (uint8_t)index, .runs = (uint8_t)count, .generation = tray->generation});
}

static void place_all(struct stand *stand)
{
    int placed;
    while ((placed = pf_trays_advance(&stand->trays)) > 0)
        ;
    CU_ASSERT_EQUAL(placed, 0);
}

static size_t bytes_not(const struct stand *stand, size_t page, char value)
{
    const char *at = (const char *)stand->region->addr + page * PAGE;
    size_t wrong = 0;
    for (size_t i = 0; i < PAGE; i++)
        wrong += at[i] != value;
    return wrong;
}

static bool is_missing(struct stand *stand, size_t page)
{
    return pf_pageset_has(&stand->arrival.list[0].missing, page);
}

/* ---- placing --------------------------------------------------------------------------------- */

static void runs_are_placed_where_they_belong(void)
{
    static const struct pf_stage_run runs[] = {
        {.region = 0, .pages = 3, .first = 2},
        {.region = 0, .pages = 4, .first = 20, .zero = true},
        {.region = 0, .pages = 1, .first = 9},
    };
    struct stand *stand = set_up();
    pf_trays_granted(&stand->trays);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, write_tray(stand, 5, runs, 3)), 0);
    place_all(stand);
    for (size_t page = 0; page < PAGES; page++) {
        bool data = (page >= 2 && page < 5) || page == 9;
        bool zero = page >= 20 && page < 24;
        CU_ASSERT_EQUAL(is_missing(stand, page), !data && !zero);
        if (data || zero)
            CU_ASSERT_EQUAL(bytes_not(stand, page, zero ? 0 : (char)(page + 1)), 0);
    }
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.prefetched_pages), 8);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.normal_pages), 4);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.zero_pages), 4);
    take_down(stand);
}

/* A full tray takes several steps, so that faults have their turn in between. */
static void long_run_is_placed_step_by_step(void)
{
    static const struct pf_stage_run run = {.region = 0, .pages = WINDOW, .first = 4};
    struct stand *stand = set_up();
    pf_trays_granted(&stand->trays);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, write_tray(stand, 0, &run, 1)), 0);
    CU_ASSERT_EQUAL(pf_trays_advance(&stand->trays), 1);
    size_t left = atomic_load(&stand->arrival.missing_bytes) / PAGE;
    CU_ASSERT(left < PAGES && left > PAGES - WINDOW);
    CU_ASSERT_EQUAL(stand->trays.free_bits, 0);
    place_all(stand);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes) / PAGE, PAGES - WINDOW);
    for (size_t page = 4; page < 4 + WINDOW; page++)
        CU_ASSERT_EQUAL(bytes_not(stand, page, (char)(page + 1)), 0);
    take_down(stand);
}

/* What the job gave back while the tray was under way reads zeros, what came before stays. */
static void pages_settled_meanwhile_are_left_alone(void)
{
    static const struct pf_stage_run run = {.region = 0, .pages = WINDOW, .first = 0};
    struct stand *stand = set_up();
    struct pf_placing before = {.region = 0, .run = {10, 1}, .from = NULL};
    pf_trays_granted(&stand->trays);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, write_tray(stand, 0, &run, 1)), 0);
    CU_ASSERT_EQUAL(pf_arrival_place(&stand->arrival, &before), 0);
    pf_arrival_received(&stand->arrival, 0, (struct pf_run){12, 3});
    place_all(stand);
    pf_arrival_disarm(&stand->arrival);
    for (size_t page = 0; page < WINDOW; page++) {
        bool settled = page == 10 || (page >= 12 && page < 15);
        CU_ASSERT_EQUAL(bytes_not(stand, page, settled ? 0 : (char)(page + 1)), 0);
    }
    take_down(stand);
}

/* The source's count of what was useful comes with each tray. */
static void verdict_is_taken_over(void)
{
    static const struct pf_stage_run run = {.region = 0, .pages = 1, .first = 0};
    struct stand *stand = set_up();
    pf_trays_granted(&stand->trays);
    uint32_t imm = write_tray(stand, 0, &run, 1);
    struct pf_wire wire =
        pf_wire_over(stand->trays.list[0].memory + PF_STAGE_PAGES - pf_tray_header_bytes(1),
                     PF_TRAY_VERDICT_BYTES);
    pf_put_u64(&wire, 1234567890123);
    pf_put_u64(&wire, 77);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), 0);
    place_all(stand);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.prefetch_useful_pages), 1234567890123);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.prefetch_useless_pages), 77);
    take_down(stand);
}

/* ---- grants ---------------------------------------------------------------------------------- */

static void tray_is_granted_again_once_it_is_placed(void)
{
    struct stand *stand = set_up();
    CU_ASSERT_EQUAL(stand->trays.free_bits, (1u << PF_TRAYS) - 1);
    pf_trays_granted(&stand->trays);
    CU_ASSERT_EQUAL(stand->trays.free_bits, 0);
    for (uint16_t filling = 0; filling < 3; filling++) {
        struct pf_stage_run run = {.region = 0, .pages = 1, .first = filling};
        uint32_t imm = write_tray(stand, 3, &run, 1);
        CU_ASSERT_EQUAL(pf_tray_from_imm(imm).generation, filling);
        CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), 0);
        CU_ASSERT_EQUAL(stand->trays.free_bits, 0);
        place_all(stand);
        CU_ASSERT_EQUAL(stand->trays.free_bits, 1u << 3);
        /* Not granted yet; then granted, but a filling too late. */
        CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, write_tray(stand, 3, &run, 1)), -EPROTO);
        pf_trays_granted(&stand->trays);
        CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), -EPROTO);
    }
    take_down(stand);
}

static void tray_is_taken_once(void)
{
    static const struct pf_stage_run run = {.region = 0, .pages = 1, .first = 0};
    struct stand *stand = set_up();
    uint32_t imm = write_tray(stand, 0, &run, 1);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), -EPROTO);
    pf_trays_granted(&stand->trays);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), 0);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), -EPROTO);
    CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm + (1u << 12)), -EPROTO);
    take_down(stand);
}

static void runs_that_fit_nowhere_are_refused(void)
{
    static const struct pf_stage_run runs[] = {
        {.region = 1, .pages = 1, .first = 0},
        {.region = 0, .pages = 0, .first = 0},
        {.region = 0, .pages = 1, .first = PAGES},
        {.region = 0, .pages = 2, .first = UINT64_MAX},
        {.region = 0, .pages = PAGES + 1, .first = 0, .zero = true},
        {.region = 0, .pages = WINDOW + 1, .first = 0},
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct stand *stand = set_up();
        pf_trays_granted(&stand->trays);
        struct pf_stage_run harmless = {.region = 0, .pages = 1, .first = 0, .zero = true};
        uint32_t imm = write_tray(stand, 0, &harmless, 1);
        pf_stage_run_pack(&runs[i], stand->trays.list[0].memory + PF_STAGE_PAGES - PF_RUN_BYTES);
        CU_ASSERT_EQUAL(pf_trays_take(&stand->trays, imm), 0);
        CU_ASSERT_EQUAL(pf_trays_advance(&stand->trays), -EPROTO);
        CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes) / PAGE, PAGES);
        take_down(stand);
    }
}

static void nothing_is_granted_when_it_is_off(void)
{
    struct stand *stand = set_up();
    struct pf_trays trays;
    stand->options.prefetch = false;
    CU_ASSERT_EQUAL(pf_trays_open(&trays, &stand->session, &stand->arrival), 0);
    CU_ASSERT_EQUAL(trays.free_bits, 0);
    CU_ASSERT_EQUAL(trays.count, 0);
    CU_ASSERT_EQUAL(pf_trays_take(&trays, pf_tray_to_imm((struct pf_tray_imm){.runs = 1})),
                    -EPROTO);
    CU_ASSERT_EQUAL(pf_trays_advance(&trays), 0);
    pf_trays_close(&trays);
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"runs_are_placed_where_they_belong", runs_are_placed_where_they_belong},
        {"long_run_is_placed_step_by_step", long_run_is_placed_step_by_step},
        {"pages_settled_meanwhile_are_left_alone", pages_settled_meanwhile_are_left_alone},
        {"verdict_is_taken_over", verdict_is_taken_over},
        {"tray_is_granted_again_once_it_is_placed", tray_is_granted_again_once_it_is_placed},
        {"tray_is_taken_once", tray_is_taken_once},
        {"runs_that_fit_nowhere_are_refused", runs_that_fit_nowhere_are_refused},
        {"nothing_is_granted_when_it_is_off", nothing_is_granted_when_it_is_off},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    return pf_suite_run("trays", tests, argc > 1 ? argv[1] : NULL);
}
