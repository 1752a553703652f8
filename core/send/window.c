/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/window.h"

#include <stdlib.h>

int pf_windows_init(struct pf_windows *windows, const struct pf_regions *regions,
                    struct pf_why *why)
{
    windows->list = calloc(regions->count ? regions->count : 1, sizeof *windows->list);
    if (!windows->list)
        return pf_why(why, -ENOMEM, "no memory for the table of windows");
    for (unsigned i = 0; i < regions->count; i++) {
        windows->count = i + 1;
        size_t chunks = pf_region_chunks(&regions->list[i]);
        windows->list[i].chunks = calloc(chunks ? chunks : 1, sizeof *windows->list[i].chunks);
        if (!windows->list[i].chunks)
            return pf_why(why, -ENOMEM, "no memory for the windows of region \"%s\"",
                          regions->list[i].name);
    }
    return 0;
}

void pf_windows_free(struct pf_windows *windows)
{
    for (unsigned i = 0; i < windows->count; i++)
        free(windows->list[i].chunks);
    free(windows->list);
    *windows = (struct pf_windows){.count = 0};
}

/* ---- the destination's word ------------------------------------------------------------------ */

static int take_open(struct pf_window *window, struct pf_session *session,
                     struct pf_message *message)
{
    uint8_t key[PF_RKEY_BYTES];
    int error = 0;
    window->addr = pf_get_u64(&message->payload);
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        pf_get_bytes(&message->payload, key, sizeof key);
        error = pf_rkey_unpack(session->rails[i].bulk.endpoint, key, &window->keys[i]);
    }
    if (error)
        return pf_why(&session->why, -EPROTO, "the destination sent unusable keys");
    return 0;
}

/*
 * Which window of a region a message is about; NULL if it can't be about any: a chunk that was
 * asked for (a short region is one chunk), or before anything was, all of it.
 */
static struct pf_window *addressed(const struct pf_windows *windows, unsigned id,
                                   const struct pf_region *region, struct pf_run pages,
                                   unsigned kind)
{
    struct pf_region_windows *own = &windows->list[id];
    size_t chunk = pages.first / pf_region_chunk_pages(region);
    if (!windows->told)
        return pages.first == 0 && pages.pages == pf_region_pages(region) &&
                       kind != PF_WINDOW_MSG_REFUSED
                   ? &own->whole
                   : NULL;
    if (chunk >= pf_region_chunks(region) || kind == PF_WINDOW_MSG_NEVER ||
        atomic_load(&own->chunks[chunk].state) != PF_WINDOW_ASKED)
        return NULL;
    struct pf_run asked = pf_region_chunk(region, chunk);
    return pages.first == asked.first && pages.pages == asked.pages ? &own->chunks[chunk] : NULL;
}

int pf_windows_take(struct pf_windows *windows, const struct pf_regions *regions,
                    struct pf_session *session, struct pf_message *message)
{
    uint32_t region = pf_get_u32(&message->payload);
    uint32_t kind = pf_get_u32(&message->payload);
    struct pf_run pages = {.first = pf_get_u64(&message->payload)};
    pages.pages = pf_get_u64(&message->payload);
    struct pf_window *window = NULL;
    if (!message->payload.bad && region < windows->count && kind <= PF_WINDOW_MSG_NEVER)
        window = addressed(windows, region, &regions->list[region], pages, kind);
    if (!window || atomic_load(&window->state) >= PF_WINDOW_OPEN)
        return pf_why(&session->why, -EPROTO, "the destination offers a window that can't be");
    int error = kind == PF_WINDOW_MSG_OPEN ? take_open(window, session, message) : 0;
    if (!error)
        error = pf_session_check(session, message);
    if (error)
        return error;
    if (atomic_load(&window->state) == PF_WINDOW_ASKED)
        windows->asked--;
    windows->list[region].never |= kind == PF_WINDOW_MSG_NEVER;
    atomic_store(&window->state, kind == PF_WINDOW_MSG_OPEN ? PF_WINDOW_OPEN : PF_WINDOW_REFUSED);
    return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

void pf_windows_look(struct pf_windows *windows)
{
    windows->region = 0;
    windows->chunk = 0;
}

/* Is a chunk to have a window, and nobody has asked for it? */
static bool is_wanted(const struct pf_windows *windows, struct pf_source_region *source,
                      size_t chunk)
{
    struct pf_window *window = &windows->list[windows->region].chunks[chunk];
    struct pf_run pages = pf_source_chunk(source, chunk);
    return atomic_load(&window->state) == PF_WINDOW_NONE &&
           (windows->all || pf_pageset_next_within(&source->unsent, pages, 1).pages > 0);
}

/* Go on to the next chunk that is wanted; false if there is none. */
static bool find_wanted(struct pf_windows *windows, const struct pf_source_memory *memory)
{
    for (; windows->region < windows->count; windows->region++, windows->chunk = 0) {
        struct pf_region_windows *own = &windows->list[windows->region];
        struct pf_source_region *source = &memory->regions[windows->region];
        if (atomic_load(&own->whole.state) != PF_WINDOW_NONE)
            continue;
        for (; windows->chunk < source->chunk_count; windows->chunk++)
            if (is_wanted(windows, source, windows->chunk))
                return true;
    }
    return false;
}

static int ask_one(struct pf_windows *windows, struct pf_session *session)
{
    struct pf_wire payload;
    int error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, windows->region);
    pf_put_u64(&payload, windows->chunk);
    atomic_store(&windows->list[windows->region].chunks[windows->chunk].state, PF_WINDOW_ASKED);
    windows->asked++;
    return pf_session_commit(session, PF_MSG_WANT, &payload);
}

int pf_windows_ask(struct pf_windows *windows, const struct pf_source_memory *memory,
                   struct pf_session *session)
{
    while (!windows->by_stages && windows->asked < PF_WANTS_MAX &&
           pf_channel_room(&session->channel) && find_wanted(windows, memory)) {
        int error = ask_one(windows, session);
        if (error)
            return error;
    }
    return 0;
}

/* ---- looking up ------------------------------------------------------------------------------ */

enum pf_window_state pf_windows_find(const struct pf_windows *windows,
                                     const struct pf_source_region *source, unsigned region,
                                     size_t page, const struct pf_window **window, size_t *first,
                                     size_t *covered)
{
    const struct pf_region_windows *own = &windows->list[region];
    size_t chunk = page / source->chunk_pages;
    struct pf_run pages = {0, source->unsent.pages};
    *window = &own->whole;
    if (windows->by_stages) {
        *covered = source->unsent.pages - page;
        return PF_WINDOW_REFUSED;
    }
    if (atomic_load_explicit(&own->whole.state, memory_order_acquire) != PF_WINDOW_OPEN) {
        *window = &own->chunks[chunk];
        pages = pf_source_chunk(source, chunk);
    }
    *first = pages.first;
    *covered = pages.first + pages.pages - page;
    return (enum pf_window_state)atomic_load_explicit(&(*window)->state, memory_order_acquire);
}
