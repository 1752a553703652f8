/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/command.h"
#include "service/launch.h"

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct pf_launch *launch = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &launch->engine;
        return 0;
    case 'n':
        launch->name = text;
        return 0;
    case ARGP_KEY_ARG:
        /* The rest is the program's, its options too. */
        launch->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!launch->name)
            argp_error(state, "--name is missing: the job needs a name to be found by");
        if (!launch->program)
            argp_error(state, "the program is missing: pageferry run --name NAME -- PROGRAM");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"name", 'n', "NAME", 0, "The job's name on this host (PAGEFERRY_NAME)", 0},
    {0},
};

int pf_command_run(int argc, char **argv)
{
    struct pf_launch launch = {.name = NULL};
    struct pf_why why;
    if (pf_engine_args_init(&launch.engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "-- PROGRAM [ARGUMENT...]",
        .doc = "Start PROGRAM, which uses libpageferry, as a job that can be moved.",
        .children = launch.engine.child,
    };
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &launch);
    return pf_launch(&launch);
}
