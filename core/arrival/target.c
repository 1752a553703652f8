/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/target.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int pf_target_init(struct pf_target *target, struct pf_uffd *uffd, bool home, unsigned room)
{
    *target = (struct pf_target){.uffd = uffd, .home = home, .room = room};
    target->views = calloc(room ? room : 1, sizeof *target->views);
    return target->views ? 0 : -ENOMEM;
}

void pf_target_forget(struct pf_target *target)
{
    for (unsigned i = 0; i < target->gone_count; i++)
        pf_pageset_free(&target->gone[i]);
    free(target->gone);
    target->gone = NULL;
    target->gone_count = 0;
}

void pf_target_free(struct pf_target *target)
{
    pf_target_forget(target);
    free(target->views);
    target->views = NULL;
    target->count = target->room = 0;
}

/* The place of the first view that ends behind an address. */
static unsigned first_ending_after(const struct pf_target *target, uint64_t addr)
{
    unsigned low = 0;
    unsigned high = target->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (target->views[middle].addr + target->views[middle].bytes <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int pf_target_show(struct pf_target *target, const struct pf_view *view)
{
    unsigned at = first_ending_after(target, view->addr);
    if (at < target->count && target->views[at].addr < view->addr + view->bytes)
        return -EEXIST;
    if (target->count == target->room)
        return -ENOSPC;
    memmove(&target->views[at + 1], &target->views[at],
            (target->count - at) * sizeof *target->views);
    target->views[at] = *view;
    target->count++;
    return 0;
}

static bool holds(const struct pf_view *view, uint64_t addr)
{
    return addr >= view->addr && addr - view->addr < view->bytes;
}

const struct pf_view *pf_target_find(struct pf_target *target, uint64_t addr)
{
    if (target->last < target->count && holds(&target->views[target->last], addr))
        return &target->views[target->last];
    unsigned at = first_ending_after(target, addr);
    if (at == target->count || !holds(&target->views[at], addr))
        return NULL;
    target->last = at;
    return &target->views[at];
}

/* ---- when the memory behind it changes ------------------------------------------------------- */

static void erase(struct pf_target *target, unsigned at)
{
    memmove(&target->views[at], &target->views[at + 1],
            (--target->count - at) * sizeof *target->views);
}

/* Let the views begin and end at an address instead of spanning it. */
static int split(struct pf_target *target, uint64_t addr)
{
    unsigned at = first_ending_after(target, addr);
    if (at == target->count || target->views[at].addr >= addr)
        return 0;
    struct pf_view *view = &target->views[at];
    struct pf_view rest = *view;
    uint64_t before = addr - view->addr;
    rest.addr = addr;
    rest.bytes -= before;
    rest.offset += before;
    if (target->count == target->room)
        return -ENOSPC;
    view->bytes = before;
    return pf_target_show(target, &rest);
}

int pf_target_cut(struct pf_target *target, uint64_t from, uint64_t to)
{
    int error = split(target, from);
    if (!error)
        error = split(target, to);
    if (error)
        return error;
    unsigned at = first_ending_after(target, from);
    while (at < target->count && target->views[at].addr < to)
        erase(target, at);
    return 0;
}

int pf_target_move(struct pf_target *target, uint64_t from, uint64_t to, uint64_t bytes)
{
    int error = split(target, from);
    if (!error)
        error = split(target, from + bytes);
    if (!error)
        error = pf_target_cut(target, to, to + bytes);
    /* Where a view was and where it went are two. */
    unsigned at = first_ending_after(target, from);
    unsigned moved = 0;
    while (at + moved < target->count && target->views[at + moved].addr < from + bytes)
        moved++;
    if (error || target->count + moved > target->room)
        return error ? error : -ENOSPC;
    uint64_t distance = to - from; /* downwards it wraps around, and back */
    for (; moved > 0 && !error; moved--) {
        at = first_ending_after(target, from);
        struct pf_view view = target->views[at];
        target->views[at].region = PF_VIEW_VACATED;
        from = view.addr + view.bytes;
        view.addr += distance;
        error = pf_target_show(target, &view);
    }
    return error;
}

int pf_target_copy(struct pf_target *target, const struct pf_target *other)
{
    if (other->count > target->room)
        return -ENOSPC;
    memcpy(target->views, other->views, other->count * sizeof *other->views);
    target->count = other->count;
    target->last = 0;
    for (unsigned i = 0; i < target->gone_count && i < other->gone_count; i++) {
        struct pf_run run = {0, 0};
        while ((run = pf_pageset_next(&other->gone[i], run.first + run.pages)).pages > 0)
            pf_pageset_add_run(&target->gone[i], run);
    }
    return 0;
}

const struct pf_view *pf_target_shows(const struct pf_target *target, unsigned region,
                                      uint64_t offset)
{
    for (unsigned i = 0; i < target->count; i++) {
        const struct pf_view *view = &target->views[i];
        if (view->region == region && offset >= view->offset && offset - view->offset < view->bytes)
            return view;
    }
    return NULL;
}

/* ---- letting go ------------------------------------------------------------------------------ */

static void unregister(const struct pf_target *target, const struct pf_uffd *uffd)
{
    for (unsigned i = 0; i < target->count; i++)
        pf_uffd_unregister(uffd, (void *)(uintptr_t)target->views[i].addr, target->views[i].bytes);
}

/* A child that was forked just now has the same ranges, behind a descriptor that the event made. */
static void release_child(const struct pf_target *target, int fd)
{
    struct pf_uffd child = {.fd = fd};
    unregister(target, &child);
    pf_uffd_close(&child);
}

void pf_target_release(struct pf_target *target)
{
    enum { BATCH = 16, TRIES = 100000 };
    struct uffd_msg messages[BATCH];
    unregister(target, target->uffd);
    /* Who began a change before that waits for its event to be read, now or in a moment. */
    for (int tries = 0; tries < TRIES && pf_uffd_changing(target->uffd); tries++) {
        ssize_t got = read(target->uffd->fd, messages, sizeof messages);
        for (ssize_t i = 0; got > 0 && i < got / (ssize_t)sizeof messages[0]; i++)
            if (messages[i].event == UFFD_EVENT_FORK)
                release_child(target, (int)messages[i].arg.fork.ufd);
        if (got <= 0)
            sched_yield();
    }
}
