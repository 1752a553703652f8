/* SPDX-License-Identifier: BSD-2-Clause */
/* What a hostile source does to a destination, and what has to come of it. */
#ifndef PF_TESTS_FUZZ_ATTACK_H
#define PF_TESTS_FUZZ_ATTACK_H

#include "tests/fuzz/peer.h"

struct attack {
    const char *name;
    enum peer_step after; /* as a well-behaved source up to here */
    void (*strike)(struct peer *peer);
    const char *words; /* in the line that the destination writes */
};

/* A destination of a grid job that waits for another source after a failed session. */
void attack_start_destination(struct rig_run *run);
/* Likewise with a body of its own, which declares the same. */
void attack_start_body(struct rig_run *run, rig_body body);

/*
 * One attack before the job runs there, the session's number `number`, with flags in HELLO: the
 * destination waits again.
 */
void attack_strike(struct rig_run *run, const struct attack *attack, unsigned number,
                   uint32_t flags);

/* The same as a peer that the caller has made, which is freed. */
void attack_strike_as(struct rig_run *run, const struct attack *attack, unsigned number,
                      struct peer *peer);

/* It has said why a session ended, so many times by now. */
void attack_await_lines(struct rig_process *process, unsigned lines);

/* After all of it a well-behaved source is taken as if nothing had been. */
void attack_finish_well(struct rig_run *run);
void attack_finish_body(struct rig_run *run, rig_body body);

/* A whole run whose attack comes when the job runs at the destination: it is ended. */
void attack_running(const struct attack *attack, uint32_t flags);

#endif
