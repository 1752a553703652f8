/* SPDX-License-Identifier: BSD-2-Clause */
/* What is timed on a bare connection. */
#include "base/clock.h"
#include "bench/link_post.h"

enum { WARM_UP = 1000, TRIPS_MIN = 64 };

#define CALIBRATE_NS 10000000ull

static int round_trip(struct pf_link *link, uint64_t *ns)
{
    uint64_t due = link->answers + 1;
    uint64_t start = pf_now_ns();
    int error = pf_link_ask(link);
    while (!error && link->answers < due)
        error = pf_link_step(link);
    *ns = pf_now_ns() - start;
    return error;
}

int pf_link_round_trips(struct pf_link *link, struct pf_samples *samples, size_t most,
                        uint64_t budget_ns)
{
    uint64_t ns;
    uint64_t start = pf_now_ns();
    for (size_t i = 0; i < WARM_UP && pf_now_ns() - start < budget_ns / 10; i++) {
        int error = round_trip(link, &ns);
        if (error)
            return error;
    }
    start = pf_now_ns();
    for (size_t i = 0; i < most && (i < TRIPS_MIN || pf_now_ns() - start < budget_ns); i++) {
        int error = round_trip(link, &ns);
        if (error)
            return error;
        pf_samples_add(samples, ns);
    }
    return 0;
}

static int write_piece(struct pf_link *link, const struct pf_write_pattern *pattern, size_t number)
{
    int error;
    size_t from = number * pattern->piece % pattern->from_bytes;
    size_t to = number * pattern->piece % pattern->to_bytes;
    struct pf_sge sge = {link->region_mr, link->region + from, pattern->piece};
    do {
        struct pf_link_post *post = pf_link_take(link);
        if (!post)
            return link->status;
        error = pf_write(link->endpoint, &sge, 1, link->peer_addr + to, &link->peer_key, &post->op);
        int status = pf_link_posted(link, post, error);
        if (status)
            return status;
    } while (error == -EAGAIN);
    return 0;
}

static int write_pieces(struct pf_link *link, const struct pf_write_pattern *pattern, size_t count,
                        uint64_t *ns)
{
    uint64_t start = pf_now_ns();
    for (size_t i = 0; i < count; i++) {
        int error = write_piece(link, pattern, i);
        if (error)
            return error;
    }
    int error = pf_link_flush(link);
    *ns = pf_now_ns() - start;
    return error;
}

int pf_link_write_pass(struct pf_link *link, const struct pf_write_pattern *pattern, size_t count,
                       double *rate)
{
    uint64_t ns;
    int error = write_pieces(link, pattern, count, &ns);
    *rate = (double)count * (double)pattern->piece / (double)ns;
    return error;
}

int pf_link_write_rate(struct pf_link *link, const struct pf_write_pattern *pattern,
                       uint64_t budget_ns, double *rate)
{
    uint64_t ns = 0;
    size_t count = 1;
    /* The count that fills the budget, from a run long enough to be judged by; it warms up too. */
    while (ns < CALIBRATE_NS && ns < budget_ns / 2) {
        count *= 2;
        int error = write_pieces(link, pattern, count, &ns);
        if (error)
            return error;
    }
    if (ns < budget_ns)
        count = (size_t)((double)count * (double)budget_ns / (double)ns);
    int error = write_pieces(link, pattern, count, &ns);
    *rate = (double)count * (double)pattern->piece / (double)ns;
    return error;
}
