/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask.h"
#include "service/command.h"
#include "service/engine_args.h"
#include "service/progress.h"
#include "transport/uri_list.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct migrate_args {
    struct pf_engine_args engine;
    const char *name;
    const char *uri;
    const char *record_path;
    unsigned silence_ms;
    bool json;
    bool progress;
    bool detach;
};

static void check(const struct migrate_args *args, struct argp_state *state)
{
    if (args->detach && args->record_path)
        argp_error(state, "--record needs the migration's end, which --detach does not wait for");
    if (!args->uri)
        argp_error(state, "give the job's name and where it is received: "
                          "pageferry migrate NAME tcp://10.0.0.2:7471");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct migrate_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->engine;
        return 0;
    case 'd':
        args->detach = true;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case 'p':
        args->progress = true;
        return 0;
    case 'r':
        args->record_path = text;
        return 0;
    case 't':
        if (!pf_parse_timeout(text, &args->silence_ms))
            argp_error(state, "--timeout can't be \"%.40s\": give seconds", text);
        return 0;
    case ARGP_KEY_ARG:
        if (args->uri)
            argp_error(state, "\"%s\" is one argument too many", text);
        *(args->name ? &args->uri : &args->name) = text;
        return 0;
    case ARGP_KEY_END:
        check(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"detach", 'd', NULL, 0, "Do not wait for the end: return once the migration is under way", 0},
    {"json", 'j', NULL, 0, "Print only the final record, as one line of JSON", 0},
    {"progress", 'p', NULL, 0,
     "With --json: print each record of progress and of a round too, one a line", 0},
    {"record", 'r', "FILE", 0, "Write all records to FILE, one a line, for pageferry plot", 0},
    {"timeout", 't', "SECONDS", 0, "How long the job may be silent (default 30)", 0},
    {0},
};

static struct json_object *make_request(const struct migrate_args *args)
{
    struct json_object *request = pf_request("migrate");
    json_object_object_add(request, "uri", json_object_new_string(args->uri));
    json_object_object_add(request, "options", pf_engine_args_json(&args->engine));
    return request;
}

/* Where the records go that come before the final one. */
struct show {
    struct pf_progress_view view;
    bool draw, print; /* on the view; as JSON on standard output */
    FILE *record;     /* NULL: not asked for */
};

static void write_record(FILE *file, struct json_object *json)
{
    if (file)
        fprintf(file, "%s\n",
                json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void show(void *ctx, const struct pf_record *record, struct json_object *json)
{
    struct show *show = ctx;
    write_record(show->record, json);
    if (show->print)
        pf_print_json(json);
    else if (show->draw && record->event == PF_EVENT_PROGRESS)
        pf_progress_show(&show->view, record);
}

/* A full disk ends no migration. */
static void close_record(const struct migrate_args *args, FILE *file)
{
    if (file && (ferror(file) | fclose(file)))
        pf_complain(0, "%s is not whole: it could not be written", args->record_path);
}

static void print_outcome(const struct migrate_args *args, const struct pf_record *record)
{
    if (record->event == PF_EVENT_PROGRESS)
        printf("%s: the migration is under way; pageferry status %s shows it\n", record->name,
               args->name);
    else if (record->event == PF_EVENT_DONE)
        pf_progress_summary(stdout, record);
}

static int migrate(const struct migrate_args *args, FILE *file)
{
    struct show shown = {
        .draw = !args->detach && !args->json,
        .print = !args->detach && args->json && args->progress,
        .record = file,
    };
    struct pf_record record;
    pf_progress_open(&shown.view, stdout);
    struct json_object *request = make_request(args);
    struct pf_question question = {
        .name = args->name,
        .request = request,
        .silence_ms = args->silence_ms,
        .detach = args->detach,
        .progress = show,
        .ctx = &shown,
    };
    struct json_object *final = pf_ask(&question, &record);
    pf_progress_close(&shown.view);
    json_object_put(request);
    write_record(file, final);
    if (!args->json)
        print_outcome(args, &record);
    return pf_conclude(final, &record, args->json);
}

int pf_command_migrate(int argc, char **argv)
{
    struct migrate_args args = {.silence_ms = 30000};
    struct pf_uri_list list;
    struct pf_why why;
    if (pf_engine_args_init(&args.engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "NAME URI[,URI...]",
        .doc = "Move the job NAME to where it is received: the URI that `pageferry receive` "
               "listens on, with that host's address. Of several rails, all addresses in the "
               "order that it printed.",
        .children = args.engine.child,
    };
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (pf_uri_list_parse(args.uri, &list, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    FILE *file = args.record_path ? fopen(args.record_path, "we") : NULL;
    if (args.record_path && !file)
        return pf_complain(PF_EXIT_USAGE, "--record %s can't be written: %s", args.record_path,
                           strerror(errno));
    int status = migrate(&args, file);
    close_record(&args, file);
    return status;
}
