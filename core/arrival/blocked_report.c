/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/blocked_report.h"

#include <stdio.h>
#include <string.h>

enum { CELL_BYTES = 12, ROW_BYTES = 4 + PF_BLOCKED_NAME + 3 * 8 + PF_BLOCKED_CELLS * 4 };

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
    for (unsigned i = 0; i < PF_BLOCKED_CELLS; i++)
        pf_put_u32(payload, atomic_load_explicit(&row->cells[i], memory_order_relaxed));
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
    for (unsigned i = 0; i < PF_BLOCKED_CELLS; i++)
        atomic_store_explicit(&row->cells[i], pf_get_u32(payload), memory_order_relaxed);
}

/* On the wire the row of the others is number 0, and the threads' follow. */
static unsigned place_of(unsigned number)
{
    return number > 0 ? number - 1 : PF_BLOCKED_OTHERS;
}

bool pf_blocked_put_threads(struct pf_wire *payload, const struct pf_blocked *blocked, unsigned *at)
{
    unsigned count = rows_in_use(blocked);
    pf_put_u64(payload, load(&blocked->all_ns));
    pf_put_u32(payload, count);
    pf_put_u32(payload, *at);
    while (*at <= count && payload->end - payload->at >= ROW_BYTES)
        put_row(payload, &blocked->rows[place_of((*at)++)]);
    return *at <= count;
}

void pf_blocked_get_threads(struct pf_wire *payload, struct pf_blocked *blocked)
{
    store(&blocked->all_ns, pf_get_u64(payload));
    uint32_t count = pf_get_u32(payload);
    uint32_t number = pf_get_u32(payload);
    if (count > PF_BLOCKED_THREADS)
        payload->bad = true;
    while (!payload->bad && number <= count && payload->at < payload->end)
        get_row(payload, &blocked->rows[place_of(number++)]);
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

/* [from, to, count] in microseconds. */
static struct json_object *bucket_json(uint64_t from_ns, uint64_t to_ns, uint64_t count)
{
    struct json_object *bucket = json_object_new_array_ext(3);
    json_object_array_add(bucket, microseconds(from_ns));
    json_object_array_add(bucket, microseconds(to_ns));
    json_object_array_add(bucket, json_object_new_uint64(count));
    return bucket;
}

static struct json_object *cells_json(const struct pf_blocked_row *row)
{
    struct json_object *buckets = json_object_new_array();
    for (unsigned i = 0; i < PF_BLOCKED_CELLS; i++) {
        uint32_t count = atomic_load_explicit(&row->cells[i], memory_order_relaxed);
        if (count > 0)
            json_object_array_add(buckets,
                                  bucket_json(pf_blocked_cell_from_us(i) * 1000,
                                              pf_blocked_cell_from_us(i + 1) * 1000, count));
    }
    return buckets;
}

static struct json_object *row_json(const struct pf_blocked_row *row, const char *name)
{
    struct json_object *thread = json_object_new_object();
    json_object_object_add(thread, "tid", json_object_new_int64((int64_t)atomic_load(&row->tid)));
    json_object_object_add(thread, "name", json_object_new_string(name));
    json_object_object_add(thread, "faults", json_object_new_uint64(load(&row->faults)));
    json_object_object_add(thread, "blocked_us", microseconds(load(&row->total_ns)));
    json_object_object_add(thread, "max_us", microseconds(load(&row->max_ns)));
    json_object_object_add(thread, "buckets", cells_json(row));
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

/* Four to a doubling, about equally wide on a logarithmic scale; empty ones are left out. */
static struct json_object *buckets_json(const struct pf_histogram *histogram)
{
    static const unsigned cuts[] = {0, 6, 13, 22, PF_HISTOGRAM_SUB};
    struct json_object *buckets = json_object_new_array();
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS / PF_HISTOGRAM_SUB * 4; i++) {
        unsigned power = i / 4 * PF_HISTOGRAM_SUB;
        unsigned first = power + cuts[i % 4];
        unsigned end = power + cuts[i % 4 + 1];
        uint64_t count = 0;
        for (unsigned cell = first; cell < end; cell++)
            count += load(&histogram->cells[cell]);
        if (count > 0)
            json_object_array_add(
                buckets, bucket_json(pf_histogram_from(first), pf_histogram_from(end), count));
    }
    return buckets;
}

static uint64_t longest_wait(const struct pf_blocked *blocked)
{
    uint64_t longest = load(&blocked->rows[PF_BLOCKED_OTHERS].max_ns);
    for (unsigned i = 0; i < rows_in_use(blocked); i++)
        if (load(&blocked->rows[i].max_ns) > longest)
            longest = load(&blocked->rows[i].max_ns);
    return longest;
}

static struct json_object *latency_json(const struct pf_blocked *blocked)
{
    const struct pf_histogram *histogram = &blocked->latency;
    static const struct {
        const char *key;
        double share;
    } marks[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    struct json_object *latency = json_object_new_object();
    uint64_t longest = longest_wait(blocked);
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        /* The histogram tells the end of a cell, which may lie above all that is in it. */
        uint64_t ns = (uint64_t)(pf_histogram_us(histogram, marks[i].share) * 1000);
        json_object_object_add(latency, marks[i].key, microseconds(ns < longest ? ns : longest));
    }
    json_object_object_add(latency, "max_us", microseconds(longest));
    json_object_object_add(latency, "buckets", buckets_json(histogram));
    return latency;
}

void pf_blocked_add_json(struct json_object *record, const struct pf_blocked *blocked)
{
    if (rows_in_use(blocked) == 0 && load(&blocked->rows[PF_BLOCKED_OTHERS].faults) == 0)
        return;
    json_object_object_add(record, "threads", threads_json(blocked));
    json_object_object_add(record, "all_blocked_us", microseconds(load(&blocked->all_ns)));
    json_object_object_add(record, "latency", latency_json(blocked));
}
