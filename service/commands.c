/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/command.h"

#include <argp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* glibc's argp reads this, which hidden would keep from it: it gives every subcommand --version. */
__attribute__((visibility("default"))) const char *argp_program_version = "pageferry " PF_VERSION;

const struct pf_command pf_commands[] = {
    {"probe", pf_command_probe, "Show what this host can do"},
    {"run", pf_command_run, "Start a job that can be moved"},
    {"receive", pf_command_receive, "Start a job as the destination of a migration"},
    {"offer", pf_command_offer, "Be the source of a file's content, for a client"},
    {"migrate", pf_command_migrate, "Move a job to where it is received"},
    {"list", pf_command_list, "List the jobs of this host"},
    {"status", pf_command_status, "Show the state of a job"},
    {"set", pf_command_set, "Change options of a job, also while it is moved"},
    {"switch", pf_command_switch, "End pre-copy now: the rest follows the job"},
    {"plot", pf_command_plot, "Draw a migration's rounds, and how long faults blocked threads"},
    {"cancel", pf_command_cancel, "Stop a migration before the destination runs"},
    {"bench", pf_command_bench, "Measure a transport, page faults, or the page stream"},
    {"help", pf_command_help, "Explain a command"},
    {"version", pf_command_version, "Print the version"},
    {NULL, NULL, NULL},
};

int pf_complain(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("pageferry: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

int pf_command_dispatch(const char *name, int argc, char **argv)
{
    char title[64];
    for (const struct pf_command *command = pf_commands; command->name; command++) {
        if (strcmp(command->name, name) != 0)
            continue;
        snprintf(title, sizeof title, "pageferry %s", name);
        argv[0] = title;
        return command->run(argc, argv);
    }
    return pf_complain(PF_EXIT_USAGE, "there is no command \"%s\": see pageferry help", name);
}
