/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The job's control socket, served by a thread in the job's process: one JSON object a line each
 * way, as docs/control.md describes. It never touches a region, so it answers while pages arrive.
 */
#ifndef PF_CORE_JOB_AGENT_H
#define PF_CORE_JOB_AGENT_H

#include "base/why.h"

struct ferry_job;
struct pf_agent;

/* Listen under the job's name and start the thread. -EADDRINUSE: a live job has the name. */
int pf_agent_open(struct pf_agent **agent, struct ferry_job *job, struct pf_why *why);
void pf_agent_close(struct pf_agent *agent);

/* A migration has ended: tell those who wait for it. Any thread. */
void pf_agent_wake(struct pf_agent *agent);

/* Wait (bounded) until they have been told; the process is about to end. */
void pf_agent_flush(struct pf_agent *agent);

#endif
