/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's half of windows (core/send/window.h): registering regions so that the source
 * can write into them during pre-copy. All of it is the control thread's.
 */
#ifndef PF_CORE_ARRIVAL_OFFER_H
#define PF_CORE_ARRIVAL_OFFER_H

#include "core/arrival/arrival.h"
#include "core/session/session.h"

struct pf_offer; /* one stretch of memory, registered with each rail's device */

struct pf_offers {
    struct pf_offer *list;
    struct pf_pageset *wanted; /* chunks of each region that were asked for; NULL: none may be */
    unsigned count;
    unsigned pin; /* enum pf_pin, the source's wish */
    bool told;    /* that something could not be registered */
};

/*
 * When all lanes are connected: tell which regions are not written before the switch, and offer
 * those whole that cost nothing, or all of them with --pin all. -errno if that is wanted and can't
 * be.
 */
int pf_offers_open(struct pf_offers *offers, const struct pf_arrival *arrival,
                   struct pf_session *session);

/* One PF_MSG_WANT: register the chunk and tell where it is, or that it can't be. -EPROTO: there is
 * no such chunk, it was asked for before, or windows are closed. */
int pf_offers_take_want(struct pf_offers *offers, const struct pf_arrival *arrival,
                        struct pf_session *session, struct pf_message *message);

/* Can windows be asked for? */
static inline bool pf_offers_are_open(const struct pf_offers *offers)
{
    return offers->wanted != NULL;
}

/*
 * Drop all registrations, for good. The source has said that it writes no more, or its endpoints
 * are closed.
 */
void pf_offers_close(struct pf_offers *offers);

#endif
