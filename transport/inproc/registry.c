/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"

#include <stdio.h>
#include <string.h>

/*
 * The one mutable object of file scope in the back ends. What a network or the kernel is to the
 * others, the process is here: two devices that share nothing but the process must find each other
 * by name, so there is nowhere else for the names to be. It holds only that: who listens.
 */
static struct {
    pthread_mutex_t lock;
    struct pf_list listeners;
    unsigned made_up; /* names given so far to listeners that asked for any */
} registry = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .listeners = {&registry.listeners, &registry.listeners},
};

static struct inproc_listener *find(const char *name)
{
    pf_list_for_each (item, &registry.listeners) {
        struct inproc_listener *listener = pf_container_of(item, struct inproc_listener, published);
        if (strcmp(listener->name, name) == 0)
            return listener;
    }
    return NULL;
}

static void make_up_name(struct inproc_listener *listener)
{
    do
        snprintf(listener->name, sizeof listener->name, "any-%u", ++registry.made_up);
    while (find(listener->name));
}

int pf_inproc_publish(struct inproc_listener *listener)
{
    int err = 0;
    pthread_mutex_lock(&registry.lock);
    if (!listener->name[0])
        make_up_name(listener);
    else if (find(listener->name))
        err = -EADDRINUSE;
    if (err == 0)
        pf_list_append(&registry.listeners, &listener->published);
    pthread_mutex_unlock(&registry.lock);
    return err;
}

void pf_inproc_withdraw(struct inproc_listener *listener)
{
    pthread_mutex_lock(&registry.lock);
    pf_list_remove(&listener->published);
    pthread_mutex_unlock(&registry.lock);
    /* Nobody finds the listener any more: what was asked is ours alone. */
    struct inproc_request *request;
    while ((request = pf_inproc_next_request(listener)))
        pf_inproc_reject(&request->base, NULL, 0);
}

bool pf_inproc_ask(const char *name, struct inproc_request *request)
{
    pthread_mutex_lock(&registry.lock);
    struct inproc_listener *listener = find(name);
    if (listener) {
        request->base.device = listener->base.lane->device;
        pf_list_append(&listener->requests, &request->node);
        pf_inproc_lane_wake(pf_container_of(listener->base.lane, struct inproc_lane, base));
    }
    pthread_mutex_unlock(&registry.lock);
    return listener != NULL;
}

bool pf_inproc_asked(struct inproc_listener *listener)
{
    pthread_mutex_lock(&registry.lock);
    bool asked = !pf_list_empty(&listener->requests);
    pthread_mutex_unlock(&registry.lock);
    return asked;
}

struct inproc_request *pf_inproc_next_request(struct inproc_listener *listener)
{
    pthread_mutex_lock(&registry.lock);
    struct pf_list *item = pf_list_pop(&listener->requests);
    pthread_mutex_unlock(&registry.lock);
    return item ? pf_container_of(item, struct inproc_request, node) : NULL;
}
