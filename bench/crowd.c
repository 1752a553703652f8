/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/crowd.h"

#include "bench/touch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pf_crowd_init(struct pf_crowd *crowd, unsigned count, size_t samples)
{
    memset(crowd, 0, sizeof *crowd);
    crowd->count = count;
    pthread_rwlock_init(&crowd->gate, NULL);
    for (unsigned i = 0; i < count; i++) {
        crowd->threads[i].crowd = crowd;
        if (pf_samples_init(&crowd->threads[i].samples, samples))
            return -ENOMEM;
    }
    return 0;
}

void pf_crowd_free(struct pf_crowd *crowd)
{
    for (unsigned i = 0; i < crowd->count; i++)
        pf_samples_free(&crowd->threads[i].samples);
    pthread_rwlock_destroy(&crowd->gate);
}

static void *touch_some(void *arg)
{
    struct pf_crowd_thread *self = arg;
    struct pf_crowd *crowd = self->crowd;
    size_t at;
    pthread_rwlock_rdlock(&crowd->gate);
    pthread_rwlock_unlock(&crowd->gate);
    while ((at = atomic_fetch_add(&crowd->next, 1)) < crowd->pages) {
        uint64_t ns;
        size_t page = crowd->order[at];
        if (!pf_moved_touch(crowd->moved, page, &ns))
            atomic_store(&crowd->wrong, page + 1);
        pf_samples_add(&self->samples, ns);
    }
    return NULL;
}

static int run_threads(struct pf_crowd *crowd, double *seconds)
{
    unsigned started = 0;
    int error = 0;
    pthread_rwlock_wrlock(&crowd->gate);
    while (started < crowd->count && !error) {
        struct pf_crowd_thread *thread = &crowd->threads[started];
        error = pthread_create(&thread->thread, NULL, touch_some, thread);
        started += !error;
    }
    uint64_t start = pf_now_ns();
    pthread_rwlock_unlock(&crowd->gate);
    for (unsigned i = 0; i < started; i++)
        pthread_join(crowd->threads[i].thread, NULL);
    *seconds = (double)(pf_now_ns() - start) / 1e9;
    return -error;
}

int pf_crowd_touch(struct pf_crowd *crowd, const struct pf_moved *moved, double *seconds,
                   struct pf_why *why)
{
    crowd->moved = moved;
    crowd->pages = pf_moved_pages(moved);
    crowd->order = pf_touch_order(crowd->pages, moved->seed);
    atomic_store(&crowd->next, 0);
    for (unsigned i = 0; i < crowd->count; i++)
        crowd->threads[i].samples.count = 0;
    if (!crowd->order)
        return pf_why(why, -ENOMEM, "no memory for the order of pages");
    int error = run_threads(crowd, seconds);
    free(crowd->order);
    if (error)
        return pf_why(why, error, "cannot start %u threads: %s", crowd->count, strerror(-error));
    size_t wrong = atomic_load(&crowd->wrong);
    return wrong ? pf_moved_wrong(wrong - 1, why) : 0;
}

double pf_crowd_mean_us(const struct pf_crowd *crowd)
{
    double sum = 0;
    size_t count = 0;
    for (unsigned i = 0; i < crowd->count; i++) {
        const struct pf_samples *samples = &crowd->threads[i].samples;
        for (size_t k = 0; k < samples->count; k++)
            sum += (double)samples->ns[k];
        count += samples->count;
    }
    return count ? sum / (double)count / 1000.0 : 0;
}

double pf_crowd_worst_us(struct pf_crowd *crowd, double share)
{
    double worst = 0;
    for (unsigned i = 0; i < crowd->count; i++) {
        double us = pf_samples_us(&crowd->threads[i].samples, share);
        worst = us > worst ? us : worst;
    }
    return worst;
}
