/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's end of a job's control socket: one JSON object per line each way. Whatever comes
 * in is checked: a peer that sends something else ends the conversation, nothing more.
 */
#ifndef PF_SERVICE_CONTROL_H
#define PF_SERVICE_CONTROL_H

#include "base/why.h"

#include <json-c/json.h>
#include <stddef.h>

/* A record with a row for each of 256 threads and 64 rounds fits well. */
enum { PF_CONTROL_LINE_MAX = 196608 };

struct pf_control {
    int fd;
    const char *name;
    size_t used; /* bytes in buffer */
    size_t line; /* bytes of the line handed out last, taken off at the next receive */
    char buffer[PF_CONTROL_LINE_MAX];
};

/* name must outlive the control. Errors as of pf_job_socket_connect(). */
int pf_control_open(struct pf_control *control, const char *name, unsigned timeout_ms,
                    struct pf_why *why);

/* Send one request; it stays the caller's. */
int pf_control_send(struct pf_control *control, struct json_object *request, struct pf_why *why);

/*
 * Wait for one record: an object, which the caller puts. -ETIMEDOUT silence for timeout_ms,
 * -ECONNRESET the job closed the connection, -EPROTO not a JSON object on a line.
 */
int pf_control_receive(struct pf_control *control, unsigned timeout_ms, struct json_object **record,
                       struct pf_why *why);

void pf_control_close(struct pf_control *control);

#endif
