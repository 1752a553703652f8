/* SPDX-License-Identifier: BSD-2-Clause */
/* `pageferry bench raw`: the transport contract alone. */
#include "bench/bench.h"
#include "bench/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { REPEATS = 5, TRIPS_MOST = 50000 };

static const struct {
    const char *key, *label;
    size_t bytes;
} pieces[] = {
    {"write_4k_GBps", "write, 4 KiB", 4 << 10},
    {"write_64k_GBps", "write, 64 KiB", 64 << 10},
    {"write_1m_GBps", "write, 1 MiB", 1 << 20},
};

enum { PIECES = sizeof pieces / sizeof pieces[0] };

/* The sizes take turns, so that a bad moment of the machine does not fall on one of them alone. */
static int measure(const struct pf_bench *bench, struct pf_link *link, struct pf_samples *trips,
                   double rates[PIECES][REPEATS])
{
    uint64_t turn_ns = (uint64_t)(bench->seconds * 1e9 / REPEATS / (PIECES + 1));
    for (unsigned k = 0; k < REPEATS; k++) {
        int error = pf_link_round_trips(link, trips, TRIPS_MOST / REPEATS, turn_ns);
        for (unsigned i = 0; i < PIECES && !error; i++) {
            struct pf_write_pattern pattern = {
                .piece = pieces[i].bytes,
                .from_bytes = PF_LINK_REGION_BYTES,
                .to_bytes = PF_LINK_REGION_BYTES,
            };
            error = pf_link_write_rate(link, &pattern, turn_ns, &rates[i][k]);
        }
        if (error)
            return error;
    }
    return 0;
}

static void fill(struct pf_report *report, struct pf_samples *trips, double rates[PIECES][REPEATS])
{
    pf_report_add(report, "rtt_p50_us", "round trip, p50", "us", pf_samples_us(trips, 0.5));
    pf_report_add(report, "rtt_p99_us", "round trip, p99", "us", pf_samples_us(trips, 0.99));
    pf_report_add(report, "rtt_p999_us", "round trip, p99.9", "us", pf_samples_us(trips, 0.999));
    for (unsigned i = 0; i < PIECES; i++)
        pf_report_add(report, pieces[i].key, pieces[i].label, "GB/s", pf_median(rates[i], REPEATS));
    snprintf(report->note, sizeof report->note,
             "%zu round trips of 64 B to 4 KiB; writes: median of %d", trips->count, REPEATS);
}

int pf_bench_raw(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why)
{
    struct pf_peer peer;
    struct pf_samples trips;
    double rates[PIECES][REPEATS];
    struct pf_link *link = calloc(1, sizeof *link);
    int error = link ? pf_samples_init(&trips, TRIPS_MOST) : -ENOMEM;
    if (error) {
        free(link);
        return pf_why(why, error, "no memory for the measurement");
    }
    error = pf_peer_start(&peer, bench, &link->why);
    if (!error)
        error = pf_link_open(link, &peer, bench);
    if (!error)
        error = pf_link_begin(link, &peer);
    if (!error)
        error = measure(bench, link, &trips, rates);
    if (!error)
        error = pf_link_end(link, &peer);
    if (!error)
        fill(report, &trips, rates);
    else
        *why = link->why;
    pf_peer_stop(&peer);
    pf_link_close(link);
    pf_samples_free(&trips);
    free(link);
    return error;
}
