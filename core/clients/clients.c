/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/clients/clients.h"

#include "base/log.h"
#include "core/arrival/homes.h"
#include "core/clients/clients_thread.h"
#include "core/job/job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const struct pf_client_kind pf_client_generic = {"generic", true, pf_client_message_take};

static void wake(struct pf_clients *clients)
{
    ssize_t written = write(clients->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

/* ---- opening and closing --------------------------------------------------------------------- */

int pf_clients_path(const char *name, char *out, size_t size, struct pf_why *why)
{
    char path[PATH_MAX];
    int error = pf_job_socket_path(name, path, sizeof path, why);
    if (error)
        return error;
    size_t stem = strlen(path) - strlen(PF_JOB_SOCKET_SUFFIX);
    int length = snprintf(out, size, "%.*s.clients", (int)stem, path);
    if (length < 0 || (size_t)length >= size)
        return pf_why(why, -ENAMETOOLONG,
                      "the path of the clients' socket of job \"%s\" would have %d characters: use "
                      "a shorter name, or set PAGEFERRY_RUNTIME_DIR",
                      name, length);
    return 0;
}

static int start_thread(struct pf_clients *clients, struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&clients->thread, NULL, pf_clients_run, clients);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return pf_why(why, -error, "cannot start the clients' thread: %s", strerror(error));
    pthread_setname_np(clients->thread, "pf-clients");
    return 0;
}

static void free_clients(struct pf_clients *clients)
{
    for (struct pf_list *item; (item = pf_list_pop(&clients->list));)
        pf_client_free(pf_container_of(item, struct pf_client, link));
    if (clients->listener >= 0) {
        unlink(clients->path);
        close(clients->listener);
    }
    close(clients->wake_fd);
    pthread_cond_destroy(&clients->changed);
    pthread_mutex_destroy(&clients->lock);
    free(clients);
}

int pf_clients_open(struct pf_clients **out, const struct pf_clients_attr *attr, struct pf_why *why)
{
    struct pf_clients *clients = calloc(1, sizeof *clients);
    if (!clients)
        return pf_why(why, -ENOMEM, "no memory for clients");
    clients->attr = *attr;
    pf_list_init(&clients->list);
    pthread_mutex_init(&clients->lock, NULL);
    pthread_cond_init(&clients->changed, NULL);
    clients->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    clients->listener = pf_client_listen(attr->path, why);
    int error = clients->listener < 0 ? clients->listener : 0;
    if (!error) {
        strcpy(clients->path, attr->path);
        error = start_thread(clients, why);
    }
    if (error)
        free_clients(clients);
    else
        *out = clients;
    return error;
}

void pf_clients_close(struct pf_clients *clients)
{
    if (!clients)
        return;
    atomic_store(&clients->stop, true);
    wake(clients);
    pthread_join(clients->thread, NULL);
    free_clients(clients);
}

/* ---- the client whose memory is the job's ---------------------------------------------------- */

int pf_clients_await_home(struct pf_clients *clients)
{
    pthread_mutex_lock(&clients->lock);
    while (!clients->home)
        pthread_cond_wait(&clients->changed, &clients->lock);
    pthread_mutex_unlock(&clients->lock);
    return 0;
}

int pf_clients_failure(struct pf_clients *clients, struct pf_why *why)
{
    int error = 0;
    if (!clients)
        return 0;
    pthread_mutex_lock(&clients->lock);
    if (clients->failed) {
        error = -ESRCH;
        if (why)
            *why = clients->why;
    }
    pthread_mutex_unlock(&clients->lock);
    return error;
}

/* ---- arrivals -------------------------------------------------------------------------------- */

static void attach_home(struct pf_client *home, struct pf_arrival *arrival)
{
    pf_homes_track(arrival, &home->target);
    for (unsigned i = 0; i < arrival->count; i++) {
        if (!arrival->list[i].region->foreign)
            continue;
        arrival->list[i].home = &home->target;
        atomic_store(&arrival->list[i].zeropage, home->zeropage);
    }
}

bool pf_clients_watch_blind(struct pf_clients *clients)
{
    bool watch = false;
    if (!clients)
        return false;
    pthread_mutex_lock(&clients->lock);
    pf_list_for_each (item, &clients->list) {
        const struct pf_client *client = pf_container_of(item, struct pf_client, link);
        watch |=
            client->state == PF_CLIENT_WAITING && client != clients->home && !client->target.minor;
    }
    pthread_mutex_unlock(&clients->lock);
    return watch;
}

bool pf_client_is_blind(const struct pf_client *client, const struct pf_arrival *arrival)
{
    bool sees = client->target.home || client->target.minor;
    for (unsigned i = 0; !sees && i < client->target.count; i++) {
        unsigned region = client->target.views[i].region;
        if (region < arrival->count && arrival->list[region].in_place)
            return true;
    }
    return false;
}

void pf_clients_attach(struct pf_clients *clients, struct pf_arrival *arrival)
{
    if (!clients)
        return;
    pthread_mutex_lock(&clients->lock);
    clients->arrival = arrival;
    arrival->targets.told_fd = clients->wake_fd;
    pf_clients_take_in_children(clients);
    pf_list_for_each (item, &clients->list) {
        struct pf_client *client = pf_container_of(item, struct pf_client, link);
        if (client->state != PF_CLIENT_WAITING || pf_client_is_blind(client, arrival))
            continue;
        if (pf_targets_add(&arrival->targets, &client->target) == 0)
            client->state = PF_CLIENT_SERVED;
        /* Faults that were raised before are raised again. */
        pf_client_wake(client);
    }
    if (clients->home)
        attach_home(clients->home, arrival);
    pthread_mutex_unlock(&clients->lock);
    wake(clients);
}

static void take_back_spares(struct pf_clients *clients)
{
    pf_clients_take_in_children(clients);
    for (unsigned i = 0; i < PF_TARGET_SPARES; i++) {
        if (clients->spares[i])
            pf_client_free(clients->spares[i]);
        clients->spares[i] = NULL;
    }
}

void pf_clients_detach(struct pf_clients *clients, bool complete)
{
    if (!clients)
        return;
    pthread_mutex_lock(&clients->lock);
    if (clients->arrival) {
        take_back_spares(clients);
        pf_list_for_each (item, &clients->list) {
            struct pf_client *client = pf_container_of(item, struct pf_client, link);
            if (client->state == PF_CLIENT_READING)
                continue;
            pf_targets_remove(&clients->arrival->targets, &client->target);
            client->state = PF_CLIENT_WAITING;
            pf_clients_welcome(clients, client);
            if (complete)
                pf_clients_let_go(clients, client);
        }
        if (complete)
            clients->home = NULL;
        clients->complete = complete;
        clients->arrival = NULL;
    }
    pthread_mutex_unlock(&clients->lock);
    wake(clients);
}
