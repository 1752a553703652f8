/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/knobs.h"
#include "service/ask.h"
#include "service/command.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

enum { DOC_MAX = 4096 };

struct set_args {
    const char *name;
    struct json_object *options; /* what is to change: {"bandwidth": "100M", ...} */
    unsigned silence_ms;
    bool json;
};

/* KEY=VALUE. The job knows which keys and values it takes. */
static void take_change(struct set_args *args, const char *text, struct argp_state *state)
{
    char key[PF_OPTION_TEXT_MAX];
    size_t length = strcspn(text, "=");
    if (text[length] != '=' || length == 0 || length >= sizeof key)
        argp_error(state, "\"%.60s\" is no change: write KEY=VALUE, as in bandwidth=100M", text);
    snprintf(key, sizeof key, "%.*s", (int)length, text);
    json_object_object_add(args->options, key, json_object_new_string(text + length + 1));
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct set_args *args = state->input;
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
            take_change(args, text, state);
        else
            args->name = text;
        return 0;
    case ARGP_KEY_END:
        if (!args->name || json_object_object_length(args->options) == 0)
            argp_error(state, "give the job's name and what is to change: "
                              "pageferry set NAME bandwidth=100M");
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

/* What argp prints before the options and, behind a \v, after them. */
static void write_doc(char doc[DOC_MAX])
{
    size_t used = (size_t)snprintf(
        doc, DOC_MAX,
        "Change options of the job NAME: all that are given or, if one is refused, none. They "
        "stay set for its later migrations.\v"
        "While a migration runs these can be changed, and take effect at once:\n\n");
    for (unsigned i = 0; i < PF_OPTION_COUNT && used < DOC_MAX; i++)
        if (pf_knob_is(i))
            used += (size_t)snprintf(doc + used, DOC_MAX - used, "  %s=%s\n",
                                     pf_option_table[i].name, pf_option_table[i].metavar);
    if (used < DOC_MAX)
        snprintf(doc + used, DOC_MAX - used,
                 "\nOtherwise every engine option can; pageferry migrate --help explains them.");
}

static void print(const struct set_args *args, const struct pf_record *record)
{
    const char *comma = " ";
    printf("%s:", record->name);
    json_object_object_foreach(args->options, key, value)
    {
        printf("%s%s is %s", comma, key, json_object_get_string(value));
        comma = ", ";
    }
    puts(strcmp(record->state, "running") == 0 ? " for the next migration" : " from now on");
}

int pf_command_set(int argc, char **argv)
{
    char doc[DOC_MAX];
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "NAME KEY=VALUE...",
        .doc = doc,
    };
    struct set_args args = {.options = json_object_new_object(), .silence_ms = 10000};
    struct pf_record record;
    write_doc(doc);
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    struct json_object *request = pf_request("set");
    json_object_object_add(request, "options", json_object_get(args.options));
    struct pf_question question = {
        .name = args.name,
        .request = request,
        .silence_ms = args.silence_ms,
    };
    struct json_object *final = pf_ask(&question, &record);
    if (record.event != PF_EVENT_ERROR && !args.json)
        print(&args, &record);
    json_object_put(request);
    json_object_put(args.options);
    return pf_conclude(final, &record, args.json);
}
