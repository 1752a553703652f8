/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/walks.h"

#include "bench/jobs/kernels.h"
#include "bench/touch.h"

#include <stdlib.h>

enum {
    STRIDE = 16,          /* pages: a matrix with rows of 64 KiB, read column by column */
    UPDATES_PER_PAGE = 8, /* of gups: nearly every page is met, and none often */
};

static size_t all_pages(const struct pf_moved *moved)
{
    return moved->bytes / PF_TOUCH_PAGE;
}

static void nothing_to_undo(const struct pf_moved *moved)
{
    (void)moved;
}

static void read_page(const struct pf_moved *moved, size_t page)
{
    (void)*(const volatile uint64_t *)(moved->memory + page * PF_TOUCH_PAGE);
}

static void go_on(const struct pf_moved *moved)
{
    for (size_t page = 0; page < all_pages(moved); page++)
        read_page(moved, page);
}

static void stride_along(const struct pf_moved *moved)
{
    for (size_t first = 0; first < STRIDE; first++)
        for (size_t page = first; page < all_pages(moved); page += STRIDE)
            read_page(moved, page);
}

/* ---- heat: one time step from the first half of the region to the second --------------------- */

struct plate {
    size_t side; /* points */
    const double *from;
    double *to;
};

static struct plate plate_of(const struct pf_moved *moved)
{
    struct plate plate = {
        .from = (const double *)moved->memory,
        .to = (double *)(moved->memory + moved->bytes / 2),
    };
    while ((plate.side + 1) * (plate.side + 1) * sizeof(double) <= moved->bytes / 2)
        plate.side++;
    return plate;
}

static void relax(const struct pf_moved *moved)
{
    struct plate plate = plate_of(moved);
    for (size_t row = 1; row < plate.side - 1; row++)
        heat_relax_row(plate.from + row * plate.side, plate.to + row * plate.side, plate.side);
}

static void put_words_back(const struct pf_moved *moved)
{
    char *memory = (char *)(uintptr_t)moved->memory;
    for (size_t page = all_pages(moved) / 2; page < all_pages(moved); page++)
        *(uint64_t *)(void *)(memory + page * PF_TOUCH_PAGE) = pf_moved_word(moved->seed, page);
}

static size_t plate_pages(const struct pf_moved *moved)
{
    struct plate plate = plate_of(moved);
    size_t read = plate.side * plate.side;
    size_t written = (plate.side - 2) * plate.side;
    return (read + written) * sizeof(double) / PF_TOUCH_PAGE;
}

/* ---- gups ------------------------------------------------------------------------------------ */

static uint64_t table_mask(const struct pf_moved *moved)
{
    uint64_t words = 1;
    while (2 * words * sizeof(uint64_t) <= moved->bytes)
        words *= 2;
    return words - 1;
}

/* The same updates once more undo themselves. */
static void update(const struct pf_moved *moved)
{
    uint64_t *table = (uint64_t *)(uintptr_t)moved->memory;
    gups_update(table, table_mask(moved), 1, all_pages(moved) * UPDATES_PER_PAGE);
}

static size_t pages_met(const struct pf_moved *moved)
{
    uint64_t mask = table_mask(moved);
    size_t met = 0;
    uint64_t r = 1;
    char *seen = calloc(all_pages(moved), 1);
    for (size_t i = 0; seen && i < all_pages(moved) * UPDATES_PER_PAGE; i++) {
        r = gups_next(r);
        size_t page = (r & mask) * sizeof(uint64_t) / PF_TOUCH_PAGE;
        met += !seen[page];
        seen[page] = 1;
    }
    free(seen);
    return met ? met : all_pages(moved);
}

const struct pf_walk pf_walks[PF_WALKS] = {
    {"sequential", "sequential", false, go_on, nothing_to_undo, all_pages},
    {"strided", "strided", false, stride_along, nothing_to_undo, all_pages},
    {"heat", "heat", false, relax, put_words_back, plate_pages},
    {"gups", "gups", false, update, update, pages_met},
    {"heat_background", "heat, with background", true, relax, put_words_back, plate_pages},
};
