/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/plot.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 64 << 20, READ_STEP = 64 << 10 };

static bool is_number(struct json_object *json)
{
    return json_object_is_type(json, json_type_int) || json_object_is_type(json, json_type_double);
}

/* A number of a record; 0 if it is missing or odd. */
static double number(struct json_object *json)
{
    if (!is_number(json))
        return 0;
    double value = json_object_get_double(json);
    return isfinite(value) && value > 0 ? value : 0;
}

static double number_of(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return number(value);
}

/*
 * Take the rows of a list, one by one; one that is missing has none. 0, or the number of the row
 * that is none, the first if there is no list.
 */
static size_t take_rows(struct pf_plot *plot, struct json_object *object, const char *key,
                        bool (*take)(struct pf_plot *plot, struct json_object *row))
{
    struct json_object *rows = NULL;
    json_object_object_get_ex(object, key, &rows);
    if (!rows)
        return 0;
    if (!json_object_is_type(rows, json_type_array))
        return 1;
    for (size_t i = 0; i < json_object_array_length(rows); i++)
        if (!take(plot, json_object_array_get_idx(rows, i)))
            return i + 1;
    return 0;
}

/* What gnuplot could take for more than letters is left out: a name is the job's to choose. */
static void copy_plain(char *out, size_t size, const char *text)
{
    size_t used = 0;
    for (; *text && used + 1 < size; text++)
        out[used++] = isalnum((unsigned char)*text) || strchr(" ._:/+-()", *text) ? *text : '?';
    out[used] = '\0';
}

/* ---- latency --------------------------------------------------------------------------------- */

static bool take_bucket(struct pf_plot *plot, struct json_object *json)
{
    if (!json_object_is_type(json, json_type_array) || json_object_array_length(json) != 3)
        return false;
    struct pf_plot_bucket bucket = {
        .from_us = number(json_object_array_get_idx(json, 0)),
        .to_us = number(json_object_array_get_idx(json, 1)),
        .count = number(json_object_array_get_idx(json, 2)),
    };
    if (bucket.to_us <= bucket.from_us || bucket.count <= 0)
        return false;
    /* A logarithmic scale has no 0. */
    if (bucket.from_us <= 0 || plot->bucket_count == PF_PLOT_BUCKETS_MAX)
        return true;
    plot->buckets[plot->bucket_count++] = bucket;
    plot->waits += bucket.count;
    return true;
}

static size_t take_latency(struct pf_plot *plot, struct json_object *record)
{
    struct json_object *latency = NULL;
    json_object_object_get_ex(record, "latency", &latency);
    plot->bucket_count = 0;
    plot->waits = 0;
    plot->p50_us = number_of(latency, "p50_us");
    plot->p99_us = number_of(latency, "p99_us");
    plot->p999_us = number_of(latency, "p999_us");
    plot->max_us = number_of(latency, "max_us");
    return take_rows(plot, latency, "buckets", take_bucket);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void make_label(char *out, size_t size, const char *name, double tid)
{
    char plain[32];
    copy_plain(plain, sizeof plain, *name ? name : "thread");
    if (tid > 0)
        snprintf(out, size, "%s %.0f", plain, tid);
    else
        snprintf(out, size, "%s", plain);
}

static bool take_thread(struct pf_plot *plot, struct json_object *json)
{
    struct json_object *name = NULL;
    struct json_object *blocked = NULL;
    json_object_object_get_ex(json, "blocked_us", &blocked);
    if (!is_number(blocked))
        return false;
    if (plot->thread_count == PF_PLOT_THREADS_MAX)
        return true;
    struct pf_plot_thread *thread = &plot->threads[plot->thread_count++];
    json_object_object_get_ex(json, "name", &name);
    bool named = json_object_is_type(name, json_type_string);
    make_label(thread->label, sizeof thread->label, named ? json_object_get_string(name) : "",
               number_of(json, "tid"));
    thread->faults = number_of(json, "faults");
    thread->blocked_us = number(blocked);
    thread->max_us = number_of(json, "max_us");
    return true;
}

static int longest_first(const void *left, const void *right)
{
    double a = ((const struct pf_plot_thread *)left)->blocked_us;
    double b = ((const struct pf_plot_thread *)right)->blocked_us;
    return (a < b) - (a > b);
}

static size_t take_threads(struct pf_plot *plot, struct json_object *record)
{
    plot->thread_count = 0;
    plot->all_us = number_of(record, "all_blocked_us");
    size_t broken = take_rows(plot, record, "threads", take_thread);
    qsort(plot->threads, plot->thread_count, sizeof plot->threads[0], longest_first);
    return broken;
}

/* ---- bytes over time ------------------------------------------------------------------------- */

static bool is_news(const struct pf_plot *plot, const struct pf_plot_point *point)
{
    if (plot->point_count == 0)
        return true;
    const struct pf_plot_point *last = &plot->points[plot->point_count - 1];
    return point->seconds > last->seconds &&
           (point->bytes > last->bytes || plot->record.event == PF_EVENT_DONE);
}

/*
 * The destination tells of its bytes now and then: only what is news is a point, and the switch,
 * before which there can't have been any.
 */
static void take_point(struct pf_plot *plot, struct json_object *json)
{
    const struct pf_record *record = &plot->record;
    double seconds = number_of(json, "elapsed_us") / 1e6;
    if (record->event == PF_EVENT_DONE)
        seconds = (double)record->total_us / 1e6;
    if (seconds <= 0 || record->received_bytes < 0)
        return;
    bool runs = strcmp(record->state, "postcopy") == 0 || strcmp(record->state, "complete") == 0;
    bool at_switch = runs && !plot->switch_s;
    if (at_switch && record->event == PF_EVENT_PROGRESS)
        plot->switch_s = seconds;
    struct pf_plot_point point = {seconds, (double)record->received_bytes};
    if (plot->point_count < PF_PLOT_POINTS_MAX && (at_switch || is_news(plot, &point)))
        plot->points[plot->point_count++] = point;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static double known(int64_t number)
{
    return number > 0 ? (double)number : 0;
}

/* A round may be told twice: when it ended, and in the last record. */
static void take_round(struct pf_plot *plot, const struct pf_round *told)
{
    int64_t last = plot->round_count ? plot->rounds[plot->round_count - 1].number : 0;
    if (told->number <= last || told->began_us == PF_UNKNOWN || told->duration_us == PF_UNKNOWN ||
        plot->round_count == PF_PLOT_ROUNDS_MAX)
        return;
    double from_s = known(told->began_us) / 1e6;
    plot->rounds[plot->round_count++] = (struct pf_plot_round){
        .from_s = from_s,
        .to_s = from_s + known(told->duration_us) / 1e6,
        .link = known(told->bandwidth_bytes_per_s),
        .dirtied = known(told->dirty_bytes_per_s),
        .dirty_bytes = known(told->dirty_bytes),
        .left_bytes = known(told->remaining_bytes),
        .number = told->number,
        .throttle = told->throttle_percent < 100 ? (int)known(told->throttle_percent) : 100,
    };
}

static void take_rounds(struct pf_plot *plot, const struct pf_rounds *rounds)
{
    for (unsigned i = 0; i < rounds->count; i++)
        take_round(plot, &rounds->list[i]);
}

/* Before there is a phase that moves memory, nothing is left because nothing was looked at. */
static void take_left(struct pf_plot *plot, struct json_object *json)
{
    static const char *const moving[] = {"precopy", "discard", "listening", "postcopy", "complete"};
    const struct pf_record *record = &plot->record;
    double seconds = record->event == PF_EVENT_DONE ? known(record->total_us) / 1e6
                                                    : number_of(json, "elapsed_us") / 1e6;
    bool moves = false;
    for (size_t i = 0; i < sizeof moving / sizeof moving[0]; i++)
        moves = moves || strcmp(record->state, moving[i]) == 0;
    if (!moves || seconds <= 0 || record->remaining_bytes < 0 ||
        plot->left_count == PF_PLOT_POINTS_MAX)
        return;
    plot->left[plot->left_count++] =
        (struct pf_plot_point){seconds, (double)record->remaining_bytes};
}

/* ---- the file -------------------------------------------------------------------------------- */

static char *read_all(FILE *in, size_t *bytes)
{
    char *text = NULL;
    size_t used = 0;
    size_t got;
    do {
        char *longer = used < FILE_MAX ? realloc(text, used + READ_STEP) : NULL;
        if (!longer) {
            free(text);
            return NULL;
        }
        text = longer;
        got = fread(text + used, 1, READ_STEP, in);
        used += got;
    } while (got > 0);
    *bytes = used;
    return text;
}

static int take_record(struct pf_plot *plot, struct json_object *json, const char *name,
                       unsigned line, struct pf_why *why)
{
    if (!json_object_is_type(json, json_type_object))
        return pf_why(why, -EINVAL, "%s: record %u is no JSON object", name, line);
    struct pf_record record;
    pf_record_parse(json, &record);
    take_rounds(plot, &record.rounds);
    if (record.event == PF_EVENT_ROUND)
        return 0;
    plot->record = record;
    if (plot->record.event == PF_EVENT_OTHER)
        return pf_why(why, -EINVAL,
                      "%s: record %u has no \"event\" that a job reports: give what `pageferry "
                      "migrate --json` or `pageferry status --json` printed",
                      name, line);
    copy_plain(plot->name, sizeof plot->name, plot->record.name);
    copy_plain(plot->transport, sizeof plot->transport, plot->record.transport);
    take_point(plot, json);
    take_left(plot, json);
    if (plot->record.event == PF_EVENT_PROGRESS)
        return 0;
    size_t broken = take_latency(plot, json);
    if (broken)
        return pf_why(why, -EINVAL,
                      "%s: record %u: row %zu of \"buckets\" is not [from, to, count]", name, line,
                      broken);
    broken = take_threads(plot, json);
    if (broken)
        return pf_why(why, -EINVAL,
                      "%s: record %u: row %zu of \"threads\" has no number \"blocked_us\"", name,
                      line, broken);
    return 0;
}

static int parse_all(struct pf_plot *plot, struct json_tokener *tokener, const char *text,
                     size_t bytes, const char *name, struct pf_why *why)
{
    unsigned records = 0;
    for (size_t at = 0; at < bytes;) {
        if (isspace((unsigned char)text[at])) {
            at++;
            continue;
        }
        struct json_object *json = json_tokener_parse_ex(tokener, text + at, (int)(bytes - at));
        enum json_tokener_error error = json_tokener_get_error(tokener);
        records++;
        if (error != json_tokener_success)
            return pf_why(why, -EINVAL, "%s: record %u is not JSON: %s", name, records,
                          error == json_tokener_continue ? "it ends too early"
                                                         : json_tokener_error_desc(error));
        at += json_tokener_get_parse_end(tokener);
        json_tokener_reset(tokener);
        int result = take_record(plot, json, name, records, why);
        json_object_put(json);
        if (result)
            return result;
    }
    return records ? 0 : pf_why(why, -EINVAL, "%s is empty: there is no record in it", name);
}

static int judge(const struct pf_plot *plot, const char *name, struct pf_why *why)
{
    if (plot->record.event == PF_EVENT_ERROR)
        return pf_why(why, -EINVAL, "%s: the migration failed: %s", name,
                      plot->record.message[0] ? plot->record.message : "the job gave no reason");
    if (plot->bucket_count || plot->thread_count || plot->point_count > 1 || plot->round_count)
        return 0;
    return pf_why(
        why, -EINVAL,
        "%s tells of no fault and of no round: give the last record of a migration that had some, "
        "from `pageferry migrate --json`, or from `pageferry status --json`",
        name);
}

int pf_plot_read(struct pf_plot *plot, FILE *in, const char *name, struct pf_why *why)
{
    size_t bytes = 0;
    memset(plot, 0, sizeof *plot);
    char *text = read_all(in, &bytes);
    struct json_tokener *tokener = json_tokener_new();
    int error;
    if (!text || !tokener)
        error = pf_why(why, -EFBIG, "%s is longer than 64 MiB, or memory is short", name);
    else if (ferror(in))
        error = pf_why(why, -EIO, "%s can't be read: %s", name, strerror(errno));
    else
        error = parse_all(plot, tokener, text, bytes, name, why);
    if (tokener)
        json_tokener_free(tokener);
    free(text);
    return error ? error : judge(plot, name, why);
}
