/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/rounds.h"

#include "service/human.h"
#include "service/record.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

void pf_round_parse(struct json_object *json, struct pf_round *round)
{
#define NUMBER(key)                                                                                \
    {                                                                                              \
#key, offsetof(struct pf_round, key)                                                       \
    }
    static const struct {
        const char *key;
        size_t offset;
    } numbers[] = {
        NUMBER(number),
        NUMBER(began_us),
        NUMBER(duration_us),
        NUMBER(collect_us),
        NUMBER(dirty_bytes),
        NUMBER(sent_bytes),
        NUMBER(zero_pages),
        NUMBER(remaining_bytes),
        NUMBER(bandwidth_bytes_per_s),
        NUMBER(dirty_bytes_per_s),
        NUMBER(expected_downtime_us),
        NUMBER(throttle_percent),
    };
#undef NUMBER
    struct json_object *value = NULL;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        value = NULL;
        json_object_object_get_ex(json, numbers[i].key, &value);
        int64_t number = pf_record_number(value);
        memcpy((char *)round + numbers[i].offset, &number, sizeof number);
    }
    value = NULL;
    json_object_object_get_ex(json, "paused", &value);
    round->paused = json_object_get_boolean(value);
}

void pf_rounds_parse(struct json_object *json, struct pf_rounds *rounds)
{
    rounds->count = 0;
    if (!json_object_is_type(json, json_type_array))
        return;
    size_t length = json_object_array_length(json);
    for (size_t i = length > PF_ROUNDS_MAX ? length - PF_ROUNDS_MAX : 0; i < length; i++)
        pf_round_parse(json_object_array_get_idx(json, i), &rounds->list[rounds->count++]);
}

/* ---- for people ------------------------------------------------------------------------------ */

/* A cell's text, or "-" for what is not known. */
static const char *cell(int64_t value, void (*show)(int64_t, char *, size_t), char text[32])
{
    snprintf(text, 32, "-");
    if (value != PF_UNKNOWN)
        show(value, text, 32);
    return text;
}

static void show_number(int64_t value, char *out, size_t size)
{
    snprintf(out, size, "%" PRId64, value);
}

static void show_percent(int64_t value, char *out, size_t size)
{
    snprintf(out, size, "%" PRId64 " %%", value);
}

static void print_row(FILE *out, const struct pf_round *round)
{
    char text[9][32];
    fprintf(out, "%6s%c %10s %10s %10s %10s %10s %10s %10s %6s\n",
            cell(round->number, show_number, text[0]), round->paused ? '*' : ' ',
            cell(round->dirty_bytes, pf_human_bytes, text[1]),
            cell(round->sent_bytes, pf_human_bytes, text[2]),
            cell(round->duration_us, pf_human_time, text[3]),
            cell(round->remaining_bytes, pf_human_bytes, text[4]),
            cell(round->bandwidth_bytes_per_s, pf_human_rate, text[5]),
            cell(round->dirty_bytes_per_s, pf_human_rate, text[6]),
            cell(round->expected_downtime_us, pf_human_time, text[7]),
            cell(round->throttle_percent, show_percent, text[8]));
}

void pf_rounds_print(FILE *out, const struct pf_rounds *rounds)
{
    enum { SHOWN = 16 };
    unsigned first = rounds->count > SHOWN ? rounds->count - SHOWN : 0;
    bool paused = false;
    if (rounds->count == 0)
        return;
    fprintf(out, "%6s  %10s %10s %10s %10s %10s %10s %10s %6s\n", "round", "to send", "sent", "in",
            "left", "link", "dirtied", "downtime", "taken");
    if (first > 0)
        fprintf(out, "%6s  (%u before these: --json shows them)\n", "...", first);
    for (unsigned i = first; i < rounds->count; i++) {
        print_row(out, &rounds->list[i]);
        paused = paused || rounds->list[i].paused;
    }
    if (paused)
        fprintf(out, "%6s  the job stood still\n", "*");
}
