/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask_command.h"

#include "service/ask.h"

#include <argp.h>
#include <stdio.h>

struct args {
    const struct pf_ask_command *command;
    const char *name;
    struct json_object *request;
    unsigned arguments; /* that followed the name */
    unsigned silence_ms;
    bool json;
};

static void take_argument(struct args *args, const char *text, struct argp_state *state)
{
    struct pf_why why = {""};
    args->arguments += args->name != NULL;
    if (!args->name)
        args->name = text;
    else if (!args->command->take)
        argp_error(state, "\"%s\" is one argument too many: one job at a time", text);
    else if (args->command->take(args->request, text, &why))
        argp_error(state, "%s", why.text);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    case 't':
        if (!pf_parse_timeout(text, &args->silence_ms))
            argp_error(state, "--timeout can't be \"%.40s\": give seconds", text);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(args, text, state);
        return 0;
    case ARGP_KEY_END:
        if (args->command->take && args->arguments == 0)
            argp_error(state, "%s", args->command->missing);
        if (!args->name)
            argp_error(state, "the job's name is missing: see pageferry list");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"json", 'j', NULL, 0, "Print the record as one line of JSON", 0},
    {"timeout", 't', "SECONDS", 0, "How long the job may be silent (default 10)", 0},
    {0},
};

int pf_ask_command(const struct pf_ask_command *command, int argc, char **argv)
{
    char args_doc[64];
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = args_doc,
        .doc = command->doc,
    };
    struct args args = {
        .command = command,
        .request = pf_request(command->request),
        .silence_ms = 10000,
    };
    struct pf_record record;
    snprintf(args_doc, sizeof args_doc, "NAME%s%s", command->arguments ? " " : "",
             command->arguments ? command->arguments : "");
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    struct pf_question question = {
        .name = args.name,
        .request = args.request,
        .silence_ms = args.silence_ms,
    };
    struct json_object *final = pf_ask(&question, &record);
    if (record.event != PF_EVENT_ERROR && !args.json)
        command->print(&record, args.request);
    json_object_put(args.request);
    return pf_conclude(final, &record, args.json);
}
