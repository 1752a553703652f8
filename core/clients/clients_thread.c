/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/clients/clients_thread.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/arrival/homes.h"
#include "core/job/job.h"
#include "core/session/session.h"
#include "pageferry.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = PF_TARGETS_MAX, POLLED_MAX = 2 + 3 * 2 * CLIENTS_MAX };

static void add(struct pf_clients *clients, struct pf_client *client)
{
    pf_list_append(&clients->list, &client->link);
    clients->count++;
}

static void drop(struct pf_clients *clients, struct pf_client *client)
{
    if (client == clients->home)
        clients->home = NULL;
    clients->count--;
    pf_client_free(client);
}

static const char *whose(const struct pf_client *client)
{
    return client->target.child ? "a child of process" : "process";
}

void pf_clients_say(struct pf_clients *clients, struct pf_client *client, const char *key,
                    struct json_object *value)
{
    struct json_object *line = json_object_new_object();
    json_object_object_add(line, key, value);
    if (clients->attr.kind->answers && client->wire.socket >= 0 &&
        pf_client_link_say(&client->wire, line))
        client->gone = true;
    json_object_put(line);
}

void pf_clients_welcome(struct pf_clients *clients, struct pf_client *client)
{
    if (!client->welcome)
        pf_clients_say(clients, client, "ok", json_object_new_boolean(true));
    client->welcome = true;
}

void pf_clients_let_go(struct pf_clients *clients, struct pf_client *client)
{
    pf_target_release(&client->target);
    pf_clients_say(clients, client, "complete", json_object_new_boolean(true));
    client->gone = true;
}

/* It is not served, or no longer: tell why, there and in our log. */
static void refuse(struct pf_clients *clients, struct pf_client *client, const char *why)
{
    pf_warn("client (%s %d) is not served: %s", whose(client), (int)client->wire.pid, why);
    pf_clients_say(clients, client, "error", json_object_new_string(why));
    if (client->target.child)
        client->state = PF_CLIENT_KEPT;
    else
        drop(clients, client);
}

/* ---- joining --------------------------------------------------------------------------------- */

static int make_target(struct pf_clients *clients, struct pf_client *client,
                       const struct pf_client_message *message, bool home, struct pf_why *why)
{
    struct pf_regions *regions = &clients->attr.job->regions;
    int error = pf_client_take_uffd(client, why);
    if (!error)
        error = home ? pf_client_make_regions(message, regions, why)
                     : pf_client_check_watch(message, regions, why);
    if (!error)
        error = pf_client_show(client, message, regions, home, why);
    if (error && home)
        regions->count = 0;
    return error;
}

/* Ask the fault thread; while there is none the client waits for an arrival. */
static void join(struct pf_clients *clients, struct pf_client *client)
{
    client->state = PF_CLIENT_WAITING;
    if (clients->arrival && pf_client_is_blind(client, clients->arrival))
        refuse(clients, client,
               "the job's shared memory is placed in place, and its mappings have no minor faults: "
               "the destination needs --place copy");
    else if (clients->arrival) {
        if (pf_targets_post(&clients->arrival->targets, &client->target, true) == 0)
            client->state = PF_CLIENT_JOINING; /* else at the next look */
    } else {
        pf_clients_welcome(clients, client);
        /* Who comes after the last page needs nobody any more. */
        if (clients->complete)
            pf_clients_let_go(clients, client);
    }
}

static int take_message(struct pf_clients *clients, struct pf_client *client,
                        struct json_object *json, struct pf_why *why)
{
    struct pf_client_message message = {.count = 0};
    bool home = clients->attr.home && !clients->home;
    if (clients->attr.home && clients->home && !clients->attr.kind->answers)
        return pf_why(why, -EBUSY, "there is a client already");
    int error = clients->attr.kind->take(&message, json, why);
    if (!error)
        error = make_target(clients, client, &message, home, why);
    pf_client_message_free(&message);
    if (!error && home) {
        clients->home = client;
        pthread_cond_broadcast(&clients->changed);
    }
    return error;
}

static void on_message(struct pf_clients *clients, struct pf_client *client)
{
    struct json_object *json = NULL;
    struct pf_why why = {""};
    int got = pf_client_link_read(&client->wire, &json, &why);
    if (got > 0) {
        got = take_message(clients, client, json, &why);
        json_object_put(json);
        if (got == 0) {
            pf_info("client (process %d) joins", (int)client->wire.pid);
            join(clients, client);
        }
    }
    if (got < 0)
        refuse(clients, client, why.text);
}

static void on_connection(struct pf_clients *clients)
{
    struct pf_why why = {""};
    struct pf_client *client = pf_client_spare();
    if (!client)
        return;
    int error = pf_client_link_accept(&client->wire, clients->listener, &why);
    if (error) {
        if (error != -EAGAIN)
            pf_warn("a client is refused: %s", why.text);
        pf_client_free(client);
        return;
    }
    client->since_ns = pf_now_ns();
    add(clients, client);
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* The job's memory went with its process. */
static void fail_home(struct pf_clients *clients, const struct pf_client *client)
{
    struct ferry_job *job = clients->attr.job;
    clients->failed = true;
    pf_why(&clients->why, -ESRCH,
           "the client (process %d) is gone, and the job's memory was its memory",
           (int)client->wire.pid);
    pthread_cond_broadcast(&clients->changed);
    pthread_mutex_lock(&job->lock);
    if (job->session)
        pf_session_wake(job->session);
    pthread_mutex_unlock(&job->lock);
}

/* It hung up, or ended. */
static void leave(struct pf_clients *clients, struct pf_client *client)
{
    if (client == clients->home) {
        /* Its target stays where it is: the control thread ends the migration. */
        if (!clients->failed)
            fail_home(clients, client);
    } else if (client->state == PF_CLIENT_SERVED) {
        if (pf_targets_post(&clients->arrival->targets, &client->target, false) == 0)
            client->state = PF_CLIENT_LEAVING; /* else at the next look */
    } else if (client->state <= PF_CLIENT_WAITING) {
        pf_info("client (process %d) leaves", (int)client->wire.pid);
        drop(clients, client);
    }
}

/* It has nothing more to say: all that can come is the end. */
static void on_hang_up(struct pf_clients *clients, struct pf_client *client)
{
    char byte;
    ssize_t got = recv(client->wire.socket, &byte, 1, MSG_DONTWAIT);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    client->gone = clients->attr.kind->answers || client->wire.pidfd < 0;
    close(client->wire.socket);
    client->wire.socket = -1;
}

/* ---- what the fault thread made of it -------------------------------------------------------- */

static void follow(struct pf_clients *clients, struct pf_client *client)
{
    int state = atomic_load(&client->target.state);
    if (client->state == PF_CLIENT_JOINING && state == PF_TARGET_SERVED) {
        client->state = PF_CLIENT_SERVED;
        pf_clients_welcome(clients, client);
    } else if (client->state == PF_CLIENT_LEAVING && state == PF_TARGET_IDLE) {
        client->state = PF_CLIENT_WAITING;
    } else if (client->state > PF_CLIENT_WAITING && client->state != PF_CLIENT_KEPT &&
               state == PF_TARGET_FAILED) {
        /* Pages are due in its memory: it stays until the migration has ended. */
        if (client == clients->home) {
            if (!clients->failed)
                fail_home(clients, client);
            return;
        }
        const char *why = client->target.why.text;
        refuse(clients, client, why[0] ? why : ferry_strerror(client->target.status));
        return;
    }
    if (client->gone)
        leave(clients, client);
    else if (client->state == PF_CLIENT_WAITING && clients->arrival)
        join(clients, client);
}

/* Children that were forked took spare targets: they are clients now. */
void pf_clients_take_in_children(struct pf_clients *clients)
{
    struct pf_targets *targets = &clients->arrival->targets;
    for (unsigned i = 0; i < PF_TARGET_SPARES; i++) {
        struct pf_client *child = clients->spares[i];
        if (child && !atomic_load(&targets->spares[i])) {
            child->wire.pid = child->target.pid;
            child->state = PF_CLIENT_SERVED;
            add(clients, child);
            clients->spares[i] = child = NULL;
        }
        if (!child && (child = pf_client_spare())) {
            if (clients->home)
                pf_homes_track(clients->arrival, &child->target);
            clients->spares[i] = child;
            atomic_store(&targets->spares[i], &child->target);
        }
    }
}

static void idle_events(struct pf_clients *clients, struct pf_client *client)
{
    struct pf_client *child;
    int error;
    do {
        error = pf_client_idle_events(client, &child);
        if (child) {
            child->wire.pid = child->target.pid;
            add(clients, child);
        }
    } while (child && !error);
    if (error)
        refuse(clients, client, "its mappings are in too many pieces");
}

static void check_patience(struct pf_clients *clients, struct pf_client *client)
{
    struct pf_why why;
    unsigned limit = clients->attr.patience_ms;
    if (pf_now_ns() - client->since_ns < limit * 1000000ull)
        return;
    pf_why(&why, -ETIMEDOUT, "it connected, and did not send a whole message within %u ms", limit);
    refuse(clients, client, why.text);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* The descriptors of one client, in this order. */
enum { OF_SOCKET, OF_PIDFD, OF_UFFD, OF_CLIENT };

static void describe(const struct pf_clients *clients, const struct pf_client *client,
                     struct pollfd *polled)
{
    /* One who is gone has been seen, one who speaks is heard to the end; -1 is passed over. */
    bool reading = client->state == PF_CLIENT_READING;
    bool idle = !clients->arrival && client->state == PF_CLIENT_WAITING;
    const int fds[OF_CLIENT] = {
        [OF_SOCKET] = client->gone ? -1 : client->wire.socket,
        [OF_PIDFD] = client->gone || reading ? -1 : client->wire.pidfd,
        [OF_UFFD] = idle ? client->uffd.fd : -1,
    };
    for (unsigned i = 0; i < OF_CLIENT; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
}

static void look_at(struct pf_clients *clients, struct pf_client *client,
                    const struct pollfd *polled)
{
    if (polled[OF_UFFD].revents && client->state == PF_CLIENT_WAITING && !clients->arrival)
        idle_events(clients, client);
    if (polled[OF_PIDFD].revents)
        client->gone = true;
    if (client->state != PF_CLIENT_READING && polled[OF_SOCKET].revents)
        on_hang_up(clients, client);
    if (client->state != PF_CLIENT_READING)
        follow(clients, client);
    else if (polled[OF_SOCKET].revents)
        on_message(clients, client);
    else
        check_patience(clients, client);
}

/* With the lock held: what to wait for, how many, and how long. */
static nfds_t prepare(const struct pf_clients *clients, struct pollfd *polled, int *timeout_ms)
{
    nfds_t count = 0;
    bool full = clients->count >= CLIENTS_MAX;
    *timeout_ms = -1;
    polled[count++] = (struct pollfd){.fd = clients->wake_fd, .events = POLLIN};
    polled[count++] = (struct pollfd){.fd = full ? -1 : clients->listener, .events = POLLIN};
    pf_list_for_each (item, &clients->list) {
        struct pf_client *client = pf_container_of(item, struct pf_client, link);
        if (count + OF_CLIENT > POLLED_MAX)
            break; /* more children than anybody has */
        describe(clients, client, &polled[count]);
        count += OF_CLIENT;
        if (client->state == PF_CLIENT_READING && *timeout_ms < 0)
            *timeout_ms = (int)clients->attr.patience_ms;
        if (client->state == PF_CLIENT_WAITING && client->gone && client != clients->home)
            *timeout_ms = 0; /* it is dropped at the next look */
    }
    return count;
}

/* With the lock held. The list is as it was when it was described, but for what children add. */
static void look(struct pf_clients *clients, const struct pollfd *polled, nfds_t count)
{
    struct pf_list *item = clients->list.next;
    for (nfds_t at = 2; at < count; at += OF_CLIENT) {
        struct pf_list *next = item->next;
        look_at(clients, pf_container_of(item, struct pf_client, link), &polled[at]);
        item = next;
    }
    if (polled[1].revents)
        on_connection(clients);
    if (clients->arrival)
        pf_clients_take_in_children(clients);
}

void *pf_clients_run(void *arg)
{
    struct pf_clients *clients = arg;
    struct pollfd *polled = calloc(POLLED_MAX, sizeof *polled);
    uint64_t woken;
    int timeout_ms;
    while (polled && !atomic_load(&clients->stop)) {
        pthread_mutex_lock(&clients->lock);
        nfds_t count = prepare(clients, polled, &timeout_ms);
        pthread_mutex_unlock(&clients->lock);
        poll(polled, count, timeout_ms);
        ssize_t got = read(clients->wake_fd, &woken, sizeof woken);
        (void)got;
        pthread_mutex_lock(&clients->lock);
        look(clients, polled, count);
        pthread_mutex_unlock(&clients->lock);
    }
    free(polled);
    return NULL;
}
