/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/engine_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_KEY = 0x1000 }; /* above every character, so that no option has a short form */

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct pf_engine_args *args = state->input;
    if (key < FIRST_KEY || key >= FIRST_KEY + PF_OPTION_COUNT)
        return ARGP_ERR_UNKNOWN;
    unsigned index = (unsigned)(key - FIRST_KEY);
    struct pf_why why;
    if (pf_options_set(&args->values, pf_option_table[index].name, text, &why) != 0)
        argp_error(state, "%s", why.text);
    args->given[index] = true;
    return 0;
}

static void make_rows(struct pf_engine_args *args)
{
    char variable[PF_OPTION_TEXT_MAX];
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        const struct pf_option *option = &pf_option_table[i];
        pf_options_variable(i, variable);
        snprintf(args->docs[i], sizeof args->docs[i], "%s (default %s; %s)", option->doc,
                 option->fallback, variable);
        args->rows[i] = (struct argp_option){
            .name = option->name,
            .key = FIRST_KEY + (int)i,
            .arg = option->metavar,
            .doc = args->docs[i],
        };
    }
    args->argp = (struct argp){.options = args->rows, .parser = parse};
    args->child[0] = (struct argp_child){.argp = &args->argp, .header = "Engine options:"};
}

int pf_engine_args_init(struct pf_engine_args *args, struct pf_why *why)
{
    memset(args, 0, sizeof *args);
    make_rows(args);
    pf_options_init(&args->values);
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        char variable[PF_OPTION_TEXT_MAX];
        pf_options_variable(i, variable);
        args->given[i] = getenv(variable) != NULL;
    }
    return pf_options_from_environment(&args->values, why);
}

int pf_engine_args_export(const struct pf_engine_args *args, struct pf_why *why)
{
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        char variable[PF_OPTION_TEXT_MAX];
        char value[PF_OPTION_TEXT_MAX];
        if (!args->given[i])
            continue;
        pf_options_variable(i, variable);
        pf_options_format(&args->values, i, value);
        if (setenv(variable, value, 1) != 0)
            return pf_why(why, -errno, "can't set %s in the environment: %s", variable,
                          strerror(errno));
    }
    return 0;
}

struct json_object *pf_engine_args_json(const struct pf_engine_args *args)
{
    struct json_object *options = json_object_new_object();
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        char value[PF_OPTION_TEXT_MAX];
        if (!args->given[i])
            continue;
        pf_options_format(&args->values, i, value);
        json_object_object_add(options, pf_option_table[i].name, json_object_new_string(value));
    }
    return options;
}
