/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/job_record.h"

#include "base/clock.h"
#include "core/arrival/blocked_report.h"
#include "core/job/job.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void add_text(struct json_object *record, const char *key, const char *text)
{
    json_object_object_add(record, key, json_object_new_string(text));
}

/* What is not known is left out. */
static void add_number(struct json_object *record, const char *key, uint64_t number)
{
    if (number != UINT64_MAX)
        json_object_object_add(record, key, json_object_new_uint64(number));
}

static bool ends_in_ns(const char *name)
{
    size_t length = strlen(name);
    return length > 3 && strcmp(name + length - 3, "_ns") == 0;
}

/* Counters keep nanoseconds as whole numbers; records say microseconds. */
static void add_counter(struct json_object *record, const char *name, uint64_t value)
{
    char key[32];
    if (!ends_in_ns(name)) {
        add_number(record, name, value);
        return;
    }
    char digits[32];
    snprintf(key, sizeof key, "%.*s_us", (int)strlen(name) - 3, name);
    snprintf(digits, sizeof digits, "%.3f", (double)value / 1000);
    json_object_object_add(record, key, json_object_new_double_s((double)value / 1000, digits));
}

static void add_identity(struct json_object *record, struct ferry_job *job)
{
    char uri[PF_URI_LIST_MAX];
    char placement[sizeof job->rails[0].placement.reason];
    pthread_mutex_lock(&job->lock);
    /* One that still waits for the client whose memory it receives is a destination, too. */
    bool waits = job->incoming[0] && atomic_load(&job->phase) == PF_PHASE_SETUP;
    bool destination = job->destination || waits;
    strcpy(uri, job->uri);
    memcpy(placement, job->rails[0].placement.reason, sizeof placement);
    pthread_mutex_unlock(&job->lock);
    add_text(record, "name", job->name);
    add_number(record, "pid", (uint64_t)getpid());
    add_text(record, "role", destination ? "destination" : "source");
    add_text(record, "state", pf_phase_name((enum pf_phase)atomic_load(&job->phase)));
    add_text(record, "uri", uri);
    uri[strcspn(uri, ":")] = '\0';
    add_text(record, "transport", uri);
    add_text(record, "placement", placement);
}

static void add_rails(struct json_object *record, struct ferry_job *job)
{
    struct json_object *rails = json_object_new_array();
    pthread_mutex_lock(&job->lock);
    for (unsigned i = 0; i < job->rail_count; i++) {
        const struct pf_rail_report *report = &job->rails[i];
        struct json_object *rail = json_object_new_object();
        bool known = report->nic.node != PF_NODE_UNKNOWN;
        add_text(rail, "uri", report->uri);
        add_text(rail, "nic", report->nic.name);
        json_object_object_add(rail, "node", known ? json_object_new_int(report->nic.node) : NULL);
        add_text(rail, "placement", report->placement.reason);
        add_number(rail, "bytes", report->bytes);
        json_object_object_add(rail, "alive", json_object_new_boolean(report->alive));
        json_object_array_add(rails, rail);
    }
    pthread_mutex_unlock(&job->lock);
    json_object_object_add(record, "rails", rails);
}

static void add_notes(struct json_object *record, struct ferry_job *job)
{
    static const char *const keys[PF_NOTE_COUNT] = {
        [PF_NOTE_TRACKER] = "tracker",
        [PF_NOTE_PINNED] = "pinned",
        [PF_NOTE_FEWER_BYTES] = "fewer_bytes",
        [PF_NOTE_THROTTLED] = "throttled",
    };
    for (unsigned i = 0; i < PF_NOTE_COUNT; i++) {
        char note[PF_NOTE_MAX];
        pthread_mutex_lock(&job->lock);
        strcpy(note, job->notes[i]);
        pthread_mutex_unlock(&job->lock);
        if (note[0])
            add_text(record, keys[i], note);
    }
}

/* Why the latest migration failed, if it did. */
static void add_failure(struct json_object *record, struct ferry_job *job)
{
    struct pf_why why = {""};
    pthread_mutex_lock(&job->lock);
    if (job->outcome.ended && job->outcome.error)
        why = job->outcome.why;
    pthread_mutex_unlock(&job->lock);
    if (why.text[0])
        add_text(record, "failure", why.text);
}

/* The options that can be changed while a migration runs, as they are now. */
static void add_options(struct json_object *record, struct ferry_job *job)
{
    struct json_object *options = json_object_new_object();
    pthread_mutex_lock(&job->lock);
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        char value[PF_OPTION_TEXT_MAX];
        if (!pf_knob_is(i))
            continue;
        pf_options_format(&job->options, i, value);
        add_text(options, pf_option_table[i].name, value);
    }
    pthread_mutex_unlock(&job->lock);
    json_object_object_add(record, "options", options);
}

static void fill_round(struct json_object *json, const struct pf_round_record *round)
{
    add_number(json, "number", round->number);
    json_object_object_add(json, "paused", json_object_new_boolean(round->paused));
    add_number(json, "began_us", round->began_us);
    add_number(json, "duration_us", round->duration_us);
    add_number(json, "collect_us", round->collect_us);
    add_number(json, "dirty_bytes", round->dirty_bytes);
    add_number(json, "sent_bytes", round->sent_bytes);
    add_number(json, "zero_pages", round->zero_pages);
    add_number(json, "remaining_bytes", round->remaining_bytes);
    add_number(json, "bandwidth_bytes_per_s", round->bandwidth);
    add_number(json, "dirty_bytes_per_s", round->dirty_rate);
    add_number(json, "expected_downtime_us", round->expected_downtime_us);
    add_number(json, "throttle_percent", round->throttle);
    if (round->reason)
        add_text(json, "reason", round->reason);
}

/* The last ones: more would make the record too long for a client. */
static void add_rounds(struct json_object *record, struct ferry_job *job)
{
    enum { SHOWN = 64 };
    struct json_object *rounds = json_object_new_array();
    pthread_mutex_lock(&job->lock);
    const struct pf_round_log *log = &job->rounds;
    for (unsigned i = log->rounds > SHOWN ? log->rounds - SHOWN : 0; i < log->rounds; i++) {
        struct json_object *round = json_object_new_object();
        fill_round(round, &log->list[i % PF_ROUND_LOG_MAX]);
        json_object_array_add(rounds, round);
    }
    pthread_mutex_unlock(&job->lock);
    json_object_object_add(record, "rounds", rounds);
}

/* While a migration is under way; in the end total_us says it. */
static void add_elapsed(struct json_object *record, struct ferry_job *job)
{
    uint64_t began_ns = atomic_load(&job->began_ns);
    pthread_mutex_lock(&job->lock);
    bool migrating = job->migrating;
    pthread_mutex_unlock(&job->lock);
    if (migrating && began_ns && pf_count_get(&job->counters.total_us) == 0)
        add_number(record, "elapsed_us", (pf_now_ns() - began_ns) / 1000);
}

struct json_object *pf_job_status_record(struct ferry_job *job, const char *event)
{
    struct json_object *record = json_object_new_object();
    add_text(record, "event", event);
    add_rails(record, job);
    add_identity(record, job);
    add_elapsed(record, job);
#define PF_COUNTER_JSON(name) add_counter(record, #name, pf_count_get(&job->counters.name));
    PF_COUNTERS(PF_COUNTER_JSON)
#undef PF_COUNTER_JSON
    add_notes(record, job);
    /* Too long to be repeated with each record of progress. */
    if (strcmp(event, "progress") != 0) {
        add_failure(record, job);
        add_options(record, job);
        add_rounds(record, job);
        pf_blocked_add_json(record, &job->blocked);
    }
    return record;
}

struct json_object *pf_job_round_record(const struct pf_round_record *round)
{
    struct json_object *record = json_object_new_object();
    add_text(record, "event", "round");
    fill_round(record, round);
    return record;
}

struct json_object *pf_job_error_record(int error, int exit_status, const char *message)
{
    struct json_object *record = json_object_new_object();
    add_text(record, "event", "error");
    add_text(record, "message", message);
    json_object_object_add(record, "code", json_object_new_int(error < 0 ? -error : error));
    json_object_object_add(record, "exit", json_object_new_int(exit_status));
    return record;
}
