/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/record.h"

#include "core/exit_status.h"
#include "service/human.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIELD(member, member_kind, text_size, needed)                                              \
    {                                                                                              \
        .key = #member, .offset = offsetof(struct pf_record, member), .size = (text_size),         \
        .needs = (needed), .kind = (member_kind)                                                   \
    }
#define TEXT(member)          FIELD(member, PF_FIELD_TEXT, sizeof(((struct pf_record *)0)->member), 0)
#define NUMBER(member, kind)  FIELD(member, kind, 0, 0)
#define PRECOPY(member, kind) FIELD(member, kind, 0, offsetof(struct pf_record, round))
/* 0: there is none, or nobody can tell. */
#define ESTIMATE(member, kind) FIELD(member, kind, 0, offsetof(struct pf_record, member))
#define SHORTER(member, kind)  FIELD(member, kind, 0, offsetof(struct pf_record, saved_bytes))
#define PART(member)           FIELD(member, PF_FIELD_TIME, 0, offsetof(struct pf_record, downtime_us))

const struct pf_field pf_record_fields[] = {
    TEXT(name),
    NUMBER(pid, PF_FIELD_COUNT),
    TEXT(role),
    TEXT(state),
    TEXT(failure),
    TEXT(uri),
    TEXT(transport),
    TEXT(placement),
    NUMBER(total_bytes, PF_FIELD_BYTES),
    NUMBER(sent_bytes, PF_FIELD_BYTES),
    NUMBER(received_bytes, PF_FIELD_BYTES),
    NUMBER(remaining_bytes, PF_FIELD_BYTES),
    NUMBER(bytes_per_second, PF_FIELD_RATE),
    NUMBER(normal_pages, PF_FIELD_COUNT),
    NUMBER(zero_pages, PF_FIELD_COUNT),
    NUMBER(faults, PF_FIELD_COUNT),
    NUMBER(requests, PF_FIELD_COUNT),
    NUMBER(duplicates, PF_FIELD_COUNT),
    NUMBER(prefetched_pages, PF_FIELD_COUNT),
    NUMBER(prefetch_useful_pages, PF_FIELD_COUNT),
    NUMBER(prefetch_useless_pages, PF_FIELD_COUNT),
    NUMBER(service_p50_us, PF_FIELD_TIME),
    NUMBER(service_p99_us, PF_FIELD_TIME),
    NUMBER(service_p999_us, PF_FIELD_TIME),
    TEXT(tracker),
    TEXT(pinned),
    TEXT(fewer_bytes),
    TEXT(throttled),
    PRECOPY(round, PF_FIELD_COUNT),
    ESTIMATE(precopy_bytes, PF_FIELD_BYTES),
    FIELD(dirty_bytes_per_s, PF_FIELD_RATE, 0, offsetof(struct pf_record, bandwidth_bytes_per_s)),
    ESTIMATE(bandwidth_bytes_per_s, PF_FIELD_RATE),
    ESTIMATE(expected_downtime_us, PF_FIELD_TIME),
    ESTIMATE(eta_ms, PF_FIELD_TIME_MS),
    PRECOPY(throttle_percent, PF_FIELD_COUNT),
    SHORTER(saved_bytes, PF_FIELD_BYTES),
    SHORTER(xbzrle_pages, PF_FIELD_COUNT),
    SHORTER(xbzrle_bytes, PF_FIELD_BYTES),
    SHORTER(xbzrle_misses, PF_FIELD_COUNT),
    SHORTER(xbzrle_overflows, PF_FIELD_COUNT),
    SHORTER(compressed_pages, PF_FIELD_COUNT),
    SHORTER(compressed_bytes, PF_FIELD_BYTES),
    NUMBER(downtime_us, PF_FIELD_TIME),
    PART(pause_us),
    PART(scan_us),
    PART(rest_us),
    PART(discard_us),
    PART(state_us),
    PART(listen_us),
    PART(resume_us),
    NUMBER(total_us, PF_FIELD_TIME),
    TEXT(message),
    NUMBER(code, PF_FIELD_HIDDEN),
    NUMBER(exit, PF_FIELD_HIDDEN),
    {.key = NULL},
};

/* A job's text goes to a terminal, which would obey control characters. */
static void copy_text(struct json_object *json, char *out, size_t size)
{
    out[0] = '\0';
    if (!json_object_is_type(json, json_type_string))
        return;
    snprintf(out, size, "%s", json_object_get_string(json));
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

int64_t pf_record_number(struct json_object *json)
{
    if (json_object_is_type(json, json_type_int)) {
        int64_t value = json_object_get_int64(json);
        return value >= 0 ? value : PF_UNKNOWN;
    }
    if (json_object_is_type(json, json_type_double)) {
        double value = json_object_get_double(json);
        return isfinite(value) && value >= 0 && value < 9e18 ? (int64_t)llround(value) : PF_UNKNOWN;
    }
    return PF_UNKNOWN;
}

static enum pf_event event_of(struct json_object *json)
{
    static const struct {
        const char *word;
        enum pf_event event;
    } events[] = {
        {"status", PF_EVENT_STATUS}, {"progress", PF_EVENT_PROGRESS}, {"round", PF_EVENT_ROUND},
        {"done", PF_EVENT_DONE},     {"error", PF_EVENT_ERROR},
    };
    struct json_object *value = NULL;
    json_object_object_get_ex(json, "event", &value);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (json_object_is_type(value, json_type_string) &&
            strcmp(json_object_get_string(value), events[i].word) == 0)
            return events[i].event;
    return PF_EVENT_OTHER;
}

static struct json_object *member_of(struct json_object *json, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(json, key, &value);
    return value;
}

static void parse_rails(struct json_object *json, struct pf_record *record)
{
    struct json_object *rails = member_of(json, "rails");
    if (!json_object_is_type(rails, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(rails) && i < PF_URIS_MAX; i++) {
        struct json_object *from = json_object_array_get_idx(rails, i);
        struct pf_rail_record *rail = &record->rails[record->rail_count++];
        copy_text(member_of(from, "uri"), rail->uri, sizeof rail->uri);
        copy_text(member_of(from, "nic"), rail->nic, sizeof rail->nic);
        copy_text(member_of(from, "placement"), rail->placement, sizeof rail->placement);
        rail->node = pf_record_number(member_of(from, "node"));
        rail->bytes = pf_record_number(member_of(from, "bytes"));
        rail->alive = json_object_get_boolean(member_of(from, "alive"));
    }
}

void pf_record_parse(struct json_object *json, struct pf_record *record)
{
    memset(record, 0, sizeof *record);
    record->event = event_of(json);
    parse_rails(json, record);
    if (record->event == PF_EVENT_ROUND)
        pf_round_parse(json, &record->rounds.list[record->rounds.count++]);
    else
        pf_rounds_parse(member_of(json, "rounds"), &record->rounds);
    for (const struct pf_field *field = pf_record_fields; field->key; field++) {
        struct json_object *value = NULL;
        char *member = (char *)record + field->offset;
        json_object_object_get_ex(json, field->key, &value);
        if (field->kind == PF_FIELD_TEXT)
            copy_text(value, member, field->size);
        else
            *(int64_t *)(void *)member = pf_record_number(value);
    }
}

void pf_record_show(const struct pf_record *record, const struct pf_field *field, char *out,
                    size_t size)
{
    const char *member = (const char *)record + field->offset;
    out[0] = '\0';
    if (field->kind == PF_FIELD_TEXT) {
        snprintf(out, size, "%s", member);
        return;
    }
    int64_t value;
    memcpy(&value, member, sizeof value);
    int64_t needed = 1;
    if (field->needs)
        memcpy(&needed, (const char *)record + field->needs, sizeof needed);
    if (value == PF_UNKNOWN || field->kind == PF_FIELD_HIDDEN || needed <= 0)
        return;
    if (field->kind == PF_FIELD_BYTES)
        pf_human_bytes(value, out, size);
    else if (field->kind == PF_FIELD_RATE)
        pf_human_rate(value, out, size);
    else if (field->kind == PF_FIELD_TIME)
        pf_human_time(value, out, size);
    else if (field->kind == PF_FIELD_TIME_MS)
        pf_human_time(value < INT64_MAX / 1000 ? value * 1000 : INT64_MAX, out, size);
    else
        snprintf(out, size, "%" PRId64, value);
}

void pf_rail_record_show(const struct pf_rail_record *rail, char *out, size_t size)
{
    char bytes[32] = "";
    char node[32] = "of unknown node";
    if (rail->bytes != PF_UNKNOWN)
        pf_human_bytes(rail->bytes, bytes, sizeof bytes);
    if (rail->node != PF_UNKNOWN)
        snprintf(node, sizeof node, "on node %" PRId64, rail->node);
    snprintf(out, size, "%s, %s, %s, NIC %s %s, %s", rail->uri, rail->alive ? "up" : "broken",
             bytes, rail->nic[0] ? rail->nic : "unknown", node, rail->placement);
}

struct json_object *pf_record_error(const char *message, int code, int exit_status)
{
    struct json_object *record = json_object_new_object();
    json_object_object_add(record, "event", json_object_new_string("error"));
    json_object_object_add(record, "message", json_object_new_string(message));
    json_object_object_add(record, "code", json_object_new_int(code));
    json_object_object_add(record, "exit", json_object_new_int(exit_status));
    return record;
}

int pf_record_exit(const struct pf_record *record)
{
    if (record->event != PF_EVENT_ERROR)
        return PF_EXIT_OK;
    return record->exit > 0 && record->exit < 256 ? (int)record->exit : PF_EXIT_FAILED;
}
