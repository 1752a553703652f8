/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/command.h"

#include <argp.h>
#include <string.h>

int main(int argc, char **argv)
{
    char *help[] = {argv[0], NULL};
    argp_err_exit_status = PF_EXIT_USAGE;
    if (argc < 2)
        return pf_complain(PF_EXIT_USAGE, "a command is missing: see pageferry help");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0)
        return pf_command_dispatch("help", 1, help);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return pf_command_dispatch("version", 1, help);
    return pf_command_dispatch(argv[1], argc - 1, argv + 1);
}
