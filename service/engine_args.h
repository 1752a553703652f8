/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine's options on a command line: argp rows made from the option table. */
#ifndef PF_SERVICE_ENGINE_ARGS_H
#define PF_SERVICE_ENGINE_ARGS_H

#include "core/options.h"

#include <argp.h>
#include <json-c/json.h>

struct pf_engine_args {
    struct pf_options values;
    bool given[PF_OPTION_COUNT]; /* by the environment or the command line */

    /* What argp reads; points into this struct, which therefore must not move. */
    struct argp_option rows[PF_OPTION_COUNT + 2];
    char docs[PF_OPTION_COUNT][256];
    struct argp argp;
    struct argp_child child[2]; /* for the `children` of the command's own argp */
};

/*
 * Fill in defaults and environment and make the rows. The command's parser hands the struct on at
 * ARGP_KEY_INIT: state->child_inputs[0] = args. Errors as of pf_options_from_environment().
 */
int pf_engine_args_init(struct pf_engine_args *args, struct pf_why *why);

/* Put the given options into this process's environment, for a program about to be run. */
int pf_engine_args_export(const struct pf_engine_args *args, struct pf_why *why);

/* {"slots": "128", ...}: the given options, for a job. The caller owns it. */
struct json_object *pf_engine_args_json(const struct pf_engine_args *args);

#endif
