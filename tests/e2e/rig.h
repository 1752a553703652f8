/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of whole migrations stand on: jobs in processes of their own, over any transport
 * that crosses processes. The CUnit program is the parent and has one thread; it starts the
 * destination, learns where that listens, and starts the source with that address.
 *
 * A body is a job's main(). It talks to the parent by lines ("answer 42"); what it writes to
 * standard error comes the same way, so that a test can look for a sentence there too.
 */
#ifndef PF_TESTS_E2E_RIG_H
#define PF_TESTS_E2E_RIG_H

#include "pageferry.h"
#include "tests/suite.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    RIG_TEXT = 32768,
    RIG_URI = 256,
    RIG_DEADLINE_S = 60, /* no machine should reach it: a test that does has failed */
};

#define RIG_PAGE ((size_t)4096)

struct rig_side;
typedef int (*rig_body)(struct rig_side *side);

/* What a body is given. */
struct rig_side {
    rig_body body;
    const void *ctx;
    const char *const *options; /* name, value, ... NULL; may be NULL */
    bool destination;
    bool persistent;    /* a destination that waits for another after a failed session */
    char uri[RIG_URI];  /* where to listen; or the destination's address */
    char next[RIG_URI]; /* where the destination moves on to; "": nowhere */
    struct ferry_job *job;
    int out;
};

struct rig_process {
    pid_t pid;
    int out;
    bool ended;
    bool late;  /* it had to be killed */
    int status; /* exit status, or 128 + the signal */
    size_t used;
    char text[RIG_TEXT];
};

/* ---- the transport under test: set by main before the first test, then only read */
bool rig_choose(const char *uri);
const char *rig_target(void);
/* The target wrapped so that operation `at` of a device goes wrong: "fail", "cut", "drop". */
void rig_fault_uri(char out[RIG_URI], const char *uri, unsigned at, const char *kind);
/* The same of one URI in a list. */
void rig_fault_rail(char out[RIG_URI], const char *uris, unsigned rail, unsigned at,
                    const char *kind);

/* ---- for bodies */

/* Open side->job and set its options; ends the process if that fails. */
void rig_open(struct rig_side *side);
/* ferry_job_start(), listening first where that is due: says "uri ..." and then "started HOW". */
int rig_start(struct rig_side *side);
/*
 * Ask for the move and go from safe point to safe point until it has ended. FERRY_MOVED,
 * FERRY_CONTINUE if it failed, or what ferry_job_migrate() answered.
 */
int rig_move(struct rig_side *side, const char *uri);
/* After ferry_job_migrate(): has it not ended yet? */
bool rig_moving(struct rig_side *side);
void rig_say(struct rig_side *side, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ferry_job_close(), and what the process is to exit with. */
int rig_close(struct rig_side *side);
/* The pages of private memory that are in memory now, by /proc/self/smaps_rollup. */
size_t rig_resident_pages(void);

/* ---- for the parent */

void rig_launch(struct rig_process *process, struct rig_side *side);
/* Wait until a line that starts with key has come; false if the process ended without. */
bool rig_await(struct rig_process *process, const char *key);
bool rig_await_either(struct rig_process *process, const char *key, const char *other);
bool rig_await_times(struct rig_process *process, const char *key, unsigned times);
/* A persistent destination has said so many times by now why a session failed. */
bool rig_await_failures(struct rig_process *process, unsigned times);
/* What followed the key in the last such line, or NULL. Valid until the next call. */
const char *rig_said(const struct rig_process *process, const char *key);
unsigned rig_times_said(const struct rig_process *process, const char *key);
uint64_t rig_number(const struct rig_process *process, const char *key);
bool rig_mentions(const struct rig_process *process, const char *words);
/* Wait for its end, kill it when it is late. */
void rig_finish(struct rig_process *process);
/* Kill it now. */
void rig_kill(struct rig_process *process);

/* One move: a source and a destination of the same body. */
struct rig_run {
    struct rig_process source, destination;
    unsigned failures_before;
};

struct rig_setup {
    rig_body body;
    const void *ctx;
    const char *const *source_options;
    const char *const *destination_options;
    const char *listen;   /* NULL: the target */
    unsigned source_at;   /* the operation of the source's device that goes wrong; 0: none */
    unsigned source_rail; /* which of its devices */
    const char *kind;     /* how */
    bool persistent;
};

/* Start both and wait for both ends. */
void rig_run(struct rig_run *run, const struct rig_setup *setup);
void rig_begin(struct rig_run *run, const struct rig_setup *setup);
void rig_end(struct rig_run *run);
/* Print what both said if an assertion failed since rig_begin(). */
void rig_explain(const struct rig_run *run);

/* Both exited with 0; the destination alone answered, and what was expected. */
void rig_assert_moved(struct rig_run *run, uint64_t answer);
/* The migration failed before the switch: the source alone answered, rightly. */
void rig_assert_stayed(struct rig_run *run, uint64_t answer);

#endif
