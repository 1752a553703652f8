/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a process or a thread is in cgroup v2, and its files there. Control thread only. */
#ifndef PF_CORE_THROTTLE_CGROUP_H
#define PF_CORE_THROTTLE_CGROUP_H

#include "base/why.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The directory of the cgroup that /proc/WHO/cgroup names: "self", "17", "self/task/18". -ENOENT
 * if there is none: cgroup v2 isn't mounted, or whoever it was is gone.
 */
int pf_cgroup_of(const char *who, char path[PATH_MAX], struct pf_why *why);

/*
 * The same, from a text as it is in /proc/PID/cgroup and the place where cgroup v2 is mounted. Does
 * not look whether it is there. -ENOENT: the text names none; -ENAMETOOLONG.
 */
int pf_cgroup_path(const char *mount, const char *text, char path[PATH_MAX]);

/* Read a file of a cgroup, as much as fits with a 0 at its end; write one. -errno. */
int pf_cgroup_read(const char *directory, const char *file, char *text, size_t size);
int pf_cgroup_write(const char *directory, const char *file, const char *text);

/* Is the word among those of a file (controllers, say)? */
bool pf_cgroup_has(const char *directory, const char *file, const char *word);

#endif
