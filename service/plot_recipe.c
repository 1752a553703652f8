/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The picture: panels below each other, each with a title in words, units on its axes, a light
 * grid, and labels at what they mean instead of a legend. Those of faults and of memory over time.
 */
#include "service/human.h"
#include "service/plot_page.h"

#include <math.h>
#include <string.h>

/* In pixels. */
enum {
    LABELS = 190,  /* left of the bars of threads */
    FIGURES = 270, /* right of them */
    LATENCY_HEIGHT = 270,
    ROW = 26,
    BYTES_HEIGHT = 210,
    ROWS_MAX = 24,
};

static unsigned shown_threads(const struct pf_plot *plot)
{
    return plot->thread_count < ROWS_MAX ? plot->thread_count : ROWS_MAX;
}

static int threads_height(const struct pf_plot *plot)
{
    return (int)shown_threads(plot) * ROW + ROW / 2;
}

/* With rounds, what is left says more: only what came after them is received there. */
static bool has_bytes(const struct pf_plot *plot)
{
    return plot->point_count > 1 && plot->round_count == 0;
}

/* ---- latency --------------------------------------------------------------------------------- */

static void write_buckets(const struct pf_page *page)
{
    const struct pf_plot *plot = page->plot;
    fputs("$latency << EOD\n", page->out);
    for (unsigned i = 0; i < plot->bucket_count; i++)
        fprintf(page->out, "%.3f %.3f %.4f\n", plot->buckets[i].from_us, plot->buckets[i].to_us,
                100 * plot->buckets[i].count / plot->waits);
    fputs("EOD\n", page->out);
}

static double highest_share(const struct pf_plot *plot)
{
    double highest = 0;
    for (unsigned i = 0; i < plot->bucket_count; i++)
        highest = fmax(highest, 100 * plot->buckets[i].count / plot->waits);
    return highest;
}

/* A line at a percentile, with its name and value beside it, each a step lower than the last. */
static void mark_percentile(const struct pf_page *page, const char *name, double us, unsigned step)
{
    char time[32];
    if (us <= 0)
        return;
    pf_page_show_time(us, time, sizeof time);
    fprintf(page->out,
            "set arrow from first %.3f, graph 0 to first %.3f, graph %.3f nohead front linewidth "
            "1.2 linecolor rgb '" PF_DARK "'\n"
            "set label '%s  %s' at first %.3f, graph %.3f left offset character 0.5,0 front "
            "textcolor rgb '" PF_DARK "'\n",
            us, us, 1 - 0.1 * step, name, time, us, 0.97 - 0.1 * step);
}

/* Ticks at 1, 2 and 5 of each decade, or at 1 where there are many, in the unit people would say.
 */
static void write_time_ticks(const struct pf_page *page, double from, double to)
{
    static const int steps[] = {1, 2, 5};
    unsigned dense = to / from < 5e3 ? 3 : 1;
    const char *comma = "";
    fputs("set xtics (", page->out);
    for (int decade = -1; decade < 9; decade++)
        for (unsigned i = 0; i < dense; i++) {
            double us = steps[i] * pow(10, decade);
            const char *unit = us < 1e3 ? "µs" : us < 1e6 ? "ms" : "s";
            double shown = us < 1e3 ? us : us < 1e6 ? us / 1e3 : us / 1e6;
            fprintf(page->out, "%s'%g %s' %g", comma, shown, unit, us);
            comma = ", ";
        }
    fputs(")\n", page->out);
}

static void latency_panel(struct pf_page *page)
{
    const struct pf_plot *plot = page->plot;
    char waits[48];
    char title[128];
    double from = plot->buckets[0].from_us / 1.6;
    double last = plot->buckets[plot->bucket_count - 1].to_us;
    double to = last * pow(last / from, 0.22); /* the label of the longest needs room */
    pf_page_show_count(plot->waits, waits, sizeof waits);
    snprintf(title, sizeof title, "How long a fault blocked its thread  (%s waits)", waits);
    pf_page_begin_panel(page, LATENCY_HEIGHT, PF_PAGE_LEFT, PF_PAGE_RIGHT, title);
    write_buckets(page);
    write_time_ticks(page, from, to);
    mark_percentile(page, "half within", plot->p50_us, 0);
    mark_percentile(page, "99 % within", plot->p99_us, 1);
    mark_percentile(page, "99.9 % within", plot->p999_us, 2);
    mark_percentile(page, "longest", plot->max_us, 3);
    fprintf(page->out,
            "set logscale x\nset xrange [%g:%g]\nset yrange [0:%g]\n"
            "set ylabel 'waits, %%' textcolor rgb '" PF_GREY "'\n"
            "set xlabel 'from reading the fault to placing its page' textcolor rgb '" PF_GREY "'\n"
            "plot $latency using (sqrt($1*$2)):($3/2):1:2:(0):3 with boxxyerror linecolor rgb "
            "'" PF_BLUE "'\n",
            from, to, 1.3 * highest_share(plot));
    pf_page_end_panel(page);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void write_threads(const struct pf_page *page, double unit)
{
    fputs("$threads << EOD\n", page->out);
    for (unsigned i = 0; i < shown_threads(page->plot); i++)
        fprintf(page->out, "%u %.6g\n", i, page->plot->threads[i].blocked_us / unit);
    fputs("EOD\n", page->out);
}

static void label_thread(const struct pf_page *page, unsigned row, double unit)
{
    const struct pf_plot_thread *thread = &page->plot->threads[row];
    char blocked[32];
    char longest[32];
    char faults[48];
    pf_page_show_time(thread->blocked_us, blocked, sizeof blocked);
    pf_page_show_time(thread->max_us, longest, sizeof longest);
    pf_page_show_count(thread->faults, faults, sizeof faults);
    fprintf(
        page->out,
        "set label '%s' at graph 0, first %u right offset character -1,0 textcolor rgb '" PF_DARK
        "'\n"
        "set label '%s, %s faults, longest %s' at first %.6g, first %u left offset character "
        "0.8,0 textcolor rgb '" PF_GREY "'\n",
        thread->label, row, blocked, faults, longest, thread->blocked_us / unit, row);
}

static void threads_title(const struct pf_plot *plot, char *out, size_t size)
{
    char all[64] = "";
    char time[32];
    if (plot->thread_count > 1 && plot->all_us > 0) {
        pf_page_show_time(plot->all_us, time, sizeof time);
        snprintf(all, sizeof all, "  (all at once for %s)", time);
    }
    if (shown_threads(plot) < plot->thread_count)
        snprintf(out, size, "The %u of %u threads that were blocked longest%s", shown_threads(plot),
                 plot->thread_count, all);
    else
        snprintf(out, size, "How long each thread was blocked%s", all);
}

static void threads_panel(struct pf_page *page)
{
    const struct pf_plot *plot = page->plot;
    unsigned rows = shown_threads(plot);
    double most = plot->threads[0].blocked_us;
    bool seconds = most >= 1e6;
    double unit = seconds ? 1e6 : 1e3;
    char title[128];
    threads_title(plot, title, sizeof title);
    pf_page_begin_panel(page, threads_height(plot), LABELS, FIGURES, title);
    write_threads(page, unit);
    for (unsigned i = 0; i < rows; i++)
        label_thread(page, i, unit);
    fprintf(page->out,
            "set yrange [%.2f:-0.75]\nset xrange [0:%.6g]\nunset ytics\nunset grid\n"
            "set xlabel 'blocked in all, %s' textcolor rgb '" PF_GREY "'\n"
            "plot $threads using ($2/2):1:(0):2:($1-0.32):($1+0.32) with boxxyerror linecolor rgb "
            "'" PF_BLUE "'\n",
            rows - 0.25, most > 0 ? most / unit : 1, seconds ? "s" : "ms");
    pf_page_end_panel(page);
}

/* ---- bytes over time ------------------------------------------------------------------------- */

static void bytes_panel(struct pf_page *page)
{
    const struct pf_plot *plot = page->plot;
    const struct pf_plot_point *last = &plot->points[plot->point_count - 1];
    bool large = last->bytes >= 4.0 * (1 << 30);
    double unit = large ? 1 << 30 : 1 << 20;
    char bytes[32];
    pf_page_begin_panel(page, BYTES_HEIGHT, PF_PAGE_LEFT, PF_PAGE_RIGHT,
                        "Memory at the destination");
    fputs("$bytes << EOD\n", page->out);
    for (unsigned i = 0; i < plot->point_count; i++)
        fprintf(page->out, "%.6f %.6f\n", plot->points[i].seconds, plot->points[i].bytes / unit);
    fputs("EOD\n", page->out);
    pf_page_time_axis(page);
    pf_human_bytes((int64_t)last->bytes, bytes, sizeof bytes);
    fprintf(page->out,
            "set label '%s' at first %.6f, first %.6f right offset character -0.6,0.6 front "
            "textcolor rgb '" PF_DARK "'\n"
            "set yrange [0:%.6f]\n"
            "set ylabel '%s' textcolor rgb '" PF_GREY "'\n"
            "plot $bytes using 1:2 with filledcurves x1 linecolor rgb '" PF_PALE_BLUE "', "
            "$bytes using 1:2 with lines linewidth 2.5 linecolor rgb '" PF_BLUE "'\n",
            bytes, last->seconds, last->bytes / unit,
            last->bytes > 0 ? 1.15 * last->bytes / unit : 1, large ? "GiB" : "MiB");
    pf_page_end_panel(page);
}

void pf_plot_recipe(const struct pf_plot *plot, FILE *out)
{
    struct pf_page page = {.plot = plot, .out = out};
    page.height = PF_PAGE_HEAD + (plot->bucket_count ? pf_page_room(LATENCY_HEIGHT) : 0) +
                  (plot->thread_count ? pf_page_room(threads_height(plot)) : 0) +
                  pf_plot_rounds_height(plot) + (has_bytes(plot) ? pf_page_room(BYTES_HEIGHT) : 0);
    pf_page_begin(&page);
    if (plot->bucket_count)
        latency_panel(&page);
    if (plot->thread_count)
        threads_panel(&page);
    pf_plot_rounds(&page);
    if (has_bytes(plot))
        bytes_panel(&page);
    fputs("unset multiplot\n", out);
}
