/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of a job's control socket, and the clients that give them. The agent's thread only.
 */
#ifndef PF_CORE_JOB_AGENT_COMMAND_H
#define PF_CORE_JOB_AGENT_COMMAND_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

enum { PF_AGENT_LINE_MAX = 16384 };

struct ferry_job;

struct pf_agent_client {
    int fd; /* -1: free */
    char line[PF_AGENT_LINE_MAX];
    size_t filled;
    bool watching; /* asked for a migration and waits for its end */
    unsigned watching_serial;
    unsigned rounds_told; /* of that migration */
};

/* Run the command on a line and answer it; one that makes no sense ends the conversation. */
void pf_agent_command(struct ferry_job *job, struct pf_agent_client *client, const char *line);

/* Send a record, which this puts. A client that doesn't read is dropped: it must not hold us up. */
void pf_agent_answer(struct pf_agent_client *client, struct json_object *record);
void pf_agent_answer_error(struct pf_agent_client *client, int error, int exit_status,
                           const char *message);

void pf_agent_drop(struct pf_agent_client *client);

#endif
