/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where jobs of this host can be found: one directory per user, with a unix stream socket
 * NAME.sock for each job.
 *
 *     $PAGEFERRY_RUNTIME_DIR          if set
 *     /run/pageferry                  for root
 *     $XDG_RUNTIME_DIR/pageferry      if set
 *     /tmp/pageferry-UID              otherwise
 *
 * Whoever can write there can pose as a job and whoever can connect can move one, so the directory
 * must belong to the caller (or to root) and be writable by nobody else.
 */
#ifndef PF_CORE_RUNTIME_DIR_H
#define PF_CORE_RUNTIME_DIR_H

#include "base/why.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { PF_JOB_NAME_MAX = 64 };

#define PF_JOB_SOCKET_SUFFIX ".sock"

/* The directory's path; touches nothing. -ENAMETOOLONG. */
int pf_runtime_dir(char *out, size_t size, struct pf_why *why);

/*
 * Check owner and mode of an existing directory. -ENOENT it isn't there; -EPERM it is not safe to
 * use, -ENOTDIR; the sentence says what to do.
 */
int pf_runtime_dir_check(const char *path, struct pf_why *why);

/* Make the directory, mode 0700, where it isn't there yet, and check it. */
int pf_runtime_dir_create(const char *path, struct pf_why *why);

/* 1 to 64 of A-Z a-z 0-9 . _ - make a job's name; else -EINVAL with a sentence that says so. */
int pf_job_name_check(const char *name, struct pf_why *why);

/* The path of a job's socket, short enough for a socket address. -EINVAL, -ENAMETOOLONG. */
int pf_job_socket_path(const char *name, char *out, size_t size, struct pf_why *why);

#endif
