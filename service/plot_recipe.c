/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The picture: panels below each other, each with a title in words, units on its axes, a light
 * grid, and labels at what they mean instead of a legend.
 */
#include "service/human.h"
#include "service/plot.h"

#include <math.h>
#include <string.h>

/* In pixels. */
enum {
    WIDTH = 960,
    HEAD = 76,
    LEFT = 84,
    RIGHT = 40,
    LABELS = 190,  /* left of the bars of threads */
    FIGURES = 270, /* right of them */
    TITLE = 44,    /* above a panel */
    AXIS = 64,     /* below it */
    LATENCY_HEIGHT = 270,
    ROW = 26,
    BYTES_HEIGHT = 210,
    ROWS_MAX = 24,
};

#define BLUE       "#3b6fb6"
#define DARK       "#333333"
#define GREY       "#777777"
#define TICKS      "set tics nomirror scale 0 textcolor rgb '" DARK "'\n"
#define GRID_LINES "set grid x y linetype 1 linewidth 1 linecolor rgb '#e2e2e2'\n"

struct page {
    const struct pf_plot *plot;
    FILE *out;
    int height, used; /* of the page; from its upper edge */
};

static unsigned shown_threads(const struct pf_plot *plot)
{
    return plot->thread_count < ROWS_MAX ? plot->thread_count : ROWS_MAX;
}

static int threads_height(const struct pf_plot *plot)
{
    return (int)shown_threads(plot) * ROW + ROW / 2;
}

static bool has_bytes(const struct pf_plot *plot)
{
    return plot->point_count > 1;
}

/* "17.4 us", "1.63 ms", "2.1 s": three digits at most. */
static void show_time(double us, char *out, size_t size)
{
    const char *unit = us < 999.5 ? "µs" : us < 999500 ? "ms" : "s";
    double value = us < 999.5 ? us : us < 999500 ? us / 1e3 : us / 1e6;
    snprintf(out, size, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit);
}

/* 12345678 as "12,345,678". */
static void show_count(double count, char *out, size_t size)
{
    char digits[32];
    size_t used = 0;
    snprintf(digits, sizeof digits, "%.0f", count);
    for (size_t i = 0; digits[i] && used + 2 < size; i++) {
        if (i > 0 && (strlen(digits) - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

/* ---- the page -------------------------------------------------------------------------------- */

static void begin_page(const struct page *page)
{
    fprintf(page->out,
            "# Written by pageferry plot. Draw it with: gnuplot THIS > picture.svg\n"
            "set encoding utf8\n"
            "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13' background "
            "'white'\n"
            "set multiplot\n"
            "set border 0\n" TICKS GRID_LINES "set style fill solid 1.0 noborder\n"
            "unset key\n",
            WIDTH, page->height);
}

/* "256 MiB received in 416 ms, job stopped for 6.4 ms", as far as it is known. */
static void describe(const struct pf_record *record, char *out, size_t size)
{
    char bytes[32];
    char total[40] = "";
    char downtime[64] = "";
    char time[32];
    pf_human_bytes(record->received_bytes > 0 ? record->received_bytes : 0, bytes, sizeof bytes);
    if (record->total_us > 0) {
        show_time((double)record->total_us, time, sizeof time);
        snprintf(total, sizeof total, " in %s", time);
    }
    if (record->downtime_us > 0) {
        show_time((double)record->downtime_us, time, sizeof time);
        snprintf(downtime, sizeof downtime, ", the job was stopped for %s", time);
    }
    snprintf(out, size, "%s received%s%s", bytes, total, downtime);
}

static void write_title(const struct page *page)
{
    char description[160];
    double left = (double)LEFT / 4 / WIDTH;
    describe(&page->plot->record, description, sizeof description);
    fprintf(page->out,
            "set label 1 'Migration of %s over %s' at screen %.4f, screen %.4f font "
            "'sans-serif,20' textcolor rgb '" DARK "'\n"
            "set label 2 '%s' at screen %.4f, screen %.4f textcolor rgb '" GREY "'\n",
            page->plot->name[0] ? page->plot->name : "a job", page->plot->transport, left,
            1 - 26.0 / page->height, description, left, 1 - 52.0 / page->height);
}

/* Room for a panel below the last one, and its title. */
static void begin_panel(struct page *page, int height, int left, int right, const char *title)
{
    double top = 1 - (double)(page->used + TITLE) / page->height;
    double bottom = 1 - (double)(page->used + TITLE + height) / page->height;
    fprintf(page->out,
            "\nset lmargin at screen %.4f\nset rmargin at screen %.4f\n"
            "set tmargin at screen %.4f\nset bmargin at screen %.4f\n"
            "set label 3 '%s' at screen %.4f, screen %.4f font 'sans-serif,15' textcolor rgb '" DARK
            "'\n",
            (double)left / WIDTH, 1 - (double)right / WIDTH, top, bottom, title,
            (double)LEFT / 4 / WIDTH, top + 22.0 / page->height);
    page->used += TITLE + height + AXIS;
}

/* Nothing of a panel may show in the next one. */
static void end_panel(const struct page *page)
{
    fputs("unset label\nunset arrow\nunset logscale\nset xtics autofreq\nset ytics autofreq\n" TICKS
              GRID_LINES "set autoscale\nunset xlabel\nunset ylabel\n",
          page->out);
}

/* ---- latency --------------------------------------------------------------------------------- */

static void write_buckets(const struct page *page)
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
static void mark_percentile(const struct page *page, const char *name, double us, unsigned step)
{
    char time[32];
    if (us <= 0)
        return;
    show_time(us, time, sizeof time);
    fprintf(page->out,
            "set arrow from first %.3f, graph 0 to first %.3f, graph %.3f nohead front linewidth "
            "1.2 linecolor rgb '" DARK "'\n"
            "set label '%s  %s' at first %.3f, graph %.3f left offset character 0.5,0 front "
            "textcolor rgb '" DARK "'\n",
            us, us, 1 - 0.1 * step, name, time, us, 0.97 - 0.1 * step);
}

/* Ticks at 1, 2 and 5 of each decade, or at 1 where there are many, in the unit people would say.
 */
static void write_time_ticks(const struct page *page, double from, double to)
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

static void latency_panel(struct page *page)
{
    const struct pf_plot *plot = page->plot;
    char waits[48];
    char title[128];
    double from = plot->buckets[0].from_us / 1.6;
    double last = plot->buckets[plot->bucket_count - 1].to_us;
    double to = last * pow(last / from, 0.22); /* the label of the longest needs room */
    show_count(plot->waits, waits, sizeof waits);
    snprintf(title, sizeof title, "How long a fault blocked its thread  (%s waits)", waits);
    begin_panel(page, LATENCY_HEIGHT, LEFT, RIGHT, title);
    write_buckets(page);
    write_time_ticks(page, from, to);
    mark_percentile(page, "half within", plot->p50_us, 0);
    mark_percentile(page, "99 % within", plot->p99_us, 1);
    mark_percentile(page, "99.9 % within", plot->p999_us, 2);
    mark_percentile(page, "longest", plot->max_us, 3);
    fprintf(page->out,
            "set logscale x\nset xrange [%g:%g]\nset yrange [0:%g]\n"
            "set ylabel 'waits, %%' textcolor rgb '" GREY "'\n"
            "set xlabel 'from reading the fault to placing its page' textcolor rgb '" GREY "'\n"
            "plot $latency using (sqrt($1*$2)):($3/2):1:2:(0):3 with boxxyerror linecolor rgb "
            "'" BLUE "'\n",
            from, to, 1.3 * highest_share(plot));
    end_panel(page);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void write_threads(const struct page *page, double unit)
{
    fputs("$threads << EOD\n", page->out);
    for (unsigned i = 0; i < shown_threads(page->plot); i++)
        fprintf(page->out, "%u %.6g\n", i, page->plot->threads[i].blocked_us / unit);
    fputs("EOD\n", page->out);
}

static void label_thread(const struct page *page, unsigned row, double unit)
{
    const struct pf_plot_thread *thread = &page->plot->threads[row];
    char blocked[32];
    char longest[32];
    char faults[48];
    show_time(thread->blocked_us, blocked, sizeof blocked);
    show_time(thread->max_us, longest, sizeof longest);
    show_count(thread->faults, faults, sizeof faults);
    fprintf(page->out,
            "set label '%s' at graph 0, first %u right offset character -1,0 textcolor rgb '" DARK
            "'\n"
            "set label '%s, %s faults, longest %s' at first %.6g, first %u left offset character "
            "0.8,0 textcolor rgb '" GREY "'\n",
            thread->label, row, blocked, faults, longest, thread->blocked_us / unit, row);
}

static void threads_title(const struct pf_plot *plot, char *out, size_t size)
{
    char all[64] = "";
    char time[32];
    if (plot->thread_count > 1 && plot->all_us > 0) {
        show_time(plot->all_us, time, sizeof time);
        snprintf(all, sizeof all, "  (all at once for %s)", time);
    }
    if (shown_threads(plot) < plot->thread_count)
        snprintf(out, size, "The %u of %u threads that were blocked longest%s", shown_threads(plot),
                 plot->thread_count, all);
    else
        snprintf(out, size, "How long each thread was blocked%s", all);
}

static void threads_panel(struct page *page)
{
    const struct pf_plot *plot = page->plot;
    unsigned rows = shown_threads(plot);
    double most = plot->threads[0].blocked_us;
    bool seconds = most >= 1e6;
    double unit = seconds ? 1e6 : 1e3;
    char title[128];
    threads_title(plot, title, sizeof title);
    begin_panel(page, threads_height(plot), LABELS, FIGURES, title);
    write_threads(page, unit);
    for (unsigned i = 0; i < rows; i++)
        label_thread(page, i, unit);
    fprintf(page->out,
            "set yrange [%.2f:-0.75]\nset xrange [0:%.6g]\nunset ytics\nunset grid\n"
            "set xlabel 'blocked in all, %s' textcolor rgb '" GREY "'\n"
            "plot $threads using ($2/2):1:(0):2:($1-0.32):($1+0.32) with boxxyerror linecolor rgb "
            "'" BLUE "'\n",
            rows - 0.25, most > 0 ? most / unit : 1, seconds ? "s" : "ms");
    end_panel(page);
}

/* ---- bytes over time ------------------------------------------------------------------------- */

static void mark_switch(const struct page *page)
{
    if (page->plot->switch_s <= 0)
        return;
    fprintf(page->out,
            "set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead front linewidth 1.2 "
            "linecolor rgb '" DARK "'\n"
            "set label 'runs at the destination' at first %.6g, graph 0.95 left offset character "
            "0.5,0 front textcolor rgb '" DARK "'\n",
            page->plot->switch_s, page->plot->switch_s, page->plot->switch_s);
}

static void bytes_panel(struct page *page)
{
    const struct pf_plot *plot = page->plot;
    const struct pf_plot_point *last = &plot->points[plot->point_count - 1];
    bool large = last->bytes >= 4.0 * (1 << 30);
    double unit = large ? 1 << 30 : 1 << 20;
    char bytes[32];
    begin_panel(page, BYTES_HEIGHT, LEFT, RIGHT, "Memory at the destination");
    fputs("$bytes << EOD\n", page->out);
    for (unsigned i = 0; i < plot->point_count; i++)
        fprintf(page->out, "%.6f %.6f\n", plot->points[i].seconds, plot->points[i].bytes / unit);
    fputs("EOD\n", page->out);
    mark_switch(page);
    pf_human_bytes((int64_t)last->bytes, bytes, sizeof bytes);
    fprintf(page->out,
            "set label '%s' at first %.6f, first %.6f right offset character -0.6,0.6 front "
            "textcolor rgb '" DARK "'\n"
            "set xrange [0:%.6f]\nset yrange [0:%.6f]\n"
            "set ylabel '%s' textcolor rgb '" GREY "'\n"
            "set xlabel 'seconds since the migration was asked for' textcolor rgb '" GREY "'\n"
            "plot $bytes using 1:2 with filledcurves x1 linecolor rgb '#dbe6f4', "
            "$bytes using 1:2 with lines linewidth 2.5 linecolor rgb '" BLUE "'\n",
            bytes, last->seconds, last->bytes / unit, last->seconds,
            last->bytes > 0 ? 1.15 * last->bytes / unit : 1, large ? "GiB" : "MiB");
    end_panel(page);
}

void pf_plot_recipe(const struct pf_plot *plot, FILE *out)
{
    struct page page = {.plot = plot, .out = out, .used = HEAD};
    page.height = HEAD + (plot->bucket_count ? TITLE + LATENCY_HEIGHT + AXIS : 0) +
                  (plot->thread_count ? TITLE + threads_height(plot) + AXIS : 0) +
                  (has_bytes(plot) ? TITLE + BYTES_HEIGHT + AXIS : 0);
    begin_page(&page);
    write_title(&page);
    if (plot->bucket_count)
        latency_panel(&page);
    if (plot->thread_count)
        threads_panel(&page);
    if (has_bytes(plot))
        bytes_panel(&page);
    fputs("unset multiplot\n", out);
}
