/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask_command.h"
#include "service/command.h"

#include <stdio.h>

static void print(const struct pf_record *record, struct json_object *request)
{
    (void)request;
    printf("%s: goes to post-copy as soon as it is paused; pageferry status %s shows it\n",
           record->name, record->name);
}

int pf_command_switch(int argc, char **argv)
{
    static const struct pf_ask_command change_over = {
        .request = "switch",
        .doc = "End pre-copy of the job NAME now, whatever --mode says: the job goes on at the "
               "destination, and what has not been sent follows it.",
        .print = print,
    };
    return pf_ask_command(&change_over, argc, argv);
}
