/* SPDX-License-Identifier: BSD-2-Clause */
/* Changing a migration while it runs: its knobs, and its course. */
#ifndef PF_CORE_JOB_STEER_H
#define PF_CORE_JOB_STEER_H

#include "core/job/job.h"

/* One option and its new value, both as on a command line. */
struct pf_option_change {
    const char *option, *value;
};

/*
 * Change options: all of them, or none if one is refused. They stay set for later migrations; those
 * in core/knobs.h take effect on one that is under way, too: the bandwidth at any time, the others
 * as long as there are rounds, from the next one on at the latest. What can't be changed then is
 * refused (-EBUSY). -ENOENT no such option; -EINVAL, -ERANGE a bad value, or one that does not
 * agree with the rest; -ENOTSUP a compression that the build or the destination does not know;
 * -EBUSY the job has not started, or is just arriving. Any thread.
 */
int pf_job_change(struct ferry_job *job, const struct pf_option_change *changes, unsigned count,
                  struct pf_why *why);

/* The same with the lock held. idle: nothing can be changed while a migration is under way. */
int pf_job_change_locked(struct ferry_job *job, const struct pf_option_change *changes,
                         unsigned count, bool idle, struct pf_why *why);

/* ferry_job_migrate() with its sentence, and with options, which stay as they were if it refuses.
 */
int pf_job_migrate(struct ferry_job *job, const char *uri, const struct pf_option_change *changes,
                   unsigned count, struct pf_why *why);

/* What a migration with these options begins with. */
enum pf_course pf_course_of(const struct pf_options *options);

/*
 * The rounds are over, by a decision that was made when this mode was asked for: to send the rest
 * in the pause (finish), or to let it follow. Nothing about them can be changed any more. False if
 * another mode is asked for by now, or post-copy after all. The control thread.
 */
bool pf_job_settle(struct ferry_job *job, unsigned mode, bool finish);

/*
 * With the lock held: -ENOTSUP if pages can't be compressed as these options say, by this build or
 * for the destination, as far as that is known.
 */
int pf_job_check_squeeze(const struct ferry_job *job, const struct pf_options *options,
                         struct pf_why *why);

/* ferry_job_switch() with its sentence. Any thread. */
int pf_job_switch(struct ferry_job *job, struct pf_why *why);

#endif
