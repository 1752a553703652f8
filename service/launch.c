/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/launch.h"

#include "core/job/job_socket.h"
#include "core/runtime_dir.h"
#include "service/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIVE_CHECK_MS = 1000 };

/* The job itself takes the name; looking first only makes the refusal early and readable. */
static int check_name_free(const char *name, struct pf_why *why)
{
    int fd = pf_job_socket_connect(name, LIVE_CHECK_MS, why);
    if (fd == -ENOENT || fd == -ECONNREFUSED)
        return 0;
    if (fd < 0 && fd != -ETIMEDOUT)
        return fd;
    if (fd >= 0)
        close(fd);
    return pf_why(why, -EEXIST,
                  "the name \"%s\" is taken by a live job: choose another, or see pageferry list",
                  name);
}

static int set_variable(const char *variable, const char *value, struct pf_why *why)
{
    int result = value ? setenv(variable, value, 1) : unsetenv(variable);
    if (result != 0)
        return pf_why(why, -errno, "can't set %s in the environment: %s", variable,
                      strerror(errno));
    return 0;
}

static int set_environment(const struct pf_launch *launch, struct pf_why *why)
{
    int error = set_variable("PAGEFERRY_NAME", launch->name, why);
    if (!error)
        error = set_variable("PAGEFERRY_INCOMING", launch->uri, why);
    if (!error)
        error = set_variable("PAGEFERRY_ONCE", launch->once ? "1" : NULL, why);
    if (!error)
        error = pf_engine_args_export(&launch->engine, why);
    return error;
}

int pf_launch_prepare(const struct pf_launch *launch)
{
    struct pf_why why;
    if (pf_job_name_check(launch->name, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    if (check_name_free(launch->name, &why) != 0 || set_environment(launch, &why) != 0)
        return pf_complain(PF_EXIT_FAILED, "%s", why.text);
    return 0;
}

int pf_launch(const struct pf_launch *launch)
{
    int failed = pf_launch_prepare(launch);
    if (failed)
        return failed;
    execvp(launch->program[0], launch->program);
    int status = errno == ENOENT ? PF_EXIT_NOPROGRAM : PF_EXIT_NOEXEC;
    return pf_complain(status, "can't run %s: %s", launch->program[0], strerror(errno));
}
