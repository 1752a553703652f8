/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/agent_command.h"

#include "core/job/job.h"
#include "core/job/job_record.h"
#include "core/job/steer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- answers --------------------------------------------------------------------------------- */

void pf_agent_drop(struct pf_agent_client *client)
{
    close(client->fd);
    *client = (struct pf_agent_client){.fd = -1};
}

void pf_agent_answer(struct pf_agent_client *client, struct json_object *record)
{
    const char *text = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN);
    size_t length = strlen(text);
    char end[] = "\n";
    struct iovec line[] = {{(void *)(uintptr_t)text, length}, {end, 1}};
    struct msghdr message = {.msg_iov = line, .msg_iovlen = 2};
    ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    json_object_put(record);
    if (sent != (ssize_t)(length + 1))
        pf_agent_drop(client);
}

void pf_agent_answer_error(struct pf_agent_client *client, int error, int exit_status,
                           const char *message)
{
    pf_agent_answer(client, pf_job_error_record(error, exit_status, message));
}

/* ---- options --------------------------------------------------------------------------------- */

/* Each option is in the table once, so that a request has no more of them than that. */
static int read_changes(struct json_object *options,
                        struct pf_option_change changes[PF_OPTION_COUNT], unsigned *count,
                        struct pf_why *why)
{
    *count = 0;
    json_object_object_foreach(options, name, value)
    {
        const char *text =
            json_object_is_type(value, json_type_null) ? NULL : json_object_get_string(value);
        if (!text)
            return pf_why(why, -EINVAL, "option %.32s has no value", name);
        if (pf_options_find(name) < 0)
            return pf_options_set(NULL, name, text, why);
        changes[(*count)++] = (struct pf_option_change){name, text};
    }
    return 0;
}

/* What a request says of options, if anything. */
static int take_options(struct json_object *request,
                        struct pf_option_change changes[PF_OPTION_COUNT], unsigned *count,
                        struct pf_why *why)
{
    struct json_object *options;
    *count = 0;
    if (!json_object_object_get_ex(request, "options", &options))
        return 0;
    if (!json_object_is_type(options, json_type_object))
        return pf_why(why, -EINVAL, "\"options\" is no object");
    return read_changes(options, changes, count, why);
}

/* ---- commands -------------------------------------------------------------------------------- */

typedef void command_fn(struct ferry_job *job, struct pf_agent_client *client,
                        struct json_object *request);

/* Done, or the error in words. */
static void answer_outcome(struct ferry_job *job, struct pf_agent_client *client, int error,
                           const char *why)
{
    if (error)
        pf_agent_answer_error(client, error, 1, why);
    else
        pf_agent_answer(client, pf_job_status_record(job, "done"));
}

static void on_status(struct ferry_job *job, struct pf_agent_client *client,
                      struct json_object *request)
{
    (void)request;
    pf_agent_answer(client, pf_job_status_record(job, "status"));
}

static void on_migrate(struct ferry_job *job, struct pf_agent_client *client,
                       struct json_object *request)
{
    struct pf_option_change changes[PF_OPTION_COUNT];
    unsigned count;
    struct json_object *uri;
    struct pf_why why = {""};
    if (!json_object_object_get_ex(request, "uri", &uri) ||
        !json_object_is_type(uri, json_type_string)) {
        pf_agent_answer_error(client, -EINVAL, 1, "a migration needs a \"uri\"");
        return;
    }
    int error = take_options(request, changes, &count, &why);
    if (!error)
        error = pf_job_migrate(job, json_object_get_string(uri), changes, count, &why);
    pthread_mutex_lock(&job->lock);
    client->watching_serial = job->outcome.serial;
    pthread_mutex_unlock(&job->lock);
    client->watching = !error;
    client->rounds_told = 0;
    if (error)
        pf_agent_answer_error(client, error, 1, why.text);
}

static void on_set(struct ferry_job *job, struct pf_agent_client *client,
                   struct json_object *request)
{
    struct pf_option_change changes[PF_OPTION_COUNT];
    unsigned count;
    struct pf_why why = {""};
    int error = take_options(request, changes, &count, &why);
    if (!error)
        error = pf_job_change(job, changes, count, &why);
    answer_outcome(job, client, error, why.text);
}

static void on_switch(struct ferry_job *job, struct pf_agent_client *client,
                      struct json_object *request)
{
    struct pf_why why = {""};
    (void)request;
    int error = pf_job_switch(job, &why);
    answer_outcome(job, client, error, why.text);
}

static void on_cancel(struct ferry_job *job, struct pf_agent_client *client,
                      struct json_object *request)
{
    (void)request;
    int error = ferry_job_cancel(job);
    answer_outcome(job, client, error,
                   error == -ESRCH ? "no migration is under way"
                                   : "too late: the job runs at the destination");
}

static command_fn *find_command(const char *name)
{
    static const struct {
        const char *name;
        command_fn *run;
    } commands[] = {
        {"status", on_status}, {"migrate", on_migrate}, {"set", on_set},
        {"switch", on_switch}, {"cancel", on_cancel},
    };
    for (size_t i = 0; name && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run;
    return NULL;
}

void pf_agent_command(struct ferry_job *job, struct pf_agent_client *client, const char *line)
{
    struct json_object *request = json_tokener_parse(line);
    struct json_object *command = NULL;
    if (request && json_object_is_type(request, json_type_object))
        json_object_object_get_ex(request, "command", &command);
    command_fn *run = find_command(command ? json_object_get_string(command) : NULL);
    if (run)
        run(job, client, request);
    else
        pf_agent_answer_error(client, -EINVAL, 1, "not a command of this job");
    json_object_put(request);
    if (!run && client->fd >= 0)
        pf_agent_drop(client);
}
