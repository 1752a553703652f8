/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/team.h"

#include <signal.h>

/* Take items one by one until none is left. With the lock held. */
static void take_part(struct pf_team *team)
{
    while (team->next < team->items) {
        size_t item = team->next++;
        team->busy++;
        pthread_mutex_unlock(&team->lock);
        team->work(team->ctx, item);
        pthread_mutex_lock(&team->lock);
        team->busy--;
    }
    if (team->busy == 0)
        pthread_cond_signal(&team->done);
}

static void *help(void *arg)
{
    struct pf_team *team = arg;
    pthread_mutex_lock(&team->lock);
    while (!team->stop) {
        if (team->next < team->items)
            take_part(team);
        else
            pthread_cond_wait(&team->wake, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

void pf_team_open(struct pf_team *team, unsigned wanted)
{
    sigset_t all;
    sigset_t before;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    pthread_cond_init(&team->done, NULL);
    team->made = true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team->count < wanted && team->count < PF_TEAM_HELPERS_MAX &&
           pthread_create(&team->helpers[team->count], NULL, help, team) == 0) {
        pthread_setname_np(team->helpers[team->count], "pf-team");
        team->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void pf_team_run(struct pf_team *team, size_t items, void (*work)(void *ctx, size_t item),
                 void *ctx)
{
    if (team->count == 0) {
        for (size_t item = 0; item < items; item++)
            work(ctx, item);
        return;
    }
    pthread_mutex_lock(&team->lock);
    team->work = work;
    team->ctx = ctx;
    team->next = 0;
    team->items = items;
    pthread_cond_broadcast(&team->wake);
    take_part(team);
    while (team->busy > 0)
        pthread_cond_wait(&team->done, &team->lock);
    team->next = team->items = 0;
    pthread_mutex_unlock(&team->lock);
}

void pf_team_close(struct pf_team *team)
{
    if (!team->made)
        return;
    pthread_mutex_lock(&team->lock);
    team->stop = true;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    for (unsigned i = 0; i < team->count; i++)
        pthread_join(team->helpers[i], NULL);
    pthread_cond_destroy(&team->wake);
    pthread_cond_destroy(&team->done);
    pthread_mutex_destroy(&team->lock);
    *team = (struct pf_team){.count = 0};
}
