/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The targets that the fault thread serves beside our own process, and how another thread adds and
 * removes them while it runs: commands in a bounded ring with an eventfd. The fault thread
 * allocates and frees nothing; who adds a target keeps its memory until it has it back.
 */
#ifndef PF_CORE_ARRIVAL_TARGETS_H
#define PF_CORE_ARRIVAL_TARGETS_H

#include "core/arrival/target.h"
#include "core/session/gate.h"

enum { PF_TARGETS_MAX = 256, PF_TARGET_COMMANDS = 64, PF_TARGET_SPARES = 16 };

struct pf_target_command {
    struct pf_target *target;
    bool add; /* else remove */
};

struct pf_targets {
    struct pf_target *list[PF_TARGETS_MAX]; /* changed with the gate closed */
    unsigned count;
    unsigned child_homes; /* of them, homes that were forked */
    struct pf_gate *gate;
    int epoll_fd;   /* over their userfaultfds */
    int command_fd; /* eventfd: a command waits */
    int told_fd;    /* eventfd of the owner: a target has changed its state; -1: nobody listens */
    /* Empty targets for children that are forked: put there by the owner, taken by fork events. */
    struct pf_target *_Atomic spares[PF_TARGET_SPARES];
    struct pf_target_command ring[PF_TARGET_COMMANDS];
    atomic_uint head, tail; /* commands taken, commands given */
};

int pf_targets_open(struct pf_targets *targets, struct pf_gate *gate, struct pf_why *why);
void pf_targets_close(struct pf_targets *targets);

/* ---- the owner's: one thread at a time */

/* Ask the fault thread to serve a target, or to give it back. -EAGAIN: the ring is full. */
int pf_targets_post(struct pf_targets *targets, struct pf_target *target, bool add);

/* The same at once, while no fault thread runs. -ENOSPC: there are too many. */
int pf_targets_add(struct pf_targets *targets, struct pf_target *target);
void pf_targets_remove(struct pf_targets *targets, struct pf_target *target);

/* ---- the fault thread's */

/* Do what was asked; returns how much. */
unsigned pf_targets_obey(struct pf_targets *targets);

/* Give a target back with the reason: a failure of its own. */
void pf_targets_fail(struct pf_targets *targets, struct pf_target *target, int status);

/* Children that can be taken in now: read no more fork events than that. */
unsigned pf_targets_spares(const struct pf_targets *targets);

/* A child was forked: serve it as its parent is served. 0 or -errno. */
int pf_targets_fork(struct pf_targets *targets, const struct pf_target *parent, int fd);

/* Targets that have something to read, at most room. */
unsigned pf_targets_ready(struct pf_targets *targets, struct pf_target **ready, unsigned room);

#endif
