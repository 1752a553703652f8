/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/offer.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

struct pf_offer {
    struct pf_offer *next;
    struct pf_mr *mrs[PF_RAILS_MAX];
};

static void drop(struct pf_offer *offer)
{
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        if (offer->mrs[i])
            pf_mr_dereg(offer->mrs[i]);
    free(offer);
}

/* ---- registering ----------------------------------------------------------------------------- */

static int register_pages(const struct pf_region *region, struct pf_run pages,
                          const struct pf_session *session, struct pf_offer **out,
                          struct pf_why *why)
{
    struct pf_offer *offer = calloc(1, sizeof *offer);
    int error = offer ? 0 : pf_why(why, -ENOMEM, "no memory for a window");
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_mr_reg(session->rails[i].device, pf_region_page(region, pages.first),
                          pages.pages << region->page_shift, PF_REMOTE_WRITE, &offer->mrs[i], why);
    if (error && offer)
        drop(offer);
    else
        *out = offer;
    return error;
}

static int tell(struct pf_session *session, unsigned id, const struct pf_region *region,
                struct pf_run pages, unsigned kind, const struct pf_offer *offer)
{
    struct pf_wire payload;
    int error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, id);
    pf_put_u32(&payload, kind);
    pf_put_u64(&payload, pages.first);
    pf_put_u64(&payload, pages.pages);
    if (offer)
        pf_put_u64(&payload, (uintptr_t)pf_region_page(region, pages.first));
    for (unsigned i = 0; offer && i < session->rail_count && offer->mrs[i] && !error; i++) {
        uint8_t key[PF_RKEY_BYTES];
        error = pf_rkey_pack(offer->mrs[i], session->rails[i].bulk.endpoint, key);
        pf_put_bytes(&payload, key, sizeof key);
    }
    return error ? error : pf_session_commit(session, PF_MSG_WINDOW, &payload);
}

static int offer_pages(struct pf_offers *offers, unsigned id, const struct pf_region *region,
                       struct pf_run pages, struct pf_session *session, struct pf_why *why)
{
    struct pf_offer *offer;
    int error = register_pages(region, pages, session, &offer, why);
    if (error)
        return error;
    offer->next = offers->list;
    offers->list = offer;
    error = tell(session, id, region, pages, PF_WINDOW_MSG_OPEN, offer);
    return error ? pf_why(why, error, "%s", session->why.text) : 0;
}

/* ---- whole regions --------------------------------------------------------------------------- */

static bool pins(const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (session->rails[i].device->caps.needs_pinning)
            return true;
    return false;
}

static bool fits(const struct pf_region *region, const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (region->bytes > session->rails[i].device->caps.max_registration)
            return false;
    return true;
}

static int offer_whole(struct pf_offers *offers, unsigned id, const struct pf_region *region,
                       struct pf_session *session)
{
    struct pf_why why = {""};
    struct pf_run all = {0, pf_region_pages(region)};
    if (offers->pin == PF_PIN_STAGE || !fits(region, session) ||
        (pins(session) && offers->pin != PF_PIN_ALL))
        return 0;
    int error = offer_pages(offers, id, region, all, session, &why);
    if (!error)
        return 0;
    return pf_why(&session->why, error, "region \"%s\" can't be registered whole (--pin %s): %s",
                  region->name, offers->pin == PF_PIN_ALL ? "all" : "auto", why.text);
}

static int make_sets(struct pf_offers *offers, const struct pf_arrival *arrival)
{
    offers->wanted = calloc(arrival->count ? arrival->count : 1, sizeof *offers->wanted);
    if (!offers->wanted)
        return -ENOMEM;
    for (offers->count = 0; offers->count < arrival->count; offers->count++)
        if (pf_pageset_init(&offers->wanted[offers->count],
                            pf_region_chunks(arrival->list[offers->count].region)))
            return -ENOMEM;
    return 0;
}

int pf_offers_open(struct pf_offers *offers, const struct pf_arrival *arrival,
                   struct pf_session *session)
{
    int error = make_sets(offers, arrival);
    if (error)
        return pf_why(&session->why, error, "no memory to keep account of windows");
    for (unsigned i = 0; i < arrival->count && !error; i++) {
        const struct pf_region *region = arrival->list[i].region;
        struct pf_run all = {0, pf_region_pages(region)};
        /* Another process's memory is out of the NIC's reach. */
        if (region->foreign)
            error = tell(session, i, region, all, PF_WINDOW_MSG_NEVER, NULL);
        else if (all.pages > 0)
            error = offer_whole(offers, i, region, session);
    }
    return error;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Once is enough: the rest will be no better. */
static void warn(struct pf_offers *offers, const struct pf_region *region, size_t chunk,
                 const struct pf_why *why)
{
    if (!offers->told)
        pf_warn("chunk %zu of region \"%s\" can't be registered: %s. Its pages are copied on their "
                "way, and those of others that can't be, too (as with --pin stage)",
                chunk, region->name, why->text);
    offers->told = true;
}

int pf_offers_take_want(struct pf_offers *offers, const struct pf_arrival *arrival,
                        struct pf_session *session, struct pf_message *message)
{
    struct pf_why why = {""};
    uint32_t id = pf_get_u32(&message->payload);
    uint64_t chunk = pf_get_u64(&message->payload);
    int error = pf_session_check(session, message);
    if (error)
        return error;
    const struct pf_region *region = id < arrival->count ? arrival->list[id].region : NULL;
    if (!region || region->foreign || chunk >= pf_region_chunks(region) ||
        !pf_offers_are_open(offers) || !pf_pageset_add(&offers->wanted[id], chunk))
        return pf_why(&session->why, -EPROTO, "the source wants a window that can't be");
    struct pf_run pages = pf_region_chunk(region, chunk);
    if (offer_pages(offers, id, region, pages, session, &why) == 0)
        return 0;
    warn(offers, region, chunk, &why);
    return tell(session, id, region, pages, PF_WINDOW_MSG_REFUSED, NULL);
}

void pf_offers_close(struct pf_offers *offers)
{
    while (offers->list) {
        struct pf_offer *next = offers->list->next;
        drop(offers->list);
        offers->list = next;
    }
    for (unsigned i = 0; i < offers->count; i++)
        pf_pageset_free(&offers->wanted[i]);
    free(offers->wanted);
    offers->wanted = NULL;
    offers->count = 0;
}
