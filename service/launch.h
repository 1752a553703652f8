/* SPDX-License-Identifier: BSD-2-Clause */
/* Becoming the program of a job: what `run` and `receive` share. */
#ifndef PF_SERVICE_LAUNCH_H
#define PF_SERVICE_LAUNCH_H

#include "service/engine_args.h"

struct pf_launch {
    struct pf_engine_args engine;
    const char *name;
    const char *uri; /* where to be received; NULL for a job that starts here */
    bool once;
    char **program; /* NULL-terminated, points into main's argv */
};

/*
 * Check the name and set the environment that the library reads, for this process or the program
 * that it becomes. 0, or an exit status after a complaint.
 */
int pf_launch_prepare(const struct pf_launch *launch);

/*
 * Prepare, and replace this process by the program. Returns only if that failed: the exit status,
 * after a complaint.
 */
int pf_launch(const struct pf_launch *launch);

#endif
