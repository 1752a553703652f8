/* SPDX-License-Identifier: BSD-2-Clause */
/* Changing a migration while it runs: its knobs, and its course. */
#ifndef PF_CORE_STEER_H
#define PF_CORE_STEER_H

#include "base/why.h"

#include <stdbool.h>

struct ferry_job;

/* One option and its new value, both as on a command line. */
struct pf_change {
    const char *option, *value;
};

/*
 * Change options: all of them, or none if one is refused. They stay set for later migrations; those
 * in core/knobs.h take effect on one that is under way, too, and others can't be changed then
 * (-EBUSY). idle: refuse all of them then. -ENOENT no such option; -EINVAL, -ERANGE a bad value, or
 * one that does not agree with the rest; -EBUSY the job has not started, or is just arriving. Any
 * thread.
 */
int pf_job_change(struct ferry_job *job, const struct pf_change *changes, unsigned count, bool idle,
                  struct pf_why *why);

/* ferry_job_switch() with its sentence. Any thread. */
int pf_job_switch(struct ferry_job *job, struct pf_why *why);

#endif
