/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask_command.h"
#include "service/command.h"

#include <stdio.h>
#include <string.h>

static void print(const struct pf_record *record, struct json_object *request)
{
    (void)request;
    if (strcmp(record->role, "destination") == 0)
        printf("%s: no longer waits for a job\n", record->name);
    else
        printf("%s: migration cancelled, the job goes on running here\n", record->name);
}

int pf_command_cancel(int argc, char **argv)
{
    static const struct pf_ask_command cancel = {
        .request = "cancel",
        .doc = "Stop the migration of the job NAME; it goes on running here. Possible until the "
               "destination runs: after that only the destination has the job.",
        .print = print,
    };
    return pf_ask_command(&cancel, argc, argv);
}
