/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pf_target_init(struct pf_target *target, const struct pf_uffd *uffd, bool home, unsigned room)
{
    *target = (struct pf_target){.uffd = uffd, .home = home, .room = room};
    target->views = calloc(room ? room : 1, sizeof *target->views);
    return target->views ? 0 : -ENOMEM;
}

void pf_target_free(struct pf_target *target)
{
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
