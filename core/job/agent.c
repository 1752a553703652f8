/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/agent.h"

#include "base/clock.h"
#include "core/job/agent_command.h"
#include "core/job/job.h"
#include "core/job/job_record.h"
#include "core/job/job_socket.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel keeps what a client has yet to read: its longest record, and progress before that. */
enum { CLIENTS_MAX = 16, FLUSH_MS = 1000, UNREAD_BYTES = 256 << 10 };

struct pf_agent {
    struct ferry_job *job;
    pthread_t thread;
    int listen_fd, wake_fd;
    atomic_bool stop;
    atomic_uint flushed; /* serial of the latest migration whose end has been told */
    struct pf_agent_client clients[CLIENTS_MAX];
};

/* ---- the socket ------------------------------------------------------------------------------ */

static void on_readable(struct pf_agent *agent, struct pf_agent_client *client)
{
    ssize_t got = recv(client->fd, client->line + client->filled,
                       sizeof client->line - 1 - client->filled, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        pf_agent_drop(client);
        return;
    }
    client->filled += (size_t)got;
    client->line[client->filled] = '\0';
    char *end;
    while (client->fd >= 0 && (end = strchr(client->line, '\n'))) {
        *end = '\0';
        pf_agent_command(agent->job, client, client->line);
        if (client->fd < 0)
            return;
        size_t used = (size_t)(end + 1 - client->line);
        memmove(client->line, end + 1, client->filled - used + 1);
        client->filled -= used;
    }
    if (client->filled == sizeof client->line - 1) {
        pf_agent_answer_error(client, -EMSGSIZE, 1, "a command of more than 16 KiB");
        if (client->fd >= 0)
            pf_agent_drop(client);
    }
}

static void on_connection(struct pf_agent *agent)
{
    int fd = accept4(agent->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){UNREAD_BYTES}, sizeof(int));
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        if (agent->clients[i].fd < 0) {
            agent->clients[i] = (struct pf_agent_client){.fd = fd};
            return;
        }
    }
    close(fd);
}

/* The next round that this client has not heard of; false if there is none. */
static bool next_round(struct ferry_job *job, struct pf_agent_client *client,
                       struct pf_round_record *round)
{
    pthread_mutex_lock(&job->lock);
    const struct pf_round_log *log = &job->rounds;
    bool any = client->watching_serial == job->outcome.serial && client->rounds_told < log->rounds;
    if (any && log->rounds - client->rounds_told > PF_ROUND_LOG_MAX)
        client->rounds_told = log->rounds - PF_ROUND_LOG_MAX;
    if (any)
        *round = log->list[client->rounds_told++ % PF_ROUND_LOG_MAX];
    pthread_mutex_unlock(&job->lock);
    return any;
}

static void tell_rounds(struct ferry_job *job, struct pf_agent_client *client)
{
    struct pf_round_record round;
    while (client->fd >= 0 && next_round(job, client, &round))
        pf_agent_answer(client, pf_job_round_record(&round));
}

/* Those who wait for a migration get its rounds and counters, and at its end how it ended. */
static void tell_watchers(struct pf_agent *agent)
{
    struct ferry_job *job = agent->job;
    pthread_mutex_lock(&job->lock);
    struct pf_outcome outcome = job->outcome;
    struct pf_why why = job->why;
    pthread_mutex_unlock(&job->lock);
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        struct pf_agent_client *client = &agent->clients[i];
        if (client->fd < 0 || !client->watching)
            continue;
        tell_rounds(job, client);
        if (client->fd < 0)
            continue;
        bool ended = outcome.serial != client->watching_serial || outcome.ended;
        if (ended)
            client->watching = false;
        if (!ended)
            pf_agent_answer(client, pf_job_status_record(job, "progress"));
        else if (outcome.error)
            pf_agent_answer_error(client, outcome.error, outcome.exit_status, why.text);
        else
            pf_agent_answer(client, pf_job_status_record(job, "done"));
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

/* Time between two records of progress. Any thread may change it. */
static int progress_ms(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    unsigned ms = job->options.progress_ms;
    pthread_mutex_unlock(&job->lock);
    return (int)(ms < 1000 ? ms : 1000);
}

static void wait_and_serve(struct pf_agent *agent)
{
    struct pollfd polled[CLIENTS_MAX + 2];
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        polled[i] = (struct pollfd){.fd = agent->clients[i].fd, .events = POLLIN};
    polled[CLIENTS_MAX] = (struct pollfd){.fd = agent->listen_fd, .events = POLLIN};
    polled[CLIENTS_MAX + 1] = (struct pollfd){.fd = agent->wake_fd, .events = POLLIN};
    int timeout = anyone_watches(agent) ? progress_ms(agent->job) : -1;
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
