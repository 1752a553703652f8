/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the source does about a rail that breaks after the switch. It tells the destination, which
 * lets nothing more land from that rail and says what has been placed; only then is the rest unsent
 * again: a page never has two writers.
 */
#include "core/source/source.h"

static void watch_rails(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    for (unsigned i = 0; i < session->rail_count && !session->pull; i++) {
        struct pf_mover *mover = &source->movers[i];
        if (pf_session_out_of_patience(session, i, atomic_load(&mover->waits_since)))
            pf_worker_nudge(&mover->worker);
    }
}

int pf_source_attend_rails(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    int rail;
    watch_rails(source);
    /* Without room it is told later: waiting for some would mean to miss what comes meanwhile. */
    while (pf_channel_room(&session->channel) && (rail = pf_session_broken_rail(session)) >= 0) {
        struct pf_wire payload;
        int error = pf_session_begin(session, &payload);
        if (error)
            return error;
        pf_put_u32(&payload, (uint32_t)rail);
        error = pf_session_commit(session, PF_MSG_RAIL_BROKE, &payload);
        if (error)
            return error;
    }
    return 0;
}

/* The thread that drives a rail's lane, whichever there is, ends. */
static void stop_rail(struct pf_source *source, unsigned index)
{
    pf_worker_stop(&source->movers[index].worker);
    pf_worker_stop(&source->attendants[1 + index].worker);
    pf_port_hang_up(&source->session.rails[index].bulk);
}

/* The other movers may sleep, having sent all there was. */
static void wake_movers(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    for (unsigned i = 0; i < session->rail_count && !session->pull; i++)
        if (session->rails[i].state == PF_RAIL_UP)
            pf_worker_nudge(&source->movers[i].worker);
}

int pf_source_settle_rail(struct pf_source *source, struct pf_message *message)
{
    struct pf_session *session = &source->session;
    uint32_t index = pf_get_u32(&message->payload);
    if (message->payload.bad || !session->outlives || index >= session->rail_count ||
        session->rails[index].state == PF_RAIL_SETTLED)
        return pf_why(&session->why, -EPROTO, "the destination settled a rail that is not due");
    pf_port_lose(&session->rails[index].bulk, -ECONNRESET);
    int error = pf_source_attend_rails(source); /* it may be the first to know */
    if (error)
        return error;
    stop_rail(source, index);
    session->rails[index].state = PF_RAIL_SETTLED;
    pf_job_report_rails(source->job, session);
    if (!session->pull && pf_mover_settle(&source->movers[index], &message->payload))
        return pf_why(&session->why, -EPROTO,
                      "the destination says of rail %u that stages were placed that never left",
                      index);
    wake_movers(source);
    return pf_session_check(session, message);
}
