/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/command.h"

#include <argp.h>
#include <stdio.h>

static error_t parse(int key, char *text, struct argp_state *state)
{
    const char **name = state->input;
    if (key != ARGP_KEY_ARG || *name)
        return ARGP_ERR_UNKNOWN;
    *name = text;
    return 0;
}

static const struct argp help_argp = {
    .parser = parse,
    .args_doc = "[COMMAND]",
    .doc = "List the commands, or explain one.",
};

static const struct argp version_argp = {.doc = "Print the version."};

static void overview(void)
{
    printf("Usage: pageferry COMMAND [OPTION...] [ARGUMENT...]\n"
           "Move the memory of a running job to another host while it keeps running.\n\n"
           "Commands:\n");
    for (const struct pf_command *command = pf_commands; command->name; command++)
        printf("  %-10s %s\n", command->name, command->doc);
    printf("\npageferry COMMAND --help explains a command, man pageferry explains them all.\n");
}

int pf_command_help(int argc, char **argv)
{
    const char *name = NULL;
    char option[] = "--help";
    argp_parse(&help_argp, argc, argv, 0, NULL, &name);
    if (name) {
        char *again[] = {argv[0], option, NULL};
        return pf_command_dispatch(name, 2, again);
    }
    overview();
    return PF_EXIT_OK;
}

int pf_command_version(int argc, char **argv)
{
    argp_parse(&version_argp, argc, argv, 0, NULL, NULL);
    puts(argp_program_version);
    return PF_EXIT_OK;
}
