/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask_command.h"

#include "service/ask.h"

#include <argp.h>

struct args {
    const char *name;
    unsigned silence_ms;
    bool json;
};

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
        if (args->name)
            argp_error(state, "\"%s\" is one argument too many: one job at a time", text);
        args->name = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
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
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "NAME",
        .doc = command->doc,
    };
    struct args args = {.silence_ms = 10000};
    struct pf_record record;
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    struct json_object *request = pf_request(command->request);
    struct pf_question question = {
        .name = args.name,
        .request = request,
        .silence_ms = args.silence_ms,
    };
    struct json_object *final = pf_ask(&question, &record);
    json_object_put(request);
    if (record.event != PF_EVENT_ERROR && !args.json)
        command->print(&record);
    return pf_conclude(final, &record, args.json);
}
