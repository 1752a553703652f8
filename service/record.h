/* SPDX-License-Identifier: BSD-2-Clause */
/* A record of a job, out of JSON into a struct. A key that is missing or odd is simply unknown. */
#ifndef PF_SERVICE_RECORD_H
#define PF_SERVICE_RECORD_H

#include "service/rounds.h"
#include "transport/uri_list.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pf_event {
    PF_EVENT_OTHER,
    PF_EVENT_STATUS,
    PF_EVENT_PROGRESS,
    PF_EVENT_ROUND,
    PF_EVENT_DONE,
    PF_EVENT_ERROR
};

enum { PF_UNKNOWN = -1, PF_RECORD_TEXT = 192 };

/* One rail of a migration. */
struct pf_rail_record {
    char uri[PF_URI_MAX];
    char nic[PF_RECORD_TEXT];
    char placement[PF_RECORD_TEXT];
    int64_t node, bytes; /* never negative, or PF_UNKNOWN */
    bool alive;
};

struct pf_record {
    enum pf_event event;
    struct pf_rail_record rails[PF_URIS_MAX];
    unsigned rail_count;
    struct pf_rounds rounds; /* of the latest migration; of a round's record that one */
    /* Safe to print: no control characters. Empty if unknown. */
    char name[PF_RECORD_TEXT];
    char role[PF_RECORD_TEXT];
    char state[PF_RECORD_TEXT];
    char uri[PF_URI_LIST_MAX];
    char transport[PF_RECORD_TEXT];
    char placement[PF_RECORD_TEXT];
    char tracker[PF_RECORD_TEXT];
    char pinned[PF_RECORD_TEXT];
    char fewer_bytes[PF_RECORD_TEXT];
    char throttled[PF_RECORD_TEXT];
    char message[2 * PF_RECORD_TEXT], failure[2 * PF_RECORD_TEXT];
    /* Never negative, or PF_UNKNOWN. */
    int64_t pid;
    int64_t code;
    int64_t exit;
    int64_t total_bytes;
    int64_t sent_bytes;
    int64_t remaining_bytes;
    int64_t received_bytes;
    int64_t bytes_per_second;
    int64_t faults;
    int64_t requests;
    int64_t duplicates;
    int64_t prefetched_pages, prefetch_useful_pages, prefetch_useless_pages;
    int64_t zero_pages;
    int64_t normal_pages;
    int64_t service_p50_us;
    int64_t service_p99_us;
    int64_t service_p999_us;
    int64_t round, precopy_bytes, dirty_bytes_per_s, bandwidth_bytes_per_s;
    int64_t expected_downtime_us, eta_ms, throttle_percent;
    int64_t saved_bytes, xbzrle_pages, xbzrle_bytes, xbzrle_misses, xbzrle_overflows;
    int64_t compressed_pages, compressed_bytes;
    int64_t downtime_us;
    int64_t pause_us, scan_us, rest_us, discard_us, state_us, listen_us, resume_us;
    int64_t total_us;
};

enum pf_field_kind {
    PF_FIELD_TEXT,
    PF_FIELD_COUNT,
    PF_FIELD_BYTES,
    PF_FIELD_RATE,
    PF_FIELD_TIME, /* microseconds */
    PF_FIELD_TIME_MS,
    PF_FIELD_HIDDEN, /* a number that is for programs */
};

/* One key of a record. */
struct pf_field {
    const char *key;
    size_t offset; /* in struct pf_record */
    size_t size;   /* of a text */
    size_t needs;  /* offset of another number, without which this one means nothing; 0: none */
    enum pf_field_kind kind;
};

/* In the order in which `status` shows them; ends with {NULL}. */
extern const struct pf_field pf_record_fields[];

/* A number of a record: PF_UNKNOWN if it is missing, odd or negative. */
int64_t pf_record_number(struct json_object *json);

void pf_record_parse(struct json_object *json, struct pf_record *record);

/* The value of a field for a person: "1.0 GiB", "17 us"; empty if it is unknown or hidden. */
void pf_record_show(const struct pf_record *record, const struct pf_field *field, char *out,
                    size_t size);

/* A rail in one line for a person, without its number. */
void pf_rail_record_show(const struct pf_rail_record *rail, char *out, size_t size);

/* An error record as a job would send it. The caller owns it. */
struct json_object *pf_record_error(const char *message, int code, int exit_status);

/* The exit status that a final record stands for. */
int pf_record_exit(const struct pf_record *record);

#endif
