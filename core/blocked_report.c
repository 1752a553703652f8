/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/blocked_report.h"

#include <stdio.h>
#include <string.h>

enum { CELL_BYTES = 12 };

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void store(_Atomic uint64_t *to, uint64_t value)
{
    atomic_store_explicit(to, value, memory_order_relaxed);
}

static unsigned rows_in_use(const struct pf_blocked *blocked)
{
    return atomic_load_explicit(&blocked->count, memory_order_acquire);
}

/* ---- over the wire --------------------------------------------------------------------------- */

static void put_row(struct pf_wire *payload, const struct pf_blocked_row *row)
{
    char name[PF_BLOCKED_NAME];
    pf_blocked_name(row, name);
    pf_put_u32(payload, atomic_load_explicit(&row->tid, memory_order_relaxed));
    pf_put_bytes(payload, name, sizeof name);
    pf_put_u64(payload, load(&row->faults));
    pf_put_u64(payload, load(&row->total_ns));
    pf_put_u64(payload, load(&row->max_ns));
}

static void get_row(struct pf_wire *payload, struct pf_blocked_row *row)
{
    char name[PF_BLOCKED_NAME] = "";
    atomic_store_explicit(&row->tid, pf_get_u32(payload), memory_order_relaxed);
    pf_get_bytes(payload, name, sizeof name);
    pf_blocked_set_name(row, name);
    store(&row->faults, pf_get_u64(payload));
    store(&row->total_ns, pf_get_u64(payload));
    store(&row->max_ns, pf_get_u64(payload));
}

void pf_blocked_put_threads(struct pf_wire *payload, const struct pf_blocked *blocked)
{
    unsigned count = rows_in_use(blocked);
    pf_put_u64(payload, load(&blocked->all_ns));
    pf_put_u32(payload, count);
    put_row(payload, &blocked->rows[PF_BLOCKED_OTHERS]);
    for (unsigned i = 0; i < count; i++)
        put_row(payload, &blocked->rows[i]);
}

void pf_blocked_get_threads(struct pf_wire *payload, struct pf_blocked *blocked)
{
    store(&blocked->all_ns, pf_get_u64(payload));
    uint32_t count = pf_get_u32(payload);
    if (count > PF_BLOCKED_THREADS) {
        payload->bad = true;
        return;
    }
    get_row(payload, &blocked->rows[PF_BLOCKED_OTHERS]);
    for (uint32_t i = 0; i < count; i++)
        get_row(payload, &blocked->rows[i]);
    if (!payload->bad)
        atomic_store_explicit(&blocked->count, count, memory_order_release);
}

void pf_blocked_put_latency(struct pf_wire *payload, const struct pf_blocked *blocked)
{
    for (uint32_t i = 0; i < PF_HISTOGRAM_CELLS; i++) {
        uint64_t count = load(&blocked->latency.cells[i]);
        if (count == 0)
            continue;
        pf_put_u32(payload, i);
        pf_put_u64(payload, count);
    }
}

void pf_blocked_get_latency(struct pf_wire *payload, struct pf_blocked *blocked)
{
    while (!payload->bad && payload->end - payload->at >= CELL_BYTES) {
        uint32_t cell = pf_get_u32(payload);
        uint64_t count = pf_get_u64(payload);
        if (cell < PF_HISTOGRAM_CELLS)
            store(&blocked->latency.cells[cell], count);
        else
            payload->bad = true;
    }
}

/* ---- in JSON --------------------------------------------------------------------------------- */

static struct json_object *microseconds(uint64_t ns)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.3f", (double)ns / 1000);
    return json_object_new_double_s((double)ns / 1000, digits);
}

static struct json_object *row_json(const struct pf_blocked_row *row, const char *name)
{
    struct json_object *thread = json_object_new_object();
    json_object_object_add(thread, "tid", json_object_new_int64((int64_t)atomic_load(&row->tid)));
    json_object_object_add(thread, "name", json_object_new_string(name));
    json_object_object_add(thread, "faults", json_object_new_uint64(load(&row->faults)));
    json_object_object_add(thread, "blocked_us", microseconds(load(&row->total_ns)));
    json_object_object_add(thread, "max_us", microseconds(load(&row->max_ns)));
    return thread;
}

static struct json_object *threads_json(const struct pf_blocked *blocked)
{
    struct json_object *threads = json_object_new_array();
    const struct pf_blocked_row *others = &blocked->rows[PF_BLOCKED_OTHERS];
    for (unsigned i = 0; i < rows_in_use(blocked); i++) {
        char name[PF_BLOCKED_NAME];
        pf_blocked_name(&blocked->rows[i], name);
        json_object_array_add(threads, row_json(&blocked->rows[i], name));
    }
    if (load(&others->faults) > 0)
        json_object_array_add(threads, row_json(others, "other"));
    return threads;
}

/* [from, to, count] in microseconds, four to a doubling; empty ones are left out. */
static struct json_object *buckets_json(const struct pf_histogram *histogram)
{
    enum { MERGED = PF_HISTOGRAM_SUB / 4 };
    struct json_object *buckets = json_object_new_array();
    for (unsigned first = 0; first < PF_HISTOGRAM_CELLS; first += MERGED) {
        uint64_t count = 0;
        for (unsigned i = 0; i < MERGED; i++)
            count += load(&histogram->cells[first + i]);
        if (count == 0)
            continue;
        struct json_object *bucket = json_object_new_array_ext(3);
        json_object_array_add(bucket, microseconds(pf_histogram_from(first)));
        json_object_array_add(bucket, microseconds(pf_histogram_from(first + MERGED)));
        json_object_array_add(bucket, json_object_new_uint64(count));
        json_object_array_add(buckets, bucket);
    }
    return buckets;
}

static struct json_object *latency_json(const struct pf_histogram *histogram)
{
    static const struct {
        const char *key;
        double share;
    } marks[] = {
        {"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1}};
    struct json_object *latency = json_object_new_object();
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        double us = pf_histogram_us(histogram, marks[i].share);
        json_object_object_add(latency, marks[i].key, microseconds((uint64_t)(us * 1000)));
    }
    json_object_object_add(latency, "buckets", buckets_json(histogram));
    return latency;
}

void pf_blocked_add_json(struct json_object *record, const struct pf_blocked *blocked)
{
    if (rows_in_use(blocked) == 0 && load(&blocked->rows[PF_BLOCKED_OTHERS].faults) == 0)
        return;
    json_object_object_add(record, "threads", threads_json(blocked));
    json_object_object_add(record, "all_blocked_us", microseconds(load(&blocked->all_ns)));
    json_object_object_add(record, "latency", latency_json(&blocked->latency));
}
