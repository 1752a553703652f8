/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/populator.h"

#include "base/log.h"
#include "core/memory/pagemap.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAD_STRETCHES = 16, LEAD_MAX = 1 << 20 };

/* What one thread makes in one call: a stretch. */
struct piece {
    struct pf_arriving *arriving;
    struct pf_run pages;
};

/* ---- whose turn it is ------------------------------------------------------------------------ */

/* The first stretch of a region that is due; its pages are 0 if none is. */
static struct pf_run next_due(struct pf_arriving *arriving)
{
    if (!arriving->make || arriving->made >= arriving->full.pages)
        return (struct pf_run){0, 0};
    return pf_pageset_next_upto(&arriving->full, arriving->made, 1);
}

static bool claim(struct pf_populator *populator, struct piece *piece)
{
    struct pf_arrival *arrival = populator->arrival;
    struct pf_run due = {0, 0};
    pthread_mutex_lock(&populator->lock);
    while (populator->turn < arrival->count &&
           (due = next_due(&arrival->list[populator->turn])).pages == 0)
        populator->turn++;
    if (due.pages > 0) {
        struct pf_arriving *arriving = &arrival->list[populator->turn];
        *piece = (struct piece){arriving, pf_region_stretch(arriving->region, due.first)};
        arriving->made = due.first + 1;
    }
    pthread_mutex_unlock(&populator->lock);
    return due.pages > 0;
}

/* Somebody was faster: go on well ahead of him, further each time, until that is enough. */
static void leap(struct pf_populator *populator, const struct piece *piece)
{
    pthread_mutex_lock(&populator->lock);
    piece->arriving->made += populator->lead;
    if (populator->lead < LEAD_MAX)
        populator->lead *= 2;
    pthread_mutex_unlock(&populator->lock);
}

static void keep_pace(struct pf_populator *populator)
{
    pthread_mutex_lock(&populator->lock);
    populator->lead = LEAD_STRETCHES;
    pthread_mutex_unlock(&populator->lock);
}

/* Has the piece been begun by whoever writes there? */
static bool is_overtaken(const struct pf_populator *populator, const struct piece *piece)
{
    uint64_t entry;
    uintptr_t addr = (uintptr_t)pf_region_page(piece->arriving->region, piece->pages.first);
    off_t at = (off_t)(addr / PF_PAGE_SIZE * sizeof entry);
    return populator->ahead && populator->pagemap >= 0 &&
           pread(populator->pagemap, &entry, sizeof entry, at) == sizeof entry &&
           entry & PF_ENTRY_PRESENT;
}

/* ---- the threads ----------------------------------------------------------------------------- */

/* False: there is no more to be had, or this kernel (before 5.14) can't. */
static bool make(struct pf_populator *populator, const struct piece *piece)
{
    const struct pf_region *region = piece->arriving->region;
    size_t bytes = piece->pages.pages << region->page_shift;
    if (madvise(pf_region_page(region, piece->pages.first), bytes, MADV_POPULATE_WRITE) == 0) {
        pf_count(&populator->arrival->counters->made_bytes, bytes);
        return true;
    }
    int error = errno;
    if (!populator->ahead)
        pf_warn("region \"%s\": its memory can't be made in advance (--prealloc): %s", region->name,
                strerror(error));
    return false;
}

static void *run(void *arg)
{
    struct pf_populator_thread *thread = arg;
    struct pf_populator *populator = thread->populator;
    struct piece piece;
    pf_thread_place(thread->placement);
    while (!atomic_load(&populator->stop) && claim(populator, &piece)) {
        if (is_overtaken(populator, &piece)) {
            leap(populator, &piece);
            continue;
        }
        if (!make(populator, &piece))
            atomic_store(&populator->stop, true);
        keep_pace(populator);
    }
    return NULL;
}

static unsigned cpu_count(const struct pf_session *session)
{
    const struct pf_placement *placement = &session->rails[0].placement;
    cpu_set_t cpus;
    if (placement->pin)
        cpus = placement->cpus;
    else if (sched_getaffinity(0, sizeof cpus, &cpus))
        return 1;
    return (unsigned)CPU_COUNT(&cpus);
}

/* One for each two CPUs that they may use: the other is for what they do it for. */
static unsigned thread_count(const struct pf_session *session)
{
    unsigned count = cpu_count(session) / 2;
    return count < 1 ? 1 : count > PF_POPULATORS_MAX ? PF_POPULATORS_MAX : count;
}

bool pf_populator_pays(const struct pf_session *session)
{
    return cpu_count(session) > 2;
}

static bool has_work(struct pf_arrival *arrival)
{
    for (unsigned i = 0; i < arrival->count; i++)
        if (next_due(&arrival->list[i]).pages > 0)
            return true;
    return false;
}

static bool start_thread(struct pf_populator *populator, const struct pf_session *session)
{
    struct pf_populator_thread *thread = &populator->threads[populator->running];
    thread->populator = populator;
    thread->placement = &session->rails[populator->running % session->rail_count].placement;
    if (pthread_create(&thread->id, NULL, run, thread))
        return false;
    pthread_setname_np(thread->id, "pf-populate");
    populator->running++;
    return true;
}

void pf_populator_start(struct pf_populator *populator, struct pf_arrival *arrival,
                        const struct pf_session *session, bool ahead)
{
    sigset_t all;
    sigset_t before;
    unsigned count = thread_count(session);
    *populator = (struct pf_populator){.arrival = arrival,
                                       .ahead = ahead,
                                       .lock = PTHREAD_MUTEX_INITIALIZER,
                                       .pagemap = -1,
                                       .lead = LEAD_STRETCHES};
    if (!has_work(arrival))
        return;
    if (ahead)
        populator->pagemap = pf_pagemap_open(NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (populator->running < count && start_thread(populator, session))
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void pf_populator_stop(struct pf_populator *populator)
{
    atomic_store(&populator->stop, true);
    for (unsigned i = 0; i < populator->running; i++)
        pthread_join(populator->threads[i].id, NULL);
    if (populator->running > 0 && populator->pagemap >= 0)
        close(populator->pagemap);
    populator->running = 0;
}
