/* SPDX-License-Identifier: BSD-2-Clause */
/* What a destination does otherwise when it pulls the pages. */
#include "core/destination/destination.h"

/* A host page is read in one go. */
static int check_pages(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    const struct pf_regions *regions = &destination->job->regions;
    for (unsigned rail = 0; rail < session->rail_count; rail++) {
        size_t most = session->rails[rail].device->caps.max_message;
        for (unsigned i = 0; i < regions->count; i++)
            if (pf_region_page_size(&regions->list[i]) > most)
                return pf_why(&session->why, -EMSGSIZE,
                              "region \"%s\" has pages of %zu bytes, and the device reads %zu at "
                              "once: use --fetch write",
                              regions->list[i].name, pf_region_page_size(&regions->list[i]), most);
    }
    return 0;
}

int pf_destination_open_pull(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    destination->faults.requests.fetch = &destination->fetch;
    int error = check_pages(destination);
    if (error)
        return error;
    error = pf_fetch_open(&destination->fetch, &destination->arrival, &session->why);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_puller_open(&destination->pullers[i], session, i, &destination->fetch,
                               destination->background);
    return error;
}

int pf_destination_ready_pull(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    pf_knock_init(&destination->faults.requests.knock, session->urgent.endpoint);
    return pf_fetch_ready(&destination->fetch, &session->why);
}

int pf_destination_start_pull(struct pf_destination *destination)
{
    int error = 0;
    for (unsigned i = 0; i < destination->session.rail_count && !error; i++)
        error = pf_puller_start(&destination->pullers[i]);
    return error;
}

void pf_destination_stop_pull(struct pf_destination *destination)
{
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        pf_worker_stop(&destination->pullers[i].worker);
}

void pf_destination_close_pull(struct pf_destination *destination)
{
    for (unsigned i = 0; i < PF_RAILS_MAX; i++)
        pf_puller_close(&destination->pullers[i]);
    pf_fetch_close(&destination->fetch);
}

/* ---- what the source tells ------------------------------------------------------------------- */

static void get_key(struct pf_port *port, struct pf_wire *payload, struct pf_rkey *key)
{
    uint8_t packed[PF_RKEY_BYTES];
    pf_get_bytes(payload, packed, sizeof packed);
    if (!payload->bad && pf_rkey_unpack(port->endpoint, packed, key))
        payload->bad = true;
}

/* One extent of KEYS; returns the region. */
static uint32_t get_extent(struct pf_session *session, struct pf_wire *payload,
                           struct pf_remote_extent *extent)
{
    uint32_t region = pf_get_u32(payload);
    if (pf_get_u32(payload) != 0)
        payload->bad = true;
    extent->first = pf_get_u64(payload);
    extent->pages = pf_get_u64(payload);
    extent->address = pf_get_u64(payload);
    get_key(&session->urgent, payload, &extent->urgent);
    for (unsigned i = 0; i < session->rail_count; i++)
        get_key(&session->rails[i].bulk, payload, &extent->bulk[i]);
    return region;
}

int pf_destination_take_keys(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_session *session = &destination->session;
    struct pf_wire *payload = &message->payload;
    int error = 0;
    while (!error && !payload->bad && payload->at < payload->end) {
        struct pf_remote_extent extent;
        uint32_t region = get_extent(session, payload, &extent);
        if (!payload->bad)
            error = pf_fetch_add(&destination->fetch, region, &extent, &session->why);
    }
    return error ? error : pf_session_check(session, message);
}
