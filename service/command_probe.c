/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask.h"
#include "service/command.h"
#include "service/probe.h"

#include <argp.h>
#include <stdarg.h>
#include <stdio.h>

static error_t parse(int key, char *text, struct argp_state *state)
{
    (void)text;
    if (key != 'j')
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}

static const struct argp_option rows[] = {
    {"json", 'j', NULL, 0, "Print the report as one line of JSON", 0},
    {0},
};

static const struct argp argp = {
    .options = rows,
    .parser = parse,
    .doc = "Show what this host can do, with a reason and a remedy for what it can't. The exit "
           "status is 0 if post-copy and at least one transport work, else 1.",
};

static struct pf_probe_line *add(struct pf_probe *probe, const char *name)
{
    /* The last line is used again when the report is full: the caller need not check. */
    unsigned index = probe->count < PF_PROBE_LINES_MAX ? probe->count++ : PF_PROBE_LINES_MAX - 1;
    struct pf_probe_line *line = &probe->lines[index];
    *line = (struct pf_probe_line){.ok = false};
    snprintf(line->name, sizeof line->name, "%s", name);
    return line;
}

void pf_probe_yes(struct pf_probe *probe, const char *name, const char *value, ...)
{
    struct pf_probe_line *line = add(probe, name);
    line->ok = true;
    va_list args;
    va_start(args, value);
    vsnprintf(line->value, sizeof line->value, value, args);
    va_end(args);
}

struct pf_probe_line *pf_probe_no(struct pf_probe *probe, const char *name, const char *reason, ...)
{
    struct pf_probe_line *line = add(probe, name);
    va_list args;
    va_start(args, reason);
    vsnprintf(line->reason, sizeof line->reason, reason, args);
    va_end(args);
    return line;
}

void pf_probe_remedy(struct pf_probe_line *line, const char *remedy, ...)
{
    va_list args;
    va_start(args, remedy);
    vsnprintf(line->remedy, sizeof line->remedy, remedy, args);
    va_end(args);
}

void pf_probe_not_built(struct pf_probe *probe, const char *name, const char *remedy)
{
    pf_probe_remedy(pf_probe_no(probe, name, "this build was made without it"), "%s", remedy);
}

static void print_text(const struct pf_probe *probe)
{
    for (unsigned i = 0; i < probe->count; i++) {
        const struct pf_probe_line *line = &probe->lines[i];
        if (line->ok)
            printf("%-24s yes  %s\n", line->name, line->value);
        else
            printf("%-24s no   %s%s%s\n", line->name, line->reason, line->remedy[0] ? ": " : "",
                   line->remedy);
    }
}

static void print_json(const struct pf_probe *probe)
{
    struct json_object *report = json_object_new_object();
    struct json_object *checks = json_object_new_object();
    for (unsigned i = 0; i < probe->count; i++) {
        const struct pf_probe_line *line = &probe->lines[i];
        struct json_object *check = json_object_new_object();
        json_object_object_add(check, "ok", json_object_new_boolean(line->ok));
        json_object_object_add(check, "value", json_object_new_string(line->value));
        json_object_object_add(check, "reason", json_object_new_string(line->reason));
        json_object_object_add(check, "remedy", json_object_new_string(line->remedy));
        json_object_object_add(checks, line->name, check);
    }
    bool usable = probe->postcopy && probe->transport;
    json_object_object_add(report, "ok", json_object_new_boolean(usable));
    json_object_object_add(report, "postcopy", json_object_new_boolean(probe->postcopy));
    json_object_object_add(report, "transport", json_object_new_boolean(probe->transport));
    json_object_object_add(report, "checks", checks);
    pf_print_json(report);
    json_object_put(report);
}

int pf_command_probe(int argc, char **argv)
{
    bool json = false;
    struct pf_probe probe = {.count = 0};
    argp_parse(&argp, argc, argv, 0, NULL, &json);
    pf_probe_machine(&probe);
    pf_probe_userfaultfd(&probe);
    pf_probe_pagemap(&probe);
    pf_probe_tracking(&probe);
    pf_probe_memlock(&probe);
    pf_probe_huge_pages(&probe);
    pf_probe_tcp(&probe);
    pf_probe_verbs(&probe);
    pf_probe_ofi(&probe);
    json ? print_json(&probe) : print_text(&probe);
    return probe.postcopy && probe.transport ? PF_EXIT_OK : PF_EXIT_FAILED;
}
