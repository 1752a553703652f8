/* SPDX-License-Identifier: BSD-2-Clause */
/* A subcommand that is one question to one job: NAME [ARGUMENT...] [--json] [--timeout SECONDS]. */
#ifndef PF_SERVICE_ASK_COMMAND_H
#define PF_SERVICE_ASK_COMMAND_H

#include "base/why.h"
#include "service/record.h"

struct pf_ask_command {
    const char *request;
    const char *doc;
    /* The answer, for a person. */
    void (*print)(const struct pf_record *record, struct json_object *request);
    /* All of these are missing where nothing may follow the job's name. */
    const char *arguments; /* how the help calls what follows it; one at least has to */
    const char *missing;   /* the sentence if it does not */
    /* Puts one into the request; -errno and a sentence. */
    int (*take)(struct json_object *request, const char *argument, struct pf_why *why);
};

/* A main function: returns the exit status. */
int pf_ask_command(const struct pf_ask_command *command, int argc, char **argv);

#endif
