/* SPDX-License-Identifier: BSD-2-Clause */
/* How long threads were blocked: who waits for what, who ends it, and what is told of it. */
#include "core/arrival/blocked_report.h"

#include "base/clock.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MS 1000000ull

enum { REGION = 3 };

static struct pf_blocked *fresh(void)
{
    struct pf_blocked *blocked = calloc(1, sizeof *blocked);
    CU_ASSERT_PTR_NOT_NULL_FATAL(blocked);
    pf_blocked_reset(blocked);
    return blocked;
}

/* A wait that began so long ago: what it is counted as has a lower bound. */
static void begin(struct pf_blocked *blocked, uint32_t tid, size_t page, uint64_t ago_ns)
{
    pf_blocked_begin(blocked, tid, REGION, page, pf_now_ns() - ago_ns);
}

static void end(struct pf_blocked *blocked, size_t first, size_t pages)
{
    pf_blocked_end(blocked, REGION, (struct pf_run){first, pages});
}

static uint64_t latencies(const struct pf_blocked *blocked)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS; i++)
        count += blocked->latency.cells[i];
    return count;
}

static void each_thread_that_waits_counts(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 10, 7, 5 * MS);
    begin(blocked, 11, 7, 3 * MS);
    begin(blocked, 12, 8, 1 * MS);
    end(blocked, 0, 7);
    pf_blocked_end(blocked, REGION + 1, (struct pf_run){0, 100});
    CU_ASSERT_EQUAL(latencies(blocked), 0);
    end(blocked, 7, 1);
    CU_ASSERT_EQUAL(latencies(blocked), 2);
    CU_ASSERT_EQUAL(blocked->waiting, 1);
    CU_ASSERT(blocked->rows[0].tid == 10 && blocked->rows[0].total_ns >= 5 * MS);
    CU_ASSERT(blocked->rows[1].tid == 11 && blocked->rows[1].total_ns >= 3 * MS);
    CU_ASSERT_EQUAL(blocked->rows[2].total_ns, 0);
    end(blocked, 0, 100);
    CU_ASSERT(blocked->rows[2].total_ns >= 1 * MS);
    CU_ASSERT_EQUAL(blocked->waiting, 0);
    end(blocked, 0, 100); /* nobody waits any more */
    CU_ASSERT_EQUAL(latencies(blocked), 3);
    free(blocked);
}

static void sums_and_maxima(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 10, 1, 9 * MS);
    end(blocked, 1, 1);
    begin(blocked, 10, 2, 2 * MS);
    end(blocked, 2, 1);
    pf_blocked_settled(blocked, 10, 1 * MS);
    const struct pf_blocked_row *row = &blocked->rows[0];
    CU_ASSERT_EQUAL(blocked->count, 1);
    CU_ASSERT_EQUAL(row->faults, 3);
    CU_ASSERT(row->total_ns >= 12 * MS);
    CU_ASSERT(row->max_ns >= 9 * MS && row->max_ns < row->total_ns);
    CU_ASSERT_EQUAL(latencies(blocked), 3);
    free(blocked);
}

/* Below a microsecond, and then by doublings. */
static void each_thread_has_a_histogram(void)
{
    struct pf_blocked *blocked = fresh();
    pf_blocked_settled(blocked, 10, 999);
    pf_blocked_settled(blocked, 10, 1000);
    pf_blocked_settled(blocked, 10, 1999);
    pf_blocked_settled(blocked, 10, 2000);
    pf_blocked_settled(blocked, 10, UINT64_MAX / 2);
    const struct pf_blocked_row *row = &blocked->rows[0];
    CU_ASSERT_EQUAL(row->cells[0], 1);
    CU_ASSERT_EQUAL(row->cells[1], 2);
    CU_ASSERT_EQUAL(row->cells[2], 1);
    CU_ASSERT_EQUAL(row->cells[PF_BLOCKED_CELLS - 1], 1);
    CU_ASSERT_EQUAL(pf_blocked_cell_from_us(0), 0);
    CU_ASSERT_EQUAL(pf_blocked_cell_from_us(2), 2);
    free(blocked);
}

/* A thread that faults again runs: the wait before has ended, whether or not anyone said so. */
static void next_fault_ends_the_last_wait(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 10, 1, 4 * MS);
    begin(blocked, 10, 2, 1 * MS);
    CU_ASSERT_EQUAL(blocked->waiting, 1);
    CU_ASSERT_EQUAL(latencies(blocked), 1);
    end(blocked, 1, 1); /* too late */
    CU_ASSERT_EQUAL(latencies(blocked), 1);
    end(blocked, 2, 1);
    CU_ASSERT_EQUAL(latencies(blocked), 2);
    free(blocked);
}

/* Woken without the page (an event was in the way), it faults on it again: one wait all along. */
static void same_fault_again_is_one_wait(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 10, 1, 4 * MS);
    begin(blocked, 10, 1, 1 * MS);
    CU_ASSERT_EQUAL(blocked->waiting, 1);
    end(blocked, 1, 1);
    CU_ASSERT_EQUAL(latencies(blocked), 1);
    CU_ASSERT_EQUAL(blocked->rows[0].faults, 2);
    CU_ASSERT(blocked->rows[0].total_ns >= 4 * MS);
    free(blocked);
}

static void threads_beyond_the_table_share_a_row(void)
{
    struct pf_blocked *blocked = fresh();
    const struct pf_blocked_row *others = &blocked->rows[PF_BLOCKED_OTHERS];
    enum { MORE = PF_BLOCKED_STRAYS + 5 };
    for (uint32_t i = 0; i < PF_BLOCKED_THREADS + MORE; i++)
        begin(blocked, 100 + i * 64, i, MS);
    CU_ASSERT_EQUAL(blocked->count, PF_BLOCKED_THREADS);
    CU_ASSERT_EQUAL(others->faults, MORE);
    CU_ASSERT_EQUAL(others->tid, 0);
    end(blocked, 0, PF_BLOCKED_THREADS + MORE);
    CU_ASSERT_EQUAL(blocked->waiting, 0);
    /* More of them at a time than there is room for are counted, not timed. */
    CU_ASSERT_EQUAL(latencies(blocked), PF_BLOCKED_THREADS + PF_BLOCKED_STRAYS);
    CU_ASSERT(others->total_ns >= PF_BLOCKED_STRAYS * MS);
    for (uint32_t i = 0; i < PF_BLOCKED_THREADS; i++)
        CU_ASSERT_EQUAL(blocked->rows[i].faults, 1);
    free(blocked);
}

/* A kernel that gives no thread id. */
static void nameless_threads_share_a_row(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 0, 1, MS);
    begin(blocked, 0, 2, MS);
    end(blocked, 1, 2);
    CU_ASSERT_EQUAL(blocked->count, 0);
    CU_ASSERT_EQUAL(blocked->rows[PF_BLOCKED_OTHERS].faults, 2);
    CU_ASSERT(blocked->rows[PF_BLOCKED_OTHERS].total_ns >= 2 * MS);
    free(blocked);
}

static void time_when_all_were_blocked(void)
{
    struct pf_blocked *blocked = fresh();
    begin(blocked, 10, 1, 8 * MS); /* the only one known: all */
    begin(blocked, 11, 2, 2 * MS); /* now both, since then */
    end(blocked, 1, 1);
    uint64_t all = blocked->all_ns;
    CU_ASSERT(all >= 2 * MS && all < 8 * MS);
    end(blocked, 2, 1); /* the other one ran meanwhile */
    CU_ASSERT_EQUAL(blocked->all_ns, all);
    begin(blocked, 10, 3, MS);
    end(blocked, 3, 1);
    CU_ASSERT_EQUAL(blocked->all_ns, all);
    free(blocked);
}

/* ---- many threads at once -------------------------------------------------------------------- */

enum { RACE_THREADS = 4, RACE_FAULTS = 4000, RACE_PLACERS = 2 };

/* A fault thread and placers as they share an arrival's set of missing pages. */
struct race {
    struct pf_blocked *blocked;
    struct pf_pageset missing;
};

static void *place_all(void *arg)
{
    struct race *race = arg;
    struct pf_run run;
    while ((run = pf_pageset_next_upto(&race->missing, 0, 1)).pages > 0)
        if (pf_pageset_remove(&race->missing, run.first))
            pf_blocked_end(race->blocked, REGION, (struct pf_run){run.first, 1});
    return NULL;
}

static void fault_on(struct race *race, uint32_t tid, size_t page)
{
    if (!pf_pageset_has(&race->missing, page))
        return;
    pf_blocked_begin(race->blocked, tid, REGION, page, pf_now_ns());
    if (!pf_pageset_has(&race->missing, page))
        pf_blocked_end(race->blocked, REGION, (struct pf_run){page, 1});
}

/* Whoever of the two comes first: no wait is left over once all pages are there. */
static void no_wait_is_left_over(void)
{
    struct race race = {.blocked = fresh()};
    pthread_t placers[RACE_PLACERS];
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&race.missing, RACE_FAULTS), 0);
    pf_pageset_add_run(&race.missing, (struct pf_run){0, RACE_FAULTS});
    for (unsigned i = 0; i < RACE_PLACERS; i++)
        pthread_create(&placers[i], NULL, place_all, &race);
    for (size_t page = 0; page < RACE_FAULTS; page++)
        fault_on(&race, 10 + page % RACE_THREADS, page);
    for (unsigned i = 0; i < RACE_PLACERS; i++)
        pthread_join(placers[i], NULL);
    uint64_t faults = 0;
    for (unsigned i = 0; i < race.blocked->count; i++)
        faults += race.blocked->rows[i].faults;
    CU_ASSERT_EQUAL(race.blocked->waiting, 0);
    CU_ASSERT_EQUAL(latencies(race.blocked), faults);
    pf_pageset_free(&race.missing);
    free(race.blocked);
}

/* ---- what is told ---------------------------------------------------------------------------- */

static void names_are_found(void)
{
    struct pf_blocked *blocked = fresh();
    char name[PF_BLOCKED_NAME];
    pf_blocked_settled(blocked, (uint32_t)syscall(SYS_gettid), MS);
    pf_blocked_settled(blocked, UINT32_MAX, MS); /* has ended */
    pf_blocked_find_names(blocked);
    pf_blocked_name(&blocked->rows[0], name);
    CU_ASSERT_STRING_EQUAL(name, "unit_blocked");
    pf_blocked_name(&blocked->rows[1], name);
    CU_ASSERT_STRING_EQUAL(name, "");
    free(blocked);
}

static uint8_t message[16384];

static void goes_over_the_wire(void)
{
    struct pf_blocked *here = fresh();
    struct pf_blocked *there = fresh();
    for (uint32_t tid = 1; tid <= PF_BLOCKED_THREADS + 1; tid++)
        pf_blocked_settled(here, tid, tid * 1000);
    pf_blocked_set_name(&here->rows[0], "fifteen letters and more");
    unsigned at = 0;
    unsigned messages = 0;
    bool more = true;
    for (; more && messages < 10; messages++) {
        struct pf_wire rows = pf_wire_over(message, sizeof message - 16);
        more = pf_blocked_put_threads(&rows, here, &at);
        CU_ASSERT_FALSE_FATAL(rows.bad);
        rows = pf_wire_over(message, (size_t)(rows.at - message));
        pf_blocked_get_threads(&rows, there);
        CU_ASSERT(!rows.bad && rows.at == rows.end);
    }
    CU_ASSERT(messages > 1 && messages < 5);
    struct pf_wire wire;
    wire = pf_wire_over(message, sizeof message);
    pf_blocked_put_latency(&wire, here);
    wire = pf_wire_over(message, (size_t)(wire.at - message));
    pf_blocked_get_latency(&wire, there);
    CU_ASSERT(!wire.bad && wire.at == wire.end);
    struct json_object *one = json_object_new_object();
    struct json_object *other = json_object_new_object();
    pf_blocked_add_json(one, here);
    pf_blocked_add_json(other, there);
    CU_ASSERT_STRING_EQUAL(json_object_to_json_string(one), json_object_to_json_string(other));
    CU_ASSERT_PTR_NOT_NULL(strstr(json_object_to_json_string(one), "\"fifteen letters\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(json_object_to_json_string(one), "\"other\""));
    json_object_put(one);
    json_object_put(other);
    free(here);
    free(there);
}

/* The fullest there can be. */
static void every_cell_fits_in_a_message(void)
{
    struct pf_blocked *blocked = fresh();
    for (unsigned i = 0; i < PF_HISTOGRAM_CELLS; i++)
        blocked->latency.cells[i] = 1;
    struct pf_wire wire = pf_wire_over(message, sizeof message - 16);
    pf_blocked_put_latency(&wire, blocked);
    CU_ASSERT_FALSE(wire.bad);
    free(blocked);
}

static void nonsense_is_refused(void)
{
    struct pf_blocked *blocked = fresh();
    struct pf_wire wire = pf_wire_over(message, 64);
    pf_put_u64(&wire, 0);
    pf_put_u32(&wire, PF_BLOCKED_THREADS + 1);
    wire = pf_wire_over(message, 64);
    pf_blocked_get_threads(&wire, blocked);
    CU_ASSERT_TRUE(wire.bad);
    wire = pf_wire_over(message, 64);
    pf_put_u64(&wire, 0);
    pf_put_u32(&wire, 2);
    pf_put_u32(&wire, 0); /* and less than a row */
    wire = pf_wire_over(message, 64);
    pf_blocked_get_threads(&wire, blocked);
    CU_ASSERT_TRUE(wire.bad);
    CU_ASSERT_EQUAL(blocked->count, 0);
    wire = pf_wire_over(message, 12);
    pf_put_u32(&wire, PF_HISTOGRAM_CELLS);
    pf_put_u64(&wire, 1);
    wire = pf_wire_over(message, 12);
    pf_blocked_get_latency(&wire, blocked);
    CU_ASSERT_TRUE(wire.bad);
    free(blocked);
}

static void nothing_counted_says_nothing(void)
{
    struct pf_blocked *blocked = fresh();
    struct json_object *record = json_object_new_object();
    pf_blocked_settled(blocked, 5, 1000);
    pf_blocked_reset(blocked);
    pf_blocked_add_json(record, blocked);
    CU_ASSERT_EQUAL(json_object_object_length(record), 0);
    json_object_put(record);
    free(blocked);
}

static void buckets_are_seamless(void)
{
    struct pf_blocked *blocked = fresh();
    for (uint64_t ns = 1000; ns < 2000; ns++)
        pf_blocked_settled(blocked, 5, ns);
    struct json_object *record = json_object_new_object();
    struct json_object *latency;
    struct json_object *buckets;
    pf_blocked_add_json(record, blocked);
    json_object_object_get_ex(record, "latency", &latency);
    json_object_object_get_ex(latency, "buckets", &buckets);
    uint64_t count = 0;
    double end_us = 0;
    for (size_t i = 0; i < json_object_array_length(buckets); i++) {
        struct json_object *bucket = json_object_array_get_idx(buckets, i);
        double from = json_object_get_double(json_object_array_get_idx(bucket, 0));
        if (i > 0)
            CU_ASSERT_DOUBLE_EQUAL(from, end_us, 1e-9);
        end_us = json_object_get_double(json_object_array_get_idx(bucket, 1));
        CU_ASSERT(end_us > from);
        count += json_object_get_uint64(json_object_array_get_idx(bucket, 2));
    }
    CU_ASSERT_EQUAL(count, 1000);
    CU_ASSERT(end_us >= 2 && end_us < 2.5);
    json_object_put(record);
    free(blocked);
}

static double mark(struct json_object *latency, const char *key)
{
    struct json_object *value = NULL;
    CU_ASSERT_TRUE(json_object_object_get_ex(latency, key, &value));
    return json_object_get_double(value);
}

/* 33 us fall in a cell that ends later. */
static void no_share_is_above_the_longest(void)
{
    struct pf_blocked *blocked = fresh();
    struct json_object *record = json_object_new_object();
    struct json_object *latency;
    pf_blocked_settled(blocked, 5, 33000);
    CU_ASSERT(pf_histogram_us(&blocked->latency, 0.5) > 33);
    pf_blocked_add_json(record, blocked);
    json_object_object_get_ex(record, "latency", &latency);
    CU_ASSERT_DOUBLE_EQUAL(mark(latency, "max_us"), 33, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(mark(latency, "p50_us"), 33, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(mark(latency, "p999_us"), 33, 1e-9);
    json_object_put(record);
    free(blocked);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"each_thread_that_waits_counts", each_thread_that_waits_counts},
        {"sums_and_maxima", sums_and_maxima},
        {"each_thread_has_a_histogram", each_thread_has_a_histogram},
        {"next_fault_ends_the_last_wait", next_fault_ends_the_last_wait},
        {"same_fault_again_is_one_wait", same_fault_again_is_one_wait},
        {"threads_beyond_the_table_share_a_row", threads_beyond_the_table_share_a_row},
        {"nameless_threads_share_a_row", nameless_threads_share_a_row},
        {"time_when_all_were_blocked", time_when_all_were_blocked},
        {"no_wait_is_left_over", no_wait_is_left_over},
        {"names_are_found", names_are_found},
        {"goes_over_the_wire", goes_over_the_wire},
        {"every_cell_fits_in_a_message", every_cell_fits_in_a_message},
        {"nonsense_is_refused", nonsense_is_refused},
        {"nothing_counted_says_nothing", nothing_counted_says_nothing},
        {"buckets_are_seamless", buckets_are_seamless},
        {"no_share_is_above_the_longest", no_share_is_above_the_longest},
        {NULL, NULL},
    };
    return pf_suite_run("blocked", tests, argc > 1 ? argv[1] : NULL);
}
