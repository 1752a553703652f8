/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands of `pageferry`: one table (in commands.c), one file each. */
#ifndef PF_SERVICE_COMMAND_H
#define PF_SERVICE_COMMAND_H

#include "core/exit_status.h"

struct pf_command {
    const char *name;
    /* argv[0] is "pageferry NAME"; returns the exit status, or exits from within argp. */
    int (*run)(int argc, char **argv);
    const char *doc;
};

/* Ends with {NULL}. */
extern const struct pf_command pf_commands[];

/* Run the command of that name; an unknown one is a usage error. argv[0] is replaced. */
int pf_command_dispatch(const char *name, int argc, char **argv);

int pf_command_bench(int argc, char **argv);
int pf_command_cancel(int argc, char **argv);
int pf_command_help(int argc, char **argv);
int pf_command_list(int argc, char **argv);
int pf_command_migrate(int argc, char **argv);
int pf_command_offer(int argc, char **argv);
int pf_command_plot(int argc, char **argv);
int pf_command_probe(int argc, char **argv);
int pf_command_receive(int argc, char **argv);
int pf_command_run(int argc, char **argv);
int pf_command_set(int argc, char **argv);
int pf_command_status(int argc, char **argv);
int pf_command_switch(int argc, char **argv);
int pf_command_version(int argc, char **argv);

/* Write "pageferry: SENTENCE" to standard error and return the status. */
int pf_complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
