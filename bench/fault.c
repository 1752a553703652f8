/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry bench fault`: what a thread of the job sees when it touches a page that is still at
 * the source, and what it is made of. Rounds of local faults, raw round trips and idle faults take
 * turns, so that a bad moment of the machine does not fall on one of them alone; percentiles are
 * those of all rounds' samples together. Then faults while the bulk lane runs.
 */
#include "bench/link.h"
#include "bench/local.h"
#include "bench/move.h"
#include "bench/touch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS = 5,
    SAMPLES_MAX = 1 << 17,
    LOCAL_MOST = 8192,
    TRIPS_MOST = 10000,
    IDLE_MOST = 16384, /* pages of one round's job: 64 MiB */
    IDLE_LEAST = 256,
    LOADED_ENOUGH = 10000, /* samples; at least LOADED_LEAST, if the time allows */
    LOADED_LEAST = 100,
    MOVES_MOST = 200,
    DEFAULT_BYTES = 256 << 20,
    HUGE_BYTES = 64 << 20,
    LOADED_FIRST_BYTES = 64 << 20,
};

#define LOADED_MOVE_NS 400000000ull /* a migration shorter than this gets a larger region */

/* The engine's own view, a value for each round. */
struct service {
    double service[ROUNDS], read[ROUNDS], request[ROUNDS], answer[ROUNDS], place[ROUNDS];
};

struct fault_bench {
    const struct pf_bench *bench;
    struct pf_peer peer;
    struct pf_link link;
    struct pf_samples local, raw, idle, loaded;
    struct service service;
    size_t bytes;
    unsigned moves; /* with the bulk lane */
    struct pf_why *why;
};

/* ---- idle
 * ------------------------------------------------------------------------------------------- */

/* Of huge pages there are few: they are faulted on with the bulk lane off, and that is all. */
static bool is_huge(const struct fault_bench *run)
{
    return run->bench->page_size != FERRY_PAGE_DEFAULT;
}

static uint64_t share(const struct fault_bench *run, double part)
{
    return (uint64_t)(run->bench->seconds * 1e9 * part);
}

static int measure_floor(struct fault_bench *run)
{
    const struct pf_options *options = &run->bench->engine;
    int error = pf_link_begin(&run->link, &run->peer);
    int failed = 0;
    if (!error)
        failed =
            pf_local_faults(options, &run->local, LOCAL_MOST, share(run, 0.1 / ROUNDS), run->why);
    if (!error)
        error = pf_link_round_trips(&run->link, &run->raw, TRIPS_MOST, share(run, 0.1 / ROUNDS));
    if (!error)
        error = pf_link_end(&run->link, &run->peer);
    if (error)
        *run->why = run->link.why;
    return error ? error : failed;
}

/* All pages have to be touched: with the bulk lane off nothing else brings them. */
static int touch_all(struct fault_bench *run, const struct pf_moved *moved)
{
    size_t pages = pf_moved_pages(moved);
    size_t *order = pf_touch_order(pages, moved->seed);
    int error = 0;
    if (!order)
        return pf_why(run->why, -ENOMEM, "no memory for the order of pages");
    for (size_t i = 0; i < pages; i++) {
        uint64_t ns;
        if (!pf_moved_touch(moved, order[i], &ns))
            error = pf_moved_wrong(order[i], run->why);
        pf_samples_add(&run->idle, ns);
    }
    free(order);
    return error;
}

static void keep_service(struct service *service, unsigned round, const struct ferry_status *status)
{
    service->service[round] = status->service_p50_us;
    service->read[round] = status->read_p50_us;
    service->request[round] = status->request_p50_us;
    service->answer[round] = status->answer_p50_us;
    service->place[round] = status->place_p50_us;
}

/* As much as fits into a round's time if a fault costs what it is made of. */
static size_t idle_bytes(struct fault_bench *run)
{
    if (is_huge(run))
        return run->bytes;
    double each = pf_samples_us(&run->local, 0.5) + pf_samples_us(&run->raw, 0.5);
    double fitting = (double)share(run, 0.4 / ROUNDS) / 1000.0 / each;
    size_t pages = fitting < IDLE_MOST ? (size_t)fitting : IDLE_MOST;
    if (pages < IDLE_LEAST)
        pages = IDLE_LEAST;
    return pages * PF_TOUCH_PAGE < run->bytes ? pages * PF_TOUCH_PAGE : run->bytes;
}

static int measure_idle(struct fault_bench *run, unsigned round)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error = pf_move_here(&moved, run->bench, &run->peer, idle_bytes(run), false, run->why);
    if (!error)
        error = touch_all(run, &moved);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    if (!error)
        keep_service(&run->service, round, &status);
    pf_moved_close(&moved);
    return error;
}

/* ---- loaded
 * ----------------------------------------------------------------------------------------- */

/* What a touch was, and what the bulk lane had placed by then. */
struct loaded_touch {
    uint64_t ns;
    uint64_t bulk_bytes;
};

struct loaded_run {
    struct loaded_touch *touches; /* those that faulted */
    size_t count;
};

/*
 * Touch pages until all have been. A touch counts as a fault if the engine saw one: the toucher is
 * the only thread that can cause any.
 */
static int touch_loaded(struct fault_bench *run, const struct pf_moved *moved,
                        struct loaded_run *loaded, const size_t *order)
{
    struct ferry_status before;
    struct ferry_status after;
    int error = 0;
    ferry_job_status(moved->job, &before);
    for (size_t i = 0; i < pf_moved_pages(moved); i++, before = after) {
        uint64_t ns;
        if (!pf_moved_touch(moved, order[i], &ns))
            error = pf_moved_wrong(order[i], run->why);
        ferry_job_status(moved->job, &after);
        if (after.faults == before.faults)
            continue;
        loaded->touches[loaded->count++] = (struct loaded_touch){
            .ns = ns,
            .bulk_bytes = after.received_bytes - loaded->count * PF_TOUCH_PAGE,
        };
    }
    return error;
}

/* Only what was touched between the bulk lane's first and last sign of life. */
static void keep_loaded(struct fault_bench *run, const struct loaded_run *loaded)
{
    size_t end = loaded->count;
    while (end > 1 && loaded->touches[end - 1].bulk_bytes <= loaded->touches[end - 2].bulk_bytes)
        end--;
    for (size_t i = 0; i < end; i++)
        if (loaded->touches[i].bulk_bytes > 0)
            pf_samples_add(&run->loaded, loaded->touches[i].ns);
}

static int touch_and_keep(struct fault_bench *run, const struct pf_moved *moved)
{
    size_t pages = pf_moved_pages(moved);
    size_t *order = pf_touch_order(pages, moved->seed);
    struct loaded_run loaded = {.touches = calloc(pages, sizeof *loaded.touches)};
    int error;
    if (order && loaded.touches)
        error = touch_loaded(run, moved, &loaded, order);
    else
        error = pf_why(run->why, -ENOMEM, "no memory for the order of pages");
    if (!error)
        keep_loaded(run, &loaded);
    free(order);
    free(loaded.touches);
    return error;
}

static int move_loaded(struct fault_bench *run, size_t bytes, uint64_t *ns)
{
    struct pf_moved moved;
    struct ferry_status status;
    int error = pf_move_here(&moved, run->bench, &run->peer, bytes, true, run->why);
    if (!error)
        error = touch_and_keep(run, &moved);
    if (!error)
        error = pf_moved_complete(&moved, &status, run->why);
    *ns = pf_now_ns() - moved.began_ns;
    pf_moved_close(&moved);
    run->moves++;
    return error;
}

static int measure_loaded(struct fault_bench *run)
{
    uint64_t ns;
    uint64_t start = pf_now_ns();
    uint64_t budget = share(run, 0.4);
    size_t bytes = run->bytes < LOADED_FIRST_BYTES ? run->bytes : LOADED_FIRST_BYTES;
    while (run->moves < MOVES_MOST && run->loaded.count < LOADED_ENOUGH &&
           (run->loaded.count < LOADED_LEAST || pf_now_ns() - start < budget)) {
        int error = move_loaded(run, bytes, &ns);
        if (error)
            return error;
        if (ns < LOADED_MOVE_NS && bytes * 2 <= run->bytes)
            bytes *= 2;
    }
    return run->loaded.count > 0
               ? 0
               : pf_why(run->why, -ENODATA,
                        "no fault fell into the time of the bulk lane: give a larger --size");
}

/* ---- the whole
 * -------------------------------------------------------------------------------------- */

static void add_service(struct service *service, struct pf_report *report)
{
    pf_report_add(report, "service_p50_us", "service time, p50", "us",
                  pf_median(service->service, ROUNDS));
    pf_report_add(report, "read_p50_us", "  reading the fault", "us",
                  pf_median(service->read, ROUNDS));
    pf_report_add(report, "request_p50_us", "  posting the request", "us",
                  pf_median(service->request, ROUNDS));
    pf_report_add(report, "answer_p50_us", "  until the answer is here", "us",
                  pf_median(service->answer, ROUNDS));
    pf_report_add(report, "place_p50_us", "  placing the page", "us",
                  pf_median(service->place, ROUNDS));
}

static void fill(struct fault_bench *run, struct pf_report *report)
{
    double fault = pf_samples_us(&run->idle, 0.5);
    double local = pf_samples_us(&run->local, 0.5);
    double raw = pf_samples_us(&run->raw, 0.5);
    pf_report_add(report, "fault_p50_us", "fault, idle, p50", "us", fault);
    pf_report_add(report, "fault_p99_us", "fault, idle, p99", "us",
                  pf_samples_us(&run->idle, 0.99));
    pf_report_add(report, "fault_p999_us", "fault, idle, p99.9", "us",
                  pf_samples_us(&run->idle, 0.999));
    if (!is_huge(run)) {
        pf_report_add(report, "loaded_p50_us", "fault, bulk lane at full rate, p50", "us",
                      pf_samples_us(&run->loaded, 0.5));
        pf_report_add(report, "loaded_p99_us", "fault, bulk lane at full rate, p99", "us",
                      pf_samples_us(&run->loaded, 0.99));
    }
    add_service(&run->service, report);
    pf_report_add(report, "local_p50_us", "local userfault of 4 KiB, p50", "us", local);
    pf_report_add(report, "local_p99_us", "local userfault of 4 KiB, p99", "us",
                  pf_samples_us(&run->local, 0.99));
    pf_report_add(report, "raw_p50_us", "raw round trip of 4 KiB, p50", "us", raw);
    pf_report_add(report, "raw_p99_us", "raw round trip of 4 KiB, p99", "us",
                  pf_samples_us(&run->raw, 0.99));
    if (!is_huge(run))
        pf_report_add(report, "ratio_p50", "fault / (local + raw)", "", fault / (local + raw));
    snprintf(report->note, sizeof report->note,
             "samples: %zu idle, %zu loaded in %u migrations, %zu local, %zu raw; %d rounds",
             run->idle.count, run->loaded.count, run->moves, run->local.count, run->raw.count,
             ROUNDS);
}

static int measure(struct fault_bench *run)
{
    int error = pf_link_open(&run->link, &run->peer, run->bench);
    if (error)
        *run->why = run->link.why;
    for (unsigned round = 0; round < ROUNDS && !error; round++) {
        error = measure_floor(run);
        if (!error)
            error = measure_idle(run, round);
    }
    return error || is_huge(run) ? error : measure_loaded(run);
}

static int make_room(struct fault_bench *run)
{
    struct pf_samples *const all[] = {&run->local, &run->raw, &run->idle, &run->loaded};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (pf_samples_init(all[i], SAMPLES_MAX))
            return pf_why(run->why, -ENOMEM, "no memory for samples");
    return 0;
}

int pf_bench_fault(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    if (bench->threads > 1)
        return pf_bench_fault_crowd(bench, report, why);
    struct fault_bench *run = calloc(1, sizeof *run);
    if (!run)
        return pf_why(why, -ENOMEM, "no memory for the measurement");
    run->bench = bench;
    run->why = why;
    run->bytes = bench->bytes ? bench->bytes : is_huge(run) ? HUGE_BYTES : DEFAULT_BYTES;
    int error = make_room(run);
    if (!error)
        error = pf_peer_start(&run->peer, bench, why);
    if (!error)
        error = measure(run);
    if (!error)
        fill(run, report);
    pf_peer_stop(&run->peer);
    pf_link_close(&run->link);
    pf_samples_free(&run->local);
    pf_samples_free(&run->raw);
    pf_samples_free(&run->idle);
    pf_samples_free(&run->loaded);
    free(run);
    return error;
}
