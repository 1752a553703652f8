/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/agent.h"

#include "base/clock.h"
#include "core/job.h"
#include "core/job_record.h"
#include "core/job_socket.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CLIENTS_MAX = 16, LINE_MAX_BYTES = 16384, FLUSH_MS = 1000 };

struct client {
    int fd; /* -1: free */
    char line[LINE_MAX_BYTES];
    size_t filled;
    bool watching; /* asked for a migration and waits for its end */
    unsigned watching_serial;
};

struct pf_agent {
    struct ferry_job *job;
    pthread_t thread;
    int listen_fd, wake_fd;
    atomic_bool stop;
    atomic_uint flushed; /* serial of the latest migration whose end has been told */
    struct client clients[CLIENTS_MAX];
};

/* ---- answers --------------------------------------------------------------------------------- */

static void drop(struct client *client)
{
    close(client->fd);
    *client = (struct client){.fd = -1};
}

/* A client that doesn't read is dropped: it must not hold the job's thread up. */
static void answer(struct client *client, struct json_object *record)
{
    const char *text = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN);
    size_t length = strlen(text);
    char end[] = "\n";
    struct iovec line[] = {{(void *)(uintptr_t)text, length}, {end, 1}};
    struct msghdr message = {.msg_iov = line, .msg_iovlen = 2};
    ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    json_object_put(record);
    if (sent != (ssize_t)(length + 1))
        drop(client);
}

static void answer_error(struct client *client, int error, int exit_status, const char *message)
{
    answer(client, pf_job_error_record(error, exit_status, message));
}

/* ---- commands -------------------------------------------------------------------------------- */

static void on_status(struct pf_agent *agent, struct client *client, struct json_object *request)
{
    (void)request;
    answer(client, pf_job_status_record(agent->job, "status"));
}

static int apply_options(struct ferry_job *job, struct json_object *request, struct pf_why *why)
{
    struct json_object *options;
    if (!json_object_object_get_ex(request, "options", &options))
        return 0;
    if (!json_object_is_type(options, json_type_object))
        return pf_why(why, -EINVAL, "\"options\" is no object");
    struct pf_options changed = job->options;
    json_object_object_foreach(options, name, value)
    {
        const char *text = json_object_get_string(value);
        int error = text ? pf_options_set(&changed, name, text, why)
                         : pf_why(why, -EINVAL, "option %.32s has no value", name);
        if (error)
            return error;
    }
    pthread_mutex_lock(&job->lock);
    int error = job->migrating ? pf_why(why, -EBUSY, "a migration is under way")
                : atomic_load(&job->phase) == PF_PHASE_SETUP
                    ? pf_why(why, -EBUSY, "the job has not started")
                    : 0;
    if (!error)
        job->options = changed;
    pthread_mutex_unlock(&job->lock);
    return error;
}

static void on_migrate(struct pf_agent *agent, struct client *client, struct json_object *request)
{
    struct ferry_job *job = agent->job;
    struct json_object *uri;
    struct pf_why why = {""};
    if (!json_object_object_get_ex(request, "uri", &uri) ||
        !json_object_is_type(uri, json_type_string)) {
        answer_error(client, -EINVAL, 1, "a migration needs a \"uri\"");
        return;
    }
    int error = apply_options(job, request, &why);
    if (error) {
        answer_error(client, error, 1, why.text);
        return;
    }
    error = ferry_job_migrate(job, json_object_get_string(uri));
    if (error) {
        pthread_mutex_lock(&job->lock);
        why = job->why;
        pthread_mutex_unlock(&job->lock);
        answer_error(client, error, 1, why.text);
        return;
    }
    pthread_mutex_lock(&job->lock);
    client->watching_serial = job->outcome.serial;
    pthread_mutex_unlock(&job->lock);
    client->watching = true;
}

static void on_cancel(struct pf_agent *agent, struct client *client, struct json_object *request)
{
    (void)request;
    int error = ferry_job_cancel(agent->job);
    if (error == -ESRCH)
        answer_error(client, error, 1, "no migration is under way");
    else if (error)
        answer_error(client, error, 1, "too late: the job runs at the destination");
    else
        answer(client, pf_job_status_record(agent->job, "done"));
}

static const struct {
    const char *name;
    void (*run)(struct pf_agent *agent, struct client *client, struct json_object *request);
} commands[] = {
    {"status", on_status},
    {"migrate", on_migrate},
    {"cancel", on_cancel},
};

static void on_line(struct pf_agent *agent, struct client *client, const char *line)
{
    struct json_object *request = json_tokener_parse(line);
    struct json_object *command = NULL;
    if (request && json_object_is_type(request, json_type_object))
        json_object_object_get_ex(request, "command", &command);
    const char *name = command ? json_object_get_string(command) : NULL;
    size_t i = 0;
    size_t count = sizeof commands / sizeof commands[0];
    while (name && i < count && strcmp(commands[i].name, name) != 0)
        i++;
    if (name && i < count)
        commands[i].run(agent, client, request);
    else
        answer_error(client, -EINVAL, 1, "not a command of this job");
    json_object_put(request);
    if ((!name || i == count) && client->fd >= 0)
        drop(client);
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void on_readable(struct pf_agent *agent, struct client *client)
{
    ssize_t got = recv(client->fd, client->line + client->filled,
                       sizeof client->line - 1 - client->filled, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop(client);
        return;
    }
    client->filled += (size_t)got;
    client->line[client->filled] = '\0';
    char *end;
    while (client->fd >= 0 && (end = strchr(client->line, '\n'))) {
        *end = '\0';
        on_line(agent, client, client->line);
        if (client->fd < 0)
            return;
        size_t used = (size_t)(end + 1 - client->line);
        memmove(client->line, end + 1, client->filled - used + 1);
        client->filled -= used;
    }
    if (client->filled == sizeof client->line - 1) {
        answer_error(client, -EMSGSIZE, 1, "a command of more than 16 KiB");
        if (client->fd >= 0)
            drop(client);
    }
}

static void on_connection(struct pf_agent *agent)
{
    int fd = accept4(agent->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        if (agent->clients[i].fd < 0) {
            agent->clients[i] = (struct client){.fd = fd};
            return;
        }
    }
    close(fd);
}

/* Those who wait for a migration get its counters, and at its end how it ended. */
static void tell_watchers(struct pf_agent *agent)
{
    struct ferry_job *job = agent->job;
    pthread_mutex_lock(&job->lock);
    struct pf_outcome outcome = job->outcome;
    struct pf_why why = job->why;
    pthread_mutex_unlock(&job->lock);
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &agent->clients[i];
        if (client->fd < 0 || !client->watching)
            continue;
        bool ended = outcome.serial != client->watching_serial || outcome.ended;
        if (ended)
            client->watching = false;
        if (!ended)
            answer(client, pf_job_status_record(job, "progress"));
        else if (outcome.error)
            answer_error(client, outcome.error, outcome.exit_status, why.text);
        else
            answer(client, pf_job_status_record(job, "done"));
    }
    if (outcome.ended)
        atomic_store(&agent->flushed, outcome.serial);
}

static bool anyone_watches(const struct pf_agent *agent)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (agent->clients[i].fd >= 0 && agent->clients[i].watching)
            return true;
    return false;
}

static void wait_and_serve(struct pf_agent *agent)
{
    struct pollfd polled[CLIENTS_MAX + 2];
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        polled[i] = (struct pollfd){.fd = agent->clients[i].fd, .events = POLLIN};
    polled[CLIENTS_MAX] = (struct pollfd){.fd = agent->listen_fd, .events = POLLIN};
    polled[CLIENTS_MAX + 1] = (struct pollfd){.fd = agent->wake_fd, .events = POLLIN};
    unsigned progress_ms = agent->job->options.progress_ms;
    int timeout = anyone_watches(agent) ? (int)(progress_ms < 1000 ? progress_ms : 1000) : -1;
    poll(polled, CLIENTS_MAX + 2, timeout);

    uint64_t count;
    ssize_t got = read(agent->wake_fd, &count, sizeof count);
    (void)got;
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (polled[i].fd >= 0 && polled[i].revents)
            on_readable(agent, &agent->clients[i]);
    if (polled[CLIENTS_MAX].revents)
        on_connection(agent);
    tell_watchers(agent);
}

static void *agent_run(void *arg)
{
    struct pf_agent *agent = arg;
    while (!atomic_load(&agent->stop))
        wait_and_serve(agent);
    tell_watchers(agent);
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int start_thread(struct pf_agent *agent, struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&agent->thread, NULL, agent_run, agent);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return pf_why(why, -error, "cannot start the agent thread: %s", strerror(error));
    pthread_setname_np(agent->thread, "pf-agent");
    return 0;
}

int pf_agent_open(struct pf_agent **out, struct ferry_job *job, struct pf_why *why)
{
    struct pf_agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return pf_why(why, -ENOMEM, "no memory for the control socket");
    agent->job = job;
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        agent->clients[i].fd = -1;
    agent->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    agent->listen_fd = pf_job_socket_listen(job->name, why);
    int error = agent->listen_fd < 0 ? agent->listen_fd : 0;
    if (error == -EEXIST)
        error = -EADDRINUSE;
    if (!error)
        error = start_thread(agent, why);
    if (error) {
        pf_job_socket_close(job->name, agent->listen_fd);
        close(agent->wake_fd);
        free(agent);
        return error;
    }
    *out = agent;
    return 0;
}

void pf_agent_wake(struct pf_agent *agent)
{
    ssize_t written = write(agent->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

void pf_agent_flush(struct pf_agent *agent)
{
    pthread_mutex_lock(&agent->job->lock);
    unsigned serial = agent->job->outcome.serial;
    pthread_mutex_unlock(&agent->job->lock);
    uint64_t deadline = pf_now_ns() + FLUSH_MS * 1000000ull;
    while (atomic_load(&agent->flushed) != serial && pf_now_ns() < deadline)
        usleep(1000);
}

void pf_agent_close(struct pf_agent *agent)
{
    atomic_store(&agent->stop, true);
    pf_agent_wake(agent);
    pthread_join(agent->thread, NULL);
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        if (agent->clients[i].fd >= 0)
            close(agent->clients[i].fd);
    pf_job_socket_close(agent->job->name, agent->listen_fd);
    close(agent->wake_fd);
    free(agent);
}
