/* SPDX-License-Identifier: BSD-2-Clause */
/* The rounds of pre-copy in a record, and as a table for people. */
#ifndef PF_SERVICE_ROUNDS_H
#define PF_SERVICE_ROUNDS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { PF_ROUNDS_MAX = 64 };

/* Numbers are never negative, or PF_UNKNOWN. */
struct pf_round {
    int64_t number, began_us, duration_us, collect_us;
    int64_t dirty_bytes, sent_bytes, zero_pages, remaining_bytes;
    int64_t bandwidth_bytes_per_s, dirty_bytes_per_s, expected_downtime_us, throttle_percent;
    bool paused;
};

struct pf_rounds {
    struct pf_round list[PF_ROUNDS_MAX];
    unsigned count;
};

/* Of one JSON object; a key that is missing or odd is unknown. */
void pf_round_parse(struct json_object *json, struct pf_round *round);

/* Of an array, the last ones if there are too many; of anything else none. */
void pf_rounds_parse(struct json_object *json, struct pf_rounds *rounds);

/* A table with a line for each of the last rounds; nothing if there are none. */
void pf_rounds_print(FILE *out, const struct pf_rounds *rounds);

#endif
