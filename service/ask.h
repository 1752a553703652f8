/* SPDX-License-Identifier: BSD-2-Clause */
/* One request to a job and its answers. */
#ifndef PF_SERVICE_ASK_H
#define PF_SERVICE_ASK_H

#include "service/record.h"

#include <stdbool.h>

struct pf_question {
    const char *name;            /* the job's */
    struct json_object *request; /* stays the caller's */
    unsigned silence_ms;         /* how long the job may say nothing */
    bool detach;                 /* the first progress record is answer enough */
    /* Called for each record of progress or of a round, which it can have as it came; may be NULL.
     */
    void (*progress)(void *ctx, const struct pf_record *record, struct json_object *json);
    void *ctx;
};

/*
 * Ask and wait for the final record. There always is one: where the job can't be asked, or goes
 * away, an error record made here says so. The caller puts it; *record gets what it says. A record
 * that does not name the job is taken to mean the one that was asked.
 */
struct json_object *pf_ask(const struct pf_question *question, struct pf_record *record);

/* {"command": command}. The caller owns it. */
struct json_object *pf_request(const char *command);

/* One line of JSON on standard output. */
void pf_print_json(struct json_object *json);

/*
 * What every asking command does at its end: the record on standard output if json, an error's
 * message on standard error. Puts the record, returns the exit status.
 */
int pf_conclude(struct json_object *final, const struct pf_record *record, bool json);

/* Read a --timeout, in seconds, into milliseconds; false if it is none from 0.01 to 86400. */
bool pf_parse_timeout(const char *text, unsigned *ms);

#endif
