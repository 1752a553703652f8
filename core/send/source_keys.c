/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/source_keys.h"

#include "pageferry.h"

#include <stdlib.h>

enum {
    GAP_BYTES = 64 << 10, /* joined over at first; doubled until there are few enough keys */
    KEYS_ENOUGH = 4096,   /* an ordinary NIC has room for many times as many */
    /* Registered in one go: about 0.1 s, so that the destination hears of us in time. */
    PIECE_BYTES = 1 << 30,
    EXTENT_BYTES = 32, /* on the wire, without keys */
};

/* ---- what to register ------------------------------------------------------------------------ */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Extents are counted first, then written down: list is NULL while counting. */
struct plan {
    struct pf_keyed *list;
    size_t count;
    size_t gap_bytes, piece_bytes;
    uint64_t bytes;
    unsigned pinning; /* devices that pin what they register */
};

static void add(struct plan *plan, unsigned region, size_t first, size_t pages)
{
    if (plan->list)
        plan->list[plan->count] =
            (struct pf_keyed){.region = region, .first = first, .pages = pages};
    plan->count++;
}

/* Unsent runs, joined over gaps, cut into pieces. */
static void plan_runs(struct plan *plan, unsigned id, struct pf_source_region *source)
{
    unsigned shift = source->region->page_shift;
    size_t gap = plan->gap_bytes >> shift;
    size_t piece = plan->piece_bytes >> shift ? plan->piece_bytes >> shift : 1;
    struct pf_run run = pf_pageset_next(&source->unsent, 0);
    while (run.pages > 0) {
        size_t end = run.first + run.pages;
        struct pf_run next = pf_pageset_next(&source->unsent, end);
        while (next.pages > 0 && next.first - end <= gap) {
            end = next.first + next.pages;
            next = pf_pageset_next(&source->unsent, end);
        }
        for (size_t at = run.first; at < end; at += piece)
            add(plan, id, at, least(piece, end - at));
        plan->bytes += (uint64_t)(end - run.first) << shift;
        run = next;
    }
}

static void make_plan(struct plan *plan, const struct pf_source_memory *memory)
{
    plan->count = 0;
    plan->bytes = 0;
    for (unsigned i = 0; i < memory->count; i++) {
        struct pf_source_region *source = &memory->regions[i];
        if (plan->pinning > 0)
            plan_runs(plan, i, source);
        else if (pf_pageset_count(&source->unsent) > 0)
            add(plan, i, 0, source->unsent.pages);
    }
}

int pf_source_keys_plan(struct pf_source_keys *keys, const struct pf_source_memory *memory,
                        struct pf_why *why)
{
    struct plan plan = {.gap_bytes = GAP_BYTES, .piece_bytes = PIECE_BYTES};
    for (unsigned i = 0; i < memory->rails.count; i++) {
        plan.pinning += memory->rails.devices[i]->caps.needs_pinning;
        plan.piece_bytes = least(plan.piece_bytes, memory->rails.devices[i]->caps.max_registration);
    }
    for (make_plan(&plan, memory); plan.count > KEYS_ENOUGH; make_plan(&plan, memory)) {
        if (plan.gap_bytes > SIZE_MAX / 2)
            break; /* nothing is left to join: so many pieces, or so many regions */
        plan.gap_bytes *= 2;
    }
    if (plan.count > PF_KEYS_MAX)
        return pf_why(
            why, -ENOMEM,
            "the job's memory takes %zu registrations, %d are possible with --fetch read: "
            "use --fetch write",
            plan.count, PF_KEYS_MAX);
    /* Each device pins for itself, and the kernel counts it each time. */
    int error = plan.pinning ? pf_check_memlock(plan.bytes * plan.pinning, why) : 0;
    if (error)
        return error;
    keys->list = calloc(plan.count ? plan.count : 1, sizeof *keys->list);
    if (!keys->list)
        return pf_why(why, -ENOMEM, "no memory for the table of keys");
    plan.list = keys->list;
    make_plan(&plan, memory);
    keys->count = (unsigned)plan.count;
    return 0;
}

/* ---- registering and telling ----------------------------------------------------------------- */

static int put_key(struct pf_session *session, struct pf_wire *payload, struct pf_mr *mr,
                   struct pf_port *port)
{
    uint8_t key[PF_RKEY_BYTES] = {0};
    int error;
    if (!mr)
        return pf_why(&session->why, -EINVAL, "the job's memory is not registered with rail %u",
                      port->rail);
    /* A back end may have to let the peer read what it has been told before. */
    while ((error = pf_rkey_pack(mr, port->endpoint, key)) == -EAGAIN) {
        error = pf_session_step(session);
        if (error)
            return error;
    }
    pf_put_bytes(payload, key, sizeof key);
    return error ? pf_why(&session->why, error, "cannot make a key for the job's memory: %s",
                          ferry_strerror(error))
                 : 0;
}

static int put_extent(struct pf_session *session, struct pf_wire *payload,
                      const struct pf_keyed *keyed, const char *addr)
{
    pf_put_u32(payload, keyed->region);
    pf_put_u32(payload, 0);
    pf_put_u64(payload, keyed->first);
    pf_put_u64(payload, keyed->pages);
    pf_put_u64(payload, (uintptr_t)addr);
    int error = put_key(session, payload, keyed->mrs[0], &session->urgent);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = put_key(session, payload, keyed->mrs[i], &session->rails[i].bulk);
    return error;
}

int pf_source_keys_register(struct pf_keyed *keyed, const struct pf_source_memory *memory,
                            struct pf_why *why)
{
    const struct pf_region *region = memory->regions[keyed->region].region;
    int error = 0;
    for (unsigned i = 0; i < memory->rails.count && !error; i++)
        error = pf_mr_reg(memory->rails.devices[i], pf_region_page(region, keyed->first),
                          keyed->pages << region->page_shift, PF_REMOTE_READ, &keyed->mrs[i], why);
    return error;
}

static int give(struct pf_session *session, struct pf_source_memory *memory, struct pf_keyed *keyed,
                struct pf_wire *payload)
{
    const struct pf_region *region = memory->regions[keyed->region].region;
    int error = pf_source_keys_register(keyed, memory, &session->why);
    return error ? error
                 : put_extent(session, payload, keyed, pf_region_page(region, keyed->first));
}

/* One message: as many as fit, but no more memory than is registered in a moment. */
static int give_some(struct pf_source_keys *keys, struct pf_session *session,
                     struct pf_source_memory *memory, unsigned *at)
{
    struct pf_wire payload;
    size_t bytes = 0;
    ptrdiff_t room = EXTENT_BYTES + (1 + session->rail_count) * PF_RKEY_BYTES;
    int error = pf_session_begin(session, &payload);
    while (!error && *at < keys->count && bytes < PIECE_BYTES && payload.end - payload.at >= room) {
        struct pf_keyed *keyed = &keys->list[(*at)++];
        error = give(session, memory, keyed, &payload);
        if (!error)
            bytes += keyed->pages << memory->regions[keyed->region].region->page_shift;
    }
    return error ? error : pf_session_commit(session, PF_MSG_KEYS, &payload);
}

int pf_source_keys_give(struct pf_source_keys *keys, struct pf_session *session,
                        struct pf_source_memory *memory)
{
    unsigned at = 0;
    int error = pf_source_keys_plan(keys, memory, &session->why);
    while (!error && at < keys->count)
        error = give_some(keys, session, memory, &at);
    return error;
}

void pf_source_keys_close(struct pf_source_keys *keys)
{
    for (unsigned i = 0; i < keys->count; i++)
        for (unsigned rail = 0; rail < PF_RAILS_MAX; rail++)
            if (keys->list[i].mrs[rail])
                pf_mr_dereg(keys->list[i].mrs[rail]);
    free(keys->list);
    *keys = (struct pf_source_keys){.count = 0};
}
