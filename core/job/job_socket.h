/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A job's control socket: how a name leads to a process. What is said over it is described in
 * docs/control.md.
 */
#ifndef PF_CORE_JOB_JOB_SOCKET_H
#define PF_CORE_JOB_JOB_SOCKET_H

#include "base/why.h"

#include <stdbool.h>

/*
 * Connect to the job of that name; waits at most timeout_ms where its backlog is full. Returns a
 * descriptor (close-on-exec, blocking) or -ENOENT no such job, -ECONNREFUSED a socket that a
 * dead job left behind, -ETIMEDOUT, -EACCES, -EPERM and other errors of connect().
 */
int pf_job_socket_connect(const char *name, unsigned timeout_ms, struct pf_why *why);

/*
 * Listen under that name; makes the directory if needed. The socket appears under its name only
 * once it listens, so that nobody takes it for a dead one; a dead job's socket is replaced. Returns
 * a descriptor (close-on-exec, non-blocking) or -EEXIST a live job has the name, or -errno.
 */
int pf_job_socket_listen(const char *name, struct pf_why *why);

/* Close a listening socket and take its name away. Safe with a negative descriptor. */
void pf_job_socket_close(const char *name, int fd);

/* Remove the socket of that name if nobody listens there; true if it was removed. */
bool pf_job_socket_remove_stale(const char *name);

#endif
