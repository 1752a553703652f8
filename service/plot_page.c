/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/plot_page.h"

#include "service/human.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

void pf_page_show_time(double us, char *out, size_t size)
{
    const char *unit = us < 999.5 ? "µs" : us < 999500 ? "ms" : "s";
    double value = us < 999.5 ? us : us < 999500 ? us / 1e3 : us / 1e6;
    snprintf(out, size, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit);
}

void pf_page_show_count(double count, char *out, size_t size)
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

static void write_terminal(const struct pf_page *page)
{
    fprintf(page->out,
            "# Written by pageferry plot. Draw it with: gnuplot THIS > picture.svg\n"
            "set encoding utf8\n"
            "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13' background "
            "'white'\n"
            "set multiplot\n"
            "set border 0\n" PF_TICKS PF_GRID_LINES "set style fill solid 1.0 noborder\n"
            "unset key\n",
            PF_PAGE_WIDTH, page->height);
}

/* "512 MiB sent in 3 rounds, ", if there were any. */
static void describe_rounds(const struct pf_record *record, char *out, size_t size)
{
    char bytes[32];
    out[0] = '\0';
    if (record->round <= 0 || record->precopy_bytes <= 0)
        return; /* or it is the destination's */
    pf_human_bytes(record->precopy_bytes, bytes, sizeof bytes);
    snprintf(out, size, "%s sent in %" PRId64 " round%s, ", bytes, record->round,
             record->round == 1 ? "" : "s");
}

/* What stages bring in rounds is received, too: after them came what was sent after them. */
static int64_t bytes_moved(const struct pf_record *record, bool rounds)
{
    int64_t bytes = record->received_bytes;
    if (rounds && record->sent_bytes >= record->precopy_bytes)
        bytes = record->sent_bytes - record->precopy_bytes;
    return bytes > 0 ? bytes : 0;
}

/* "256 MiB received in 416 ms, job stopped for 6.4 ms", as far as it is known. */
static void describe(const struct pf_record *record, char *out, size_t size)
{
    char bytes[32];
    char total[40] = "";
    char downtime[64] = "";
    char time[32];
    char rounds[96];
    describe_rounds(record, rounds, sizeof rounds);
    pf_human_bytes(bytes_moved(record, rounds[0] != '\0'), bytes, sizeof bytes);
    if (record->total_us > 0) {
        pf_page_show_time((double)record->total_us, time, sizeof time);
        snprintf(total, sizeof total, " in %s", time);
    }
    if (record->downtime_us > 0) {
        pf_page_show_time((double)record->downtime_us, time, sizeof time);
        snprintf(downtime, sizeof downtime, ", the job was stopped for %s", time);
    }
    const char *how = !rounds[0]           ? "received"
                      : record->round == 1 ? "after it, all"
                                           : "after them, all";
    snprintf(out, size, "%s%s %s%s%s", rounds, bytes, how, total, downtime);
}

static void write_title(const struct pf_page *page)
{
    char description[256];
    double left = (double)PF_PAGE_LEFT / 4 / PF_PAGE_WIDTH;
    describe(&page->plot->record, description, sizeof description);
    fprintf(page->out,
            "set label 1 'Migration of %s over %s' at screen %.4f, screen %.4f font "
            "'sans-serif,20' textcolor rgb '" PF_DARK "'\n"
            "set label 2 '%s' at screen %.4f, screen %.4f textcolor rgb '" PF_GREY "'\n",
            page->plot->name[0] ? page->plot->name : "a job", page->plot->transport, left,
            1 - 26.0 / page->height, description, left, 1 - 52.0 / page->height);
}

void pf_page_begin(struct pf_page *page)
{
    page->used = PF_PAGE_HEAD;
    write_terminal(page);
    write_title(page);
}

void pf_page_begin_panel(struct pf_page *page, int height, int left, int right, const char *title)
{
    double top = 1 - (double)(page->used + PF_PAGE_TITLE) / page->height;
    double bottom = 1 - (double)(page->used + PF_PAGE_TITLE + height) / page->height;
    fprintf(
        page->out,
        "\nset lmargin at screen %.4f\nset rmargin at screen %.4f\n"
        "set tmargin at screen %.4f\nset bmargin at screen %.4f\n"
        "set label 3 '%s' at screen %.4f, screen %.4f font 'sans-serif,15' textcolor rgb '" PF_DARK
        "'\n",
        (double)left / PF_PAGE_WIDTH, 1 - (double)right / PF_PAGE_WIDTH, top, bottom, title,
        (double)PF_PAGE_LEFT / 4 / PF_PAGE_WIDTH, top + 22.0 / page->height);
    page->used += PF_PAGE_TITLE + height + PF_PAGE_AXIS;
}

void pf_page_end_panel(const struct pf_page *page)
{
    fputs("unset label\nunset arrow\nunset logscale\nset xtics autofreq\nset ytics "
          "autofreq\n" PF_TICKS PF_GRID_LINES "set autoscale\nunset xlabel\nunset ylabel\n",
          page->out);
}

/* ---- time ------------------------------------------------------------------------------------ */

double pf_page_seconds(const struct pf_page *page)
{
    const struct pf_plot *plot = page->plot;
    double seconds = (double)plot->record.total_us / 1e6;
    if (plot->point_count)
        seconds = fmax(seconds, plot->points[plot->point_count - 1].seconds);
    if (plot->left_count)
        seconds = fmax(seconds, plot->left[plot->left_count - 1].seconds);
    if (plot->round_count)
        seconds = fmax(seconds, plot->rounds[plot->round_count - 1].to_s);
    return seconds > 0 ? seconds : 1;
}

static void mark_switch(const struct pf_page *page)
{
    if (page->plot->switch_s <= 0)
        return;
    /* Left of the line where there is no room on its right, and below what is said there. */
    bool late = page->plot->switch_s > 0.7 * pf_page_seconds(page);
    const char *where =
        late ? "0.72 right offset character -0.5,0" : "0.95 left offset character 0.5,0";
    fprintf(
        page->out,
        "set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead front linewidth 1.2 "
        "linecolor rgb '" PF_DARK "'\n"
        "set label 'runs at the destination' at first %.6g, graph %s front textcolor rgb '" PF_DARK
        "'\n",
        page->plot->switch_s, page->plot->switch_s, page->plot->switch_s, where);
}

void pf_page_time_axis(const struct pf_page *page)
{
    mark_switch(page);
    fprintf(page->out,
            "set xrange [0:%.6f]\n"
            "set xlabel 'seconds since the migration was asked for' textcolor rgb '" PF_GREY "'\n",
            pf_page_seconds(page));
}
