/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/progress.h"

#include "base/clock.h"
#include "service/human.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    DEFAULT_COLUMNS = 80,
    WIDEST_BAR = 30,
    NARROWEST_BAR = 10,
    LINE_MAX_BYTES = 512,
};

/* Between two lines of a file or a pipe; and where there is another phase or round to tell of. */
static const uint64_t PLAIN_INTERVAL_NS = UINT64_C(1000000000);
static const uint64_t PLAIN_NEWS_INTERVAL_NS = UINT64_C(100000000);

void pf_progress_open(struct pf_progress_view *view, FILE *out)
{
    *view = (struct pf_progress_view){
        .out = out,
        .terminal = isatty(fileno(out)) == 1,
        .rate = PF_UNKNOWN,
    };
}

static bool is_state(const struct pf_record *record, const char *state)
{
    return strcmp(record->state, state) == 0;
}

/*
 * 0 to 100, or -1 while nothing is under way or the job has not said how much there is. During
 * pre-copy it falls when a round ends: what the job has written since is to be sent again.
 */
static int percent(const struct pf_record *record)
{
    if (!is_state(record, "precopy") && !is_state(record, "postcopy") &&
        !is_state(record, "complete"))
        return -1;
    if (record->total_bytes <= 0 || record->remaining_bytes < 0)
        return -1;
    if (record->remaining_bytes >= record->total_bytes)
        return 0;
    double moved = (double)(record->total_bytes - record->remaining_bytes);
    return (int)(100 * (moved / (double)record->total_bytes));
}

/* Append to a line; what does not fit is cut off. */
static void add(char *line, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(char *line, size_t size, const char *format, ...)
{
    size_t used = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, size - used, format, args);
    va_end(args);
}

static void add_amounts(char *line, size_t size, const struct pf_record *record)
{
    char moved[32];
    char total[32];
    char rate[32];
    if (percent(record) >= 0) {
        int64_t left = record->remaining_bytes < record->total_bytes ? record->remaining_bytes
                                                                     : record->total_bytes;
        pf_human_bytes(record->total_bytes - left, moved, sizeof moved);
        pf_human_bytes(record->total_bytes, total, sizeof total);
        add(line, size, " %3d%%  %s of %s", percent(record), moved, total);
    }
    if (record->bytes_per_second >= 0) {
        pf_human_rate(record->bytes_per_second, rate, sizeof rate);
        add(line, size, "  %s", rate);
    }
}

/* ---- pre-copy: what the rounds show ---------------------------------------------------------- */

static void add_round(char *line, size_t size, const struct pf_record *record)
{
    char left[32];
    if (record->round > 0)
        add(line, size, "  round %" PRId64, record->round);
    if (record->remaining_bytes >= 0) {
        pf_human_bytes(record->remaining_bytes, left, sizeof left);
        add(line, size, "  %s left", left);
    }
}

static void add_rates(char *line, size_t size, const struct pf_record *record)
{
    char rate[32];
    if (record->bandwidth_bytes_per_s > 0) {
        pf_human_rate(record->bandwidth_bytes_per_s, rate, sizeof rate);
        add(line, size, "  %s", rate);
    }
    /* Known from the end of the first round on, as the downtime is. */
    bool known = record->round > 1 || record->expected_downtime_us > 0;
    if (known && record->dirty_bytes_per_s >= 0) {
        pf_human_rate(record->dirty_bytes_per_s, rate, sizeof rate);
        add(line, size, "  dirty %s", rate);
    }
}

static void add_expected(char *line, size_t size, const struct pf_record *record)
{
    char time[32];
    if (record->expected_downtime_us <= 0)
        return;
    pf_human_time(record->expected_downtime_us, time, sizeof time);
    add(line, size, "  downtime %s", time);
}

static void add_eta(char *line, size_t size, const struct pf_record *record)
{
    char time[32];
    if (record->eta_ms <= 0 || record->eta_ms > 360000000)
        return;
    pf_human_time(record->eta_ms * 1000, time, sizeof time);
    add(line, size, "  ETA %s", time);
}

static void add_throttle(char *line, size_t size, const struct pf_record *record)
{
    if (record->throttle_percent > 0)
        add(line, size, "  throttled %" PRId64 "%%", record->throttle_percent);
}

/* ---- post-copy ------------------------------------------------------------------------------- */

/* Percentiles of nothing are no figures: a source may know of no fault yet. */
static void add_faults(char *line, size_t size, const struct pf_record *record)
{
    char p50[32];
    char p99[32];
    if (record->faults > 0 || (record->faults == 0 && is_state(record, "postcopy")))
        add(line, size, "  %" PRId64 " faults", record->faults);
    if (record->service_p50_us >= 0 && record->service_p99_us > 0) {
        pf_human_time(record->service_p50_us, p50, sizeof p50);
        pf_human_time(record->service_p99_us, p99, sizeof p99);
        add(line, size, "  p50 %s p99 %s", p50, p99);
    }
}

static void add_time_left(char *line, size_t size, const struct pf_record *record)
{
    char left[32];
    if (record->bytes_per_second <= 0 || record->remaining_bytes <= 0)
        return;
    double seconds = (double)record->remaining_bytes / (double)record->bytes_per_second;
    if (seconds > 360000)
        return;
    pf_human_time((int64_t)(seconds * 1e6), left, sizeof left);
    add(line, size, "  ETA %s", left);
}

static void add_bar(char *line, size_t size, int done, size_t width)
{
    char bar[WIDEST_BAR + 1];
    size_t filled = done > 0 ? width * (size_t)done / 100 : 0;
    memset(bar, '.', width);
    memset(bar, '#', filled);
    bar[width] = '\0';
    add(line, size, " [%s]", bar);
}

/* ---- the line -------------------------------------------------------------------------------- */

enum { FIELDS = 5 };

typedef void field_fn(char *line, size_t size, const struct pf_record *record);

/* In the order of importance; a NULL behind the last. */
static field_fn *const *fields_of(const struct pf_record *record)
{
    static field_fn *const precopy[FIELDS + 1] = {add_round, add_rates,    add_expected,
                                                  add_eta,   add_throttle, NULL};
    static field_fn *const others[FIELDS + 1] = {add_amounts, add_faults, add_time_left, NULL};
    return is_state(record, "precopy") ? precopy : others;
}

void pf_progress_bar(const struct pf_record *record, unsigned columns, char *out, size_t size)
{
    /* What has no room beside a bar is left out whole, the last first. */
    field_fn *const *fields = fields_of(record);
    char figures[LINE_MAX_BYTES] = "";
    out[0] = '\0';
    add(out, size, "%s %s", record->name, record->state);
    for (size_t i = 0; fields[i]; i++) {
        size_t before = strlen(figures);
        fields[i](figures, sizeof figures, record);
        if (i > 0 && strlen(out) + strlen(figures) + strlen(" [] ") + NARROWEST_BAR > columns)
            figures[before] = '\0';
    }
    size_t taken = strlen(out) + strlen(figures) + strlen(" []");
    size_t room = columns > taken + 1 ? columns - taken - 1 : 0;
    if (percent(record) >= 0 && room >= 5)
        add_bar(out, size, percent(record), room < WIDEST_BAR ? room : WIDEST_BAR);
    add(out, size, "%s", figures);
    /* A line as wide as the terminal would wrap, and be redrawn below itself. */
    if (columns > 0 && strlen(out) >= columns)
        out[columns - 1] = '\0';
}

static unsigned columns_of(FILE *out)
{
    struct winsize window;
    if (ioctl(fileno(out), TIOCGWINSZ, &window) != 0 || window.ws_col == 0)
        return DEFAULT_COLUMNS;
    return window.ws_col;
}

static void show_plain(struct pf_progress_view *view, const struct pf_record *record)
{
    char line[LINE_MAX_BYTES] = "";
    uint64_t now = pf_now_ns();
    bool news = record->round != view->plain_round || strcmp(record->state, view->plain_state) != 0;
    if (is_state(record, "running") ||
        (view->plain_ns != 0 &&
         now - view->plain_ns < (news ? PLAIN_NEWS_INTERVAL_NS : PLAIN_INTERVAL_NS)))
        return;
    view->plain_ns = now;
    view->plain_round = record->round;
    memcpy(view->plain_state, record->state, sizeof view->plain_state);
    /* Lines that stay have no use for the time that was left then, in post-copy. */
    for (field_fn *const *field = fields_of(record); *field; field++)
        if (*field != add_time_left)
            (*field)(line, sizeof line, record);
    fprintf(view->out, "%s: %s%s\n", record->name, record->state, line);
    fflush(view->out);
}

/* Smoothed: single intervals of 100 ms jump. */
static void estimate_rate(struct pf_progress_view *view, const struct pf_record *record)
{
    uint64_t now = pf_now_ns();
    int64_t moved = view->record_remaining - record->remaining_bytes;
    if (view->record_ns != 0 && moved > 0 && now > view->record_ns) {
        double rate = (double)moved * 1e9 / (double)(now - view->record_ns);
        view->rate =
            view->rate < 0 ? (int64_t)rate : (int64_t)(0.7 * (double)view->rate + 0.3 * rate);
    }
    view->record_ns = now;
    view->record_remaining = record->remaining_bytes;
}

void pf_progress_show(struct pf_progress_view *view, const struct pf_record *record)
{
    char line[LINE_MAX_BYTES];
    struct pf_record shown = *record;
    if (is_state(record, "postcopy"))
        estimate_rate(view, record);
    else
        view->record_ns = 0; /* what is left falls and rises there */
    if (shown.bytes_per_second < 0)
        shown.bytes_per_second = view->rate;
    if (!view->terminal) {
        show_plain(view, &shown);
        return;
    }
    pf_progress_bar(&shown, columns_of(view->out), line, sizeof line);
    fprintf(view->out, "\r%s\033[K", line);
    fflush(view->out);
    view->drawn = true;
}

void pf_progress_close(struct pf_progress_view *view)
{
    if (!view->drawn)
        return;
    fputs("\r\033[K", view->out);
    fflush(view->out);
    view->drawn = false;
}

/* WORDS VALUE for a time that is known; words begin with ", " except at a line's start. */
static void add_time(char *line, size_t size, const char *words, int64_t us)
{
    char text[32];
    if (us < 0)
        return;
    pf_human_time(us, text, sizeof text);
    add(line, size, "%s %s", words, text);
}

static void summarize_precopy(FILE *out, const struct pf_record *record)
{
    char bytes[32];
    if (record->round <= 0 || record->precopy_bytes < 0)
        return;
    pf_human_bytes(record->precopy_bytes, bytes, sizeof bytes);
    fprintf(out, "%s: %" PRId64 " round%s of pre-copy, %s%s%s\n", record->name, record->round,
            record->round == 1 ? "" : "s", bytes, record->tracker[0] ? ", tracked by " : "",
            record->tracker);
}

void pf_progress_summary(FILE *out, const struct pf_record *record)
{
    char line[LINE_MAX_BYTES] = "";
    char text[32];
    if (record->total_bytes >= 0) {
        pf_human_bytes(record->total_bytes, text, sizeof text);
        add(line, sizeof line, ": %s", text);
    }
    add_time(line, sizeof line, " in", record->total_us);
    add_time(line, sizeof line, ", downtime", record->downtime_us);
    int64_t rate = record->bytes_per_second;
    if (rate < 0 && record->total_bytes >= 0 && record->total_us > 0)
        rate = (int64_t)((double)record->total_bytes * 1e6 / (double)record->total_us);
    if (rate >= 0) {
        pf_human_rate(rate, text, sizeof text);
        add(line, sizeof line, ", %s", text);
    }
    fprintf(out, "%s: %s%s\n", record->name, record->state, line);
    summarize_precopy(out, record);

    line[0] = '\0';
    if (record->service_p999_us > 0) { /* else no page came by a request */
        add_time(line, sizeof line, ", service p50", record->service_p50_us);
        add_time(line, sizeof line, ", p99", record->service_p99_us);
        add_time(line, sizeof line, ", p99.9", record->service_p999_us);
    }
    if (record->faults >= 0)
        fprintf(out, "%s: %" PRId64 " faults%s\n", record->name, record->faults, line);
    if (record->normal_pages >= 0 && record->zero_pages >= 0)
        fprintf(out, "%s: %" PRId64 " pages with data, %" PRId64 " zero pages\n", record->name,
                record->normal_pages, record->zero_pages);
}
