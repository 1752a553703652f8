/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the destination does about a rail that breaks after the switch: its thread places what had
 * come whole and ends; then the endpoint is closed, so that nothing of it lands any more, the
 * source is told what was placed, and other rails carry the rest.
 */
#include "core/destination/destination.h"

static struct pf_worker *worker_of(struct pf_destination *destination, unsigned rail)
{
    return destination->session.pull ? &destination->pullers[rail].worker
                                     : &destination->placers[rail].worker;
}

static bool is_drained(struct pf_destination *destination, unsigned rail)
{
    return atomic_load(destination->session.pull ? &destination->pullers[rail].drained
                                                 : &destination->placers[rail].drained);
}

static int tell_settled(struct pf_destination *destination, unsigned rail)
{
    struct pf_session *session = &destination->session;
    struct pf_wire payload;
    int error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, rail);
    if (!session->pull)
        pf_placer_report(&destination->placers[rail], &payload);
    return pf_session_commit(session, PF_MSG_RAIL_SETTLED, &payload);
}

/* In pull mode the rest is ours to read: the other pullers may sleep, having read all there was. */
static void wake_pullers(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    for (unsigned i = 0; i < session->rail_count && session->pull; i++)
        if (session->rails[i].state == PF_RAIL_UP)
            pf_worker_nudge(&destination->pullers[i].worker);
}

static void watch_rails(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    for (unsigned i = 0; i < session->rail_count && session->pull; i++) {
        struct pf_puller *puller = &destination->pullers[i];
        pf_session_out_of_patience(session, i, atomic_load(&puller->waits_since));
    }
}

int pf_destination_attend_rails(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    int broken;
    int error = 0;
    watch_rails(destination);
    while ((broken = pf_session_broken_rail(session)) >= 0)
        pf_worker_nudge(worker_of(destination, (unsigned)broken)); /* it may sleep */
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        struct pf_rail *rail = &session->rails[i];
        if (rail->state != PF_RAIL_BROKEN || !is_drained(destination, i))
            continue;
        pf_worker_stop(worker_of(destination, i));
        pf_port_hang_up(&rail->bulk);
        rail->state = PF_RAIL_SETTLED;
        pf_job_report_rails(destination->job, session);
        error = tell_settled(destination, i);
        wake_pullers(destination);
    }
    return error;
}
