/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other end of a measurement: a child process that carries out commands, one at a time, and
 * answers each. It dies with its parent.
 */
#ifndef PF_BENCH_PEER_H
#define PF_BENCH_PEER_H

#include "bench/bench.h"
#include "core/job/round_log.h"
#include "pageferry.h"

#include <stdint.h>
#include <sys/types.h>

/* What the source says of a job that has left it. */
struct pf_left {
    struct ferry_status status;
    struct pf_round_record first; /* round of pre-copy; number 0: there was none */
    double cpu_s;                 /* of its process, while the migration took place */
};

struct pf_peer {
    pid_t pid;           /* 0: not started */
    int fd;              /* a socket of whole messages */
    struct pf_left left; /* the latest job that was moved */
};

enum pf_peer_action {
    PF_PEER_CONNECT, /* make the bare connection to uri */
    PF_PEER_SERVE,   /* poll that connection and answer on it until told to stop there */
    PF_PEER_MOVE,    /* be the source of a job and move it to uri */
    PF_PEER_QUIT,
};

struct pf_peer_command {
    enum pf_peer_action action;
    char uri[PF_BENCH_URI_MAX];
    /* Of the job. */
    size_t bytes;
    uint64_t seed;
    bool background;
    unsigned mode; /* enum pf_mode */
    /* It writes to so many pages a second, anywhere in its first dirty_bytes, until it is moved. */
    uint64_t dirty_rate;
    size_t dirty_bytes;
    unsigned fetch; /* enum pf_fetch_mode */
};

/* Fork. The child serves until it is told to quit and never returns. */
int pf_peer_start(struct pf_peer *peer, const struct pf_bench *bench, struct pf_why *why);

/* Any thread, one at a time. -ECONNRESET: the child is gone. */
int pf_peer_tell(struct pf_peer *peer, const struct pf_peer_command *command, struct pf_why *why);

/* Wait for the answer to the command; its failure is ours. Bounded. */
int pf_peer_answer(struct pf_peer *peer, struct pf_why *why);

/* Quit and reap; killed if it does not end by itself. Harmless when not started. */
void pf_peer_stop(struct pf_peer *peer);

#endif
