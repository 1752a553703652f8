/* SPDX-License-Identifier: BSD-2-Clause */
/* A subcommand that is one question to one job: NAME [--json] [--timeout SECONDS]. */
#ifndef PF_SERVICE_ASK_COMMAND_H
#define PF_SERVICE_ASK_COMMAND_H

#include "service/record.h"

struct pf_ask_command {
    const char *request;
    const char *doc;
    void (*print)(const struct pf_record *record); /* the answer, for a person */
};

/* A main function: returns the exit status. */
int pf_ask_command(const struct pf_ask_command *command, int argc, char **argv);

#endif
