/* SPDX-License-Identifier: BSD-2-Clause */
/* The panels of pre-copy: how fast the link and the job were in each round, and what was left. */
#include "service/human.h"
#include "service/plot_page.h"

#include <math.h>

enum { RATES_HEIGHT = 230, LEFT_HEIGHT = 210 };

int pf_plot_rounds_height(const struct pf_plot *plot)
{
    return plot->round_count ? pf_page_room(RATES_HEIGHT) + pf_page_room(LEFT_HEIGHT) : 0;
}

static const struct pf_plot_round *last_round(const struct pf_plot *plot)
{
    return &plot->rounds[plot->round_count - 1];
}

/* ---- rates ----------------------------------------------------------------------------------- */

/* A rate holds for its whole round: two points each. */
static void write_rates(const struct pf_page *page, double unit)
{
    fputs("$rates << EOD\n", page->out);
    for (unsigned i = 0; i < page->plot->round_count; i++) {
        const struct pf_plot_round *round = &page->plot->rounds[i];
        fprintf(page->out, "%.6f %.6g %.6g\n%.6f %.6g %.6g\n", round->from_s, round->link / unit,
                round->dirtied / unit, round->to_s, round->link / unit, round->dirtied / unit);
    }
    fputs("EOD\n", page->out);
}

static double fastest(const struct pf_plot *plot)
{
    double highest = 0;
    for (unsigned i = 0; i < plot->round_count; i++)
        highest = fmax(highest, fmax(plot->rounds[i].link, plot->rounds[i].dirtied));
    return highest;
}

/* In its line's colour, at the upper edge: beside the lines there may be no room. */
static void label_rate(const struct pf_page *page, const char *words, double rate,
                       const char *colour, unsigned row)
{
    char text[32];
    pf_human_rate((int64_t)rate, text, sizeof text);
    fprintf(page->out,
            "set label '%s, in the end %s' at graph 0.01, graph %.2f left front textcolor rgb "
            "'%s'\n",
            words, text, 0.95 - 0.1 * row, colour);
}

static void label_throttle(const struct pf_page *page)
{
    int most = 0;
    for (unsigned i = 0; i < page->plot->round_count; i++)
        if (page->plot->rounds[i].throttle > most)
            most = page->plot->rounds[i].throttle;
    if (most > 0)
        fprintf(page->out,
                "set label 'slowed down by up to %d %%' at graph 0.01, graph 0.75 left front "
                "textcolor rgb '" PF_GREY "'\n",
                most);
}

static void rates_panel(struct pf_page *page)
{
    const struct pf_plot_round *last = last_round(page->plot);
    double highest = fastest(page->plot);
    bool fast = highest >= 1e9;
    double unit = fast ? 1e9 : 1e6;
    char title[96];
    snprintf(title, sizeof title, "Pre-copy, round by round  (%u in all)", page->plot->round_count);
    pf_page_begin_panel(page, RATES_HEIGHT, PF_PAGE_LEFT, PF_PAGE_RIGHT, title);
    write_rates(page, unit);
    pf_page_time_axis(page);
    label_rate(page, "the link carries", last->link, PF_BLUE, 0);
    label_rate(page, "the job writes", last->dirtied, PF_ORANGE, 1);
    label_throttle(page);
    fprintf(page->out,
            "set yrange [0:%.6g]\n"
            "set ylabel '%s' textcolor rgb '" PF_GREY "'\n"
            "plot $rates using 1:2 with lines linewidth 2.5 linecolor rgb '" PF_BLUE "', "
            "$rates using 1:3 with lines linewidth 2.5 linecolor rgb '" PF_ORANGE "'\n",
            highest > 0 ? 1.5 * highest / unit : 1, fast ? "GB/s" : "MB/s");
    pf_page_end_panel(page);
}

/* ---- what is left ---------------------------------------------------------------------------- */

static void write_point(const struct pf_page *page, double seconds, double bytes, double unit)
{
    fprintf(page->out, "%.6f %.6f\n", seconds, bytes / unit);
}

/* As the records of progress have it; from the rounds alone only their beginnings and ends. */
static void write_left(const struct pf_page *page, double unit)
{
    const struct pf_plot *plot = page->plot;
    fputs("$left << EOD\n", page->out);
    for (unsigned i = 0; i < plot->left_count && plot->left_count > 1; i++)
        write_point(page, plot->left[i].seconds, plot->left[i].bytes, unit);
    for (unsigned i = 0; i < plot->round_count && plot->left_count <= 1; i++) {
        write_point(page, plot->rounds[i].from_s, plot->rounds[i].dirty_bytes, unit);
        write_point(page, plot->rounds[i].to_s, plot->rounds[i].left_bytes, unit);
    }
    fputs("EOD\n", page->out);
}

static double most_left(const struct pf_plot *plot)
{
    double most = 0;
    for (unsigned i = 0; i < plot->left_count; i++)
        most = fmax(most, plot->left[i].bytes);
    for (unsigned i = 0; i < plot->round_count; i++)
        most = fmax(most, plot->rounds[i].dirty_bytes);
    return most;
}

static void left_panel(struct pf_page *page)
{
    double most = most_left(page->plot);
    bool large = most >= 4.0 * (1 << 30);
    double unit = large ? 1 << 30 : 1 << 20;
    pf_page_begin_panel(page, LEFT_HEIGHT, PF_PAGE_LEFT, PF_PAGE_RIGHT,
                        "Memory left to send, and to send again");
    write_left(page, unit);
    pf_page_time_axis(page);
    fprintf(page->out,
            "set yrange [0:%.6f]\n"
            "set ylabel '%s' textcolor rgb '" PF_GREY "'\n"
            "plot $left using 1:2 with filledcurves x1 linecolor rgb '" PF_PALE_BLUE "', "
            "$left using 1:2 with lines linewidth 2.5 linecolor rgb '" PF_BLUE "'\n",
            most > 0 ? 1.15 * most / unit : 1, large ? "GiB" : "MiB");
    pf_page_end_panel(page);
}

void pf_plot_rounds(struct pf_page *page)
{
    if (page->plot->round_count == 0)
        return;
    rates_panel(page);
    left_panel(page);
}
