/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One bare connection of the transport contract, both ends: what `raw` measures, and what keeps
 * the peer polling while local faults are measured. Each end has a region that the other may
 * write to.
 *
 * The regions are 64 MiB unless the measurement wants more, larger than any cache level this side
 * of the last, and are gone through in ascending order: the same as bench/bare/ does without
 * pageferry.
 */
#ifndef PF_BENCH_LINK_H
#define PF_BENCH_LINK_H

#include "bench/peer.h"
#include "bench/samples.h"
#include "core/session/idle.h"
#include "transport/transport.h"

enum {
    PF_LINK_DEPTH = 64,
    PF_LINK_MESSAGE_BYTES = 64,
    PF_LINK_ANSWER_BYTES = 4096,
    PF_LINK_REGION_BYTES = 64 << 20,
};

struct pf_link;

struct pf_link_receive {
    struct pf_op op;
    struct pf_link *owner;
    void *message;
};

/* A send or a write; on the free list when not posted. */
struct pf_link_post {
    struct pf_op op;
    struct pf_link *owner;
    struct pf_list free;
    void *message;
};

struct pf_link {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_listener *listener;
    struct pf_endpoint *endpoint;
    struct pf_idle idle;
    bool spin;
    unsigned looks; /* without anything to do */

    unsigned depth;
    struct pf_link_receive receives[PF_LINK_DEPTH];
    struct pf_link_post posts[PF_LINK_DEPTH];
    struct pf_list free;
    unsigned posted;
    struct pf_op flush;
    bool flushing;
    char *messages, *region;
    size_t region_bytes;
    struct pf_mr *messages_mr, *region_mr;

    bool connected, greeted; /* greeted: the peer's region is known */
    uint64_t peer_addr;
    struct pf_rkey peer_key;

    uint64_t asked, answered; /* at the answering end */
    uint64_t answers;         /* arrived at the asking end */
    bool stopped;

    int status; /* first failure */
    struct pf_why why;
};

/*
 * Make the connection: open a device and listen where bench says, tell the peer to connect, greet.
 * Errors are in link->why. pf_link_close() also after a failure, or for a link that is all zero.
 */
int pf_link_open(struct pf_link *link, struct pf_peer *peer, const struct pf_bench *bench);
void pf_link_close(struct pf_link *link);

/* The peer's part: connect and greet; poll and answer until the other end says stop. */
int pf_link_connect(struct pf_link *link, const char *uri, const struct pf_bench *bench);
int pf_link_serve(struct pf_link *link);

/* Put the peer to work on the connection, and take it off again. */
int pf_link_begin(struct pf_link *link, struct pf_peer *peer);
int pf_link_end(struct pf_link *link, struct pf_peer *peer);

/* ---- measuring, between begin and end ---------------------------------------------------------
 */

/*
 * Requests of 64 bytes, one at a time, each answered by a 4 KiB write with immediate; adds the
 * round trips until `most` have been made or about budget_ns have passed, but at least 64.
 */
int pf_link_round_trips(struct pf_link *link, struct pf_samples *samples, size_t most,
                        uint64_t budget_ns);

/* Where writes come from and go to: from the start of the region up to these sizes, and again. */
struct pf_write_pattern {
    size_t piece; /* bytes of one write */
    size_t from_bytes, to_bytes;
};

/*
 * One-sided writes, as many under way as the link allows, for about budget_ns, and a flush at the
 * end, inside the timing. GB/s of 10^9 bytes.
 */
int pf_link_write_rate(struct pf_link *link, const struct pf_write_pattern *pattern,
                       uint64_t budget_ns, double *rate);

/* The same for so many writes, neither more nor less, and none before them. */
int pf_link_write_pass(struct pf_link *link, const struct pf_write_pattern *pattern, size_t count,
                       double *rate);

#endif
