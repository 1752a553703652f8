/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of a session's rails are up, and when one counts as broken. */
#include "base/clock.h"
#include "base/log.h"
#include "core/session/session.h"
#include "pageferry.h"

void pf_session_outlive_rails(struct pf_session *session)
{
    session->outlives = session->rail_count > 1; /* the last one is never outlived */
}

static bool another_lives(struct pf_session *session, unsigned rail)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (i != rail && !pf_port_lost(&session->rails[i].bulk))
            return true;
    return false;
}

bool pf_session_out_of_patience(struct pf_session *session, unsigned rail, uint64_t since)
{
    uint64_t patience = session->options->peer_timeout_ms * 1000000ull;
    if (!session->outlives || since == 0 || session->rails[rail].state != PF_RAIL_UP ||
        pf_now_ns() < since + patience || !another_lives(session, rail))
        return false;
    pf_port_lose(&session->rails[rail].bulk, -ETIMEDOUT);
    return true;
}

int pf_session_broken_rail(struct pf_session *session)
{
    for (unsigned i = 0; session->outlives && i < session->rail_count; i++) {
        struct pf_rail *rail = &session->rails[i];
        int status = atomic_load(&rail->bulk.status);
        if (status == 0 || rail->state != PF_RAIL_UP)
            continue;
        rail->state = PF_RAIL_BROKEN;
        pf_warn("rail %u (%s) broke: %s", i, rail->uri, ferry_strerror(status));
        return (int)i;
    }
    return -1;
}

int pf_session_lose_rail(struct pf_session *session, struct pf_message *message)
{
    uint32_t index = pf_get_u32(&message->payload);
    int error = pf_session_check(session, message);
    if (error)
        return error;
    if (!session->outlives || index >= session->rail_count)
        return pf_why(&session->why, -EPROTO, "the source lost a rail that there is not");
    /* Of one that was lost here, too, it may hear at the same time. */
    pf_port_lose(&session->rails[index].bulk, -ECONNRESET);
    return 0;
}

bool pf_session_every_rail_broke(struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (!pf_port_lost(&session->rails[i].bulk))
            return false;
    return true;
}
