/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job_record.h"

#include "base/clock.h"
#include "core/blocked_report.h"
#include "core/job.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void add_text(struct json_object *record, const char *key, const char *text)
{
    json_object_object_add(record, key, json_object_new_string(text));
}

static void add_number(struct json_object *record, const char *key, uint64_t number)
{
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
    /* Too long to be repeated with each record of progress. */
    if (strcmp(event, "progress") != 0)
        pf_blocked_add_json(record, &job->blocked);
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
