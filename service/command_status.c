/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask_command.h"
#include "service/command.h"

#include <stdio.h>

static void print(const struct pf_record *record, struct json_object *request)
{
    (void)request;
    char value[2 * PF_RECORD_TEXT];
    for (const struct pf_field *field = pf_record_fields; field->key; field++) {
        pf_record_show(record, field, value, sizeof value);
        if (value[0])
            printf("%-24s%s\n", field->key, value);
    }
    for (unsigned i = 0; i < record->rail_count; i++) {
        char line[PF_URI_MAX + 3 * PF_RECORD_TEXT];
        pf_rail_record_show(&record->rails[i], line, sizeof line);
        printf("rail %-19u%s\n", i, line);
    }
    pf_rounds_print(stdout, &record->rounds);
}

int pf_command_status(int argc, char **argv)
{
    static const struct pf_ask_command status = {
        .request = "status",
        .doc = "Show the state of the job NAME and the rounds of its latest migration; with --json "
               "also how long each of its threads was blocked.",
        .print = print,
    };
    return pf_ask_command(&status, argc, argv);
}
