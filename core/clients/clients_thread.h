/* SPDX-License-Identifier: BSD-2-Clause */
/* The inside of struct pf_clients, which its API (clients.c) and its thread share. */
#ifndef PF_CORE_CLIENTS_CLIENTS_THREAD_H
#define PF_CORE_CLIENTS_CLIENTS_THREAD_H

#include "core/clients/client.h"
#include "core/clients/clients.h"

#include <pthread.h>

struct pf_clients {
    struct pf_clients_attr attr;
    char path[108]; /* as long as a socket's can be */
    pthread_t thread;
    int listener, wake_fd;
    atomic_bool stop;

    /* All below is guarded by the lock; the thread alone adds clients and frees them. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct pf_list list;
    unsigned count;
    struct pf_client *home; /* whose memory is the job's, if a client's is */
    struct pf_arrival *arrival;
    struct pf_client *spares[PF_TARGET_SPARES]; /* whose targets the arrival has for children */
    bool complete;                              /* an arrival has brought everything */
    bool failed;                                /* the home client is gone */
    struct pf_why why;
};

/* The thread's body. */
void *pf_clients_run(void *clients);

/* With the lock held. */

/* Tell a client, if it is of a kind that listens. Takes the value over. */
void pf_clients_say(struct pf_clients *clients, struct pf_client *client, const char *key,
                    struct json_object *value);

/* Tell it that it is served, if it has not been told. */
void pf_clients_welcome(struct pf_clients *clients, struct pf_client *client);

/* Its memory is all there: it goes back to being plain memory, and the client may leave. */
void pf_clients_let_go(struct pf_clients *clients, struct pf_client *client);

/* Give the arrival spare targets, and take in as clients the children that took some. */
void pf_clients_take_in_children(struct pf_clients *clients);

/* Does it watch a region in place without minor faults? See pf_clients_watch_blind(). */
bool pf_client_is_blind(const struct pf_client *client, const struct pf_arrival *arrival);

#endif
