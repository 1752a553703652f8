/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/background.h"

#include "base/clock.h"

enum {
    HINT_PAGE_BITS = 44,
    /* While the job is faulting: one short batch. */
    CAREFUL_BYTES = 64 * 1024,
    CAREFUL_BATCHES = 1,
    CAREFUL_NS = 2 * 1000000, /* after the last request */
};

void pf_hint_give(struct pf_hint *hint, unsigned region, size_t page)
{
    atomic_store_explicit(&hint->place, (uint64_t)region << HINT_PAGE_BITS | (page + 1),
                          memory_order_relaxed);
    pf_hint_warn(hint);
}

void pf_hint_warn(struct pf_hint *hint)
{
    atomic_store_explicit(&hint->faulting, true, memory_order_release);
}

bool pf_background_follow(struct pf_background *background)
{
    struct pf_hint *hint = background->hint;
    if (!atomic_load_explicit(&hint->faulting, memory_order_acquire))
        return false;
    atomic_store_explicit(&hint->faulting, false, memory_order_relaxed);
    background->careful_until = pf_now_ns() + CAREFUL_NS;
    uint64_t place = atomic_exchange_explicit(&hint->place, 0, memory_order_relaxed);
    if (!place)
        return false;
    background->region = (unsigned)(place >> HINT_PAGE_BITS);
    background->page = place & ((1ull << HINT_PAGE_BITS) - 1);
    return true;
}

static bool is_careful(const struct pf_background *background)
{
    return background->careful_until && pf_now_ns() < background->careful_until;
}

size_t pf_background_bytes(const struct pf_background *background, size_t most)
{
    return most > CAREFUL_BYTES && is_careful(background) ? CAREFUL_BYTES : most;
}

bool pf_background_may_add(const struct pf_background *background, unsigned under_way)
{
    return under_way < CAREFUL_BATCHES || !is_careful(background);
}

void pf_background_next_region(struct pf_background *background, unsigned count)
{
    background->region = (background->region + 1) % count;
    background->page = 0;
}
