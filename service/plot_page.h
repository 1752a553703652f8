/* SPDX-License-Identifier: BSD-2-Clause */
/* A page of panels as gnuplot's commands, one below the other, and what all panels share. */
#ifndef PF_SERVICE_PLOT_PAGE_H
#define PF_SERVICE_PLOT_PAGE_H

#include "service/plot.h"

#include <stddef.h>
#include <stdio.h>

/* In pixels. */
enum {
    PF_PAGE_WIDTH = 960,
    PF_PAGE_HEAD = 76,
    PF_PAGE_LEFT = 84,
    PF_PAGE_RIGHT = 40,
    PF_PAGE_TITLE = 44, /* above a panel */
    PF_PAGE_AXIS = 64,  /* below it */
};

#define PF_BLUE       "#3b6fb6"
#define PF_PALE_BLUE  "#dbe6f4"
#define PF_ORANGE     "#c8642b"
#define PF_DARK       "#333333"
#define PF_GREY       "#777777"
#define PF_TICKS      "set tics nomirror scale 0 textcolor rgb '" PF_DARK "'\n"
#define PF_GRID_LINES "set grid x y linetype 1 linewidth 1 linecolor rgb '#e2e2e2'\n"

struct pf_page {
    const struct pf_plot *plot;
    FILE *out;
    int height, used; /* of the page; from its upper edge */
};

/* What a panel of that height takes. */
static inline int pf_page_room(int height)
{
    return PF_PAGE_TITLE + height + PF_PAGE_AXIS;
}

/* Terminal, title and description of the whole; the height is set. */
void pf_page_begin(struct pf_page *page);

/* Room for a panel below the last one, and its title. */
void pf_page_begin_panel(struct pf_page *page, int height, int left, int right, const char *title);

/* Nothing of a panel may show in the next one. */
void pf_page_end_panel(const struct pf_page *page);

/* For panels over time: how far to the right it goes, in seconds; and the axis with its name. */
double pf_page_seconds(const struct pf_page *page);
void pf_page_time_axis(const struct pf_page *page);

/* "17.4 us", "1.63 ms", "2.1 s": three digits at most. */
void pf_page_show_time(double us, char *out, size_t size);

/* 12345678 as "12,345,678". */
void pf_page_show_count(double count, char *out, size_t size);

/* Panels of the rounds of pre-copy: how much room they take, and they themselves; 0 without any. */
int pf_plot_rounds_height(const struct pf_plot *plot);
void pf_plot_rounds(struct pf_page *page);

#endif
