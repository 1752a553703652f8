/* SPDX-License-Identifier: BSD-2-Clause */
/* The tracker's thread: what the job did to its mappings, and writes that wait to be let through.
 */
#include "core/track/tracker_ops.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_given_back(struct pf_tracker *tracker, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < tracker->count; i++) {
        struct pf_tracked *tracked = &tracker->list[i];
        struct pf_run run = pf_region_within(tracked->region, start, end);
        if (run.pages == 0 || !tracked->registered)
            continue;
        if (tracker->attr.replaced)
            tracker->attr.replaced(tracker->attr.ctx, i, run);
        pf_pageset_add_run(&tracked->given_back, run);
        pf_pageset_add_run(&tracked->due, run);
    }
}

/* What is mapped there now isn't watched, if anything is. */
static void on_unmapped(struct pf_tracker *tracker, uint64_t start, uint64_t end, const char *how)
{
    on_given_back(tracker, start, end);
    for (unsigned i = 0; i < tracker->count && !tracker->failure; i++) {
        const struct pf_region *region = tracker->list[i].region;
        struct pf_run lost = pf_region_within(region, start, end);
        if (!tracker->list[i].registered || lost.pages == 0)
            continue;
        if (tracker->attr.lost)
            tracker->attr.lost(tracker->attr.ctx, i, lost);
        tracker->failure = pf_why(&tracker->why, -EFAULT,
                                  "region \"%s\" was %s in part while its memory was being "
                                  "sent: a job gives memory back by madvise()",
                                  region->name, how);
    }
}

/* Only where protection is lifted by hand: note the write, and let it through. */
static void on_write(struct pf_tracker *tracker, uint64_t address)
{
    size_t bytes = PF_PAGE_SIZE;
    int error;
    for (unsigned i = 0; i < tracker->count; i++) {
        struct pf_run run = pf_region_within(tracker->list[i].region, address, address + 1);
        if (run.pages == 0)
            continue;
        bytes = pf_region_page_size(tracker->list[i].region);
        pf_pageset_add_run(&tracker->list[i].written, run);
    }
    char *page = (char *)(uintptr_t)(address & ~(uint64_t)(bytes - 1));
    /* EAGAIN: an event is to be read first. Woken, the thread faults again, after that. */
    error = pf_uffd_protect(&tracker->uffd, page, bytes, false);
    if (error)
        error = pf_uffd_wake(&tracker->uffd, page, bytes);
    if (error && !tracker->failure)
        tracker->failure = pf_why(&tracker->why, error, "a write to %p can't be let through: %s",
                                  (void *)page, strerror(-error));
}

static void on_message(struct pf_tracker *tracker, const struct uffd_msg *message)
{
    switch (message->event) {
    case UFFD_EVENT_PAGEFAULT:
        on_write(tracker, message->arg.pagefault.address);
        break;
    case UFFD_EVENT_REMOVE:
        on_given_back(tracker, message->arg.remove.start, message->arg.remove.end);
        break;
    case UFFD_EVENT_UNMAP:
        on_unmapped(tracker, message->arg.remove.start, message->arg.remove.end, "unmapped");
        break;
    case UFFD_EVENT_REMAP:
        on_unmapped(tracker, message->arg.remap.from,
                    message->arg.remap.from + message->arg.remap.len, "moved");
        break;
    default:
        tracker->failure =
            pf_why(&tracker->why, -EPROTO, "unknown userfaultfd event %u", message->event);
    }
}

void pf_tracker_serve(struct pf_tracker *tracker)
{
    enum { BATCH = 32 };
    struct uffd_msg messages[BATCH];
    ssize_t got;
    do {
        got = read(tracker->uffd.fd, messages, sizeof messages);
        for (size_t i = 0; got > 0 && i < (size_t)got / sizeof messages[0]; i++)
            on_message(tracker, &messages[i]);
    } while (got == (ssize_t)sizeof messages);
    if (got < 0 && errno != EAGAIN && errno != EINTR && !tracker->failure)
        tracker->failure =
            pf_why(&tracker->why, -errno, "cannot read userfaultfd messages: %s", strerror(errno));
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *run_thread(void *arg)
{
    struct pf_tracker *tracker = arg;
    struct pollfd polled[] = {
        {.fd = tracker->uffd.fd, .events = POLLIN},
        {.fd = tracker->stop_fd, .events = POLLIN},
    };
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            break;
        if (polled[1].revents)
            break;
        atomic_store(&tracker->thread_waits, true);
        pthread_mutex_lock(&tracker->lock);
        atomic_store(&tracker->thread_waits, false);
        pf_tracker_serve(tracker);
        pthread_mutex_unlock(&tracker->lock);
    }
    return NULL;
}

int pf_tracker_start_thread(struct pf_tracker *tracker, struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    tracker->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tracker->stop_fd < 0)
        return pf_why(why, -errno, "no eventfd for the tracker: %s", strerror(errno));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&tracker->thread, NULL, run_thread, tracker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return pf_why(why, -error, "cannot start the tracker's thread: %s", strerror(error));
    tracker->started = true;
    pthread_setname_np(tracker->thread, "pf-tracker");
    return 0;
}

void pf_tracker_stop_thread(struct pf_tracker *tracker)
{
    if (tracker->started) {
        (void)!write(tracker->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
        pthread_join(tracker->thread, NULL);
    }
    tracker->started = false;
    if (tracker->stop_fd >= 0)
        close(tracker->stop_fd);
    tracker->stop_fd = -1;
}
