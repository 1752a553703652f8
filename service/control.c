/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/control.h"

#include "base/clock.h"
#include "core/job/job_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int pf_control_open(struct pf_control *control, const char *name, unsigned timeout_ms,
                    struct pf_why *why)
{
    control->name = name;
    control->used = 0;
    control->line = 0;
    control->fd = pf_job_socket_connect(name, timeout_ms, why);
    return control->fd < 0 ? control->fd : 0;
}

void pf_control_close(struct pf_control *control)
{
    if (control->fd >= 0)
        close(control->fd);
    control->fd = -1;
}

static int send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return -errno;
        if (sent > 0) {
            data += sent;
            length -= (size_t)sent;
        }
    }
    return 0;
}

/* In one piece: the job acts on the line's end, so what failed to be sent was not asked. */
int pf_control_send(struct pf_control *control, struct json_object *request, struct pf_why *why)
{
    char *line = NULL;
    int length =
        asprintf(&line, "%s\n", json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
    int error = length < 0 ? -ENOMEM : send_all(control->fd, line, (size_t)length);
    if (length >= 0)
        free(line);
    if (error)
        return pf_why(why, error, "can't send a request to job \"%s\": %s", control->name,
                      strerror(-error));
    return 0;
}

static int wait_readable(int fd, uint64_t deadline)
{
    for (;;) {
        uint64_t now = pf_now_ns();
        int left = now >= deadline ? 0 : (int)((deadline - now + 999999) / 1000000);
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        int ready = poll(&pollfd, 1, left);
        if (ready > 0)
            return 0;
        if (ready == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* Read until the buffer holds a whole line. */
static int fill_line(struct pf_control *control, uint64_t deadline)
{
    char *end;
    while (!(end = memchr(control->buffer, '\n', control->used))) {
        if (control->used == sizeof control->buffer)
            return -EMSGSIZE;
        int error = wait_readable(control->fd, deadline);
        if (error)
            return error;
        ssize_t got = read(control->fd, control->buffer + control->used,
                           sizeof control->buffer - control->used);
        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0)
            control->used += (size_t)got;
    }
    control->line = (size_t)(end - control->buffer) + 1;
    return 0;
}

static struct json_object *parse_line(const struct pf_control *control)
{
    struct json_tokener *tokener = json_tokener_new();
    if (!tokener)
        return NULL;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* The line's end counts: it completes an object and makes a bare number one, too. */
    struct json_object *record =
        json_tokener_parse_ex(tokener, control->buffer, (int)control->line);
    bool whole = json_tokener_get_error(tokener) == json_tokener_success;
    json_tokener_free(tokener);
    if (whole && json_object_is_type(record, json_type_object))
        return record;
    json_object_put(record);
    return NULL;
}

static int receive_failed(const struct pf_control *control, int error, struct pf_why *why)
{
    switch (error) {
    case -ETIMEDOUT:
        return pf_why(why, error, "job \"%s\" does not answer: is it stopped?", control->name);
    case -ECONNRESET:
        return pf_why(why, error,
                      "job \"%s\" closed its control socket before it had answered: it ended, or "
                      "was killed",
                      control->name);
    case -EMSGSIZE:
        return pf_why(why, -EPROTO, "job \"%s\" sent a line of more than %d bytes", control->name,
                      PF_CONTROL_LINE_MAX);
    default:
        return pf_why(why, error, "can't hear from job \"%s\": %s", control->name,
                      strerror(-error));
    }
}

int pf_control_receive(struct pf_control *control, unsigned timeout_ms, struct json_object **record,
                       struct pf_why *why)
{
    control->used -= control->line;
    memmove(control->buffer, control->buffer + control->line, control->used);
    control->line = 0;
    int error = fill_line(control, pf_now_ns() + timeout_ms * UINT64_C(1000000));
    if (error)
        return receive_failed(control, error, why);
    *record = parse_line(control);
    if (!*record)
        return pf_why(why, -EPROTO,
                      "job \"%s\" sent a line that is no JSON object: is it another version of "
                      "pageferry?",
                      control->name);
    return 0;
}
