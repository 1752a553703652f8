/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/round_send.h"

#include "core/send/mover.h"
#include "core/send/round_stage.h"

#include <string.h>

/* ---- writes into windows --------------------------------------------------------------------- */

static void flight_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_flight *flight = pf_container_of(op, struct pf_flight, op);
    flight->posted = false;
    flight->mover->round.flying--;
    if (status && status != -ECANCELED)
        pf_port_lose(flight->mover->port, status);
}

/* While the link is being measured, what is under way would still have to go over it. */
static struct pf_flight *free_flight(struct pf_round_sender *round)
{
    const struct pf_encoder *encoder = round->packing.encoder;
    bool few = encoder && atomic_load(&encoder->undecided);
    for (unsigned i = 0; i < (few ? PF_FLIGHTS_MEASURED : PF_FLIGHTS_MAX); i++)
        if (!round->flights[i].posted)
            return &round->flights[i];
    return NULL;
}

static size_t longest_write(const struct pf_mover *mover)
{
    size_t message = mover->port->lane->device->caps.max_message;
    return message < PF_FLIGHT_BYTES ? message : PF_FLIGHT_BYTES;
}

/* Post the next piece of what is claimed. 1, 0 (no room), or -errno. */
static int fly(struct pf_mover *mover)
{
    struct pf_round_sender *round = &mover->round;
    struct pf_claimed *claimed = &round->claimed;
    struct pf_flight *flight = free_flight(round);
    const struct pf_region *region = mover->memory->regions[claimed->region].region;
    if (!flight)
        return 0;
    size_t most = longest_write(mover);
    struct pf_sge sge = {
        .mr = claimed->mr,
        .addr = region->addr + claimed->at,
        .len = claimed->left < most ? claimed->left : most,
    };
    int error = pf_write(mover->port->endpoint, &sge, 1, claimed->remote + claimed->at,
                         &claimed->window->keys[mover->port->rail], &flight->op);
    if (error)
        return error == -EAGAIN ? 0 : error;
    flight->posted = true;
    round->flying++;
    claimed->at += sge.len;
    claimed->left -= sge.len;
    round->posted += sge.len;
    pf_count(&mover->session->counters->sent_bytes, sge.len);
    pf_count(&mover->session->rails[mover->port->rail].bytes, sge.len);
    return 1;
}

/* ---- the rest, by the stages ----------------------------------------------------------------- */

static int send_stage(struct pf_mover *mover, const struct pf_route *route)
{
    struct pf_outgoing *stage = pf_mover_free_stage(mover);
    if (!stage)
        return 0;
    if (route)
        pf_round_stage_fill(stage, *route);
    else
        pf_round_stage_part(stage, &mover->round.claimed);
    if (stage->batch.run_count == 0)
        return 1; /* others have claimed it meanwhile */
    if (stage->batch.lost)
        return pf_mover_lost(mover, stage->batch.runs[stage->batch.run_count - 1].region);
    mover->round.posted += stage->batch.bytes;
    int error = pf_mover_post(stage);
    return error ? error : 1;
}

static bool needs_parts(const struct pf_mover *mover, const struct pf_route *route)
{
    const struct pf_region *region = mover->memory->regions[route->region].region;
    return route->way == PF_WAY_STAGED && pf_region_page_size(region) > mover->stage_size;
}

/* ---- the round ------------------------------------------------------------------------------- */

static void claim(struct pf_mover *mover, struct pf_route *route)
{
    unsigned shift = mover->memory->regions[route->region].region->page_shift;
    if (needs_parts(mover, route))
        route->run.pages = 1;
    size_t pages = pf_route_claim(mover, route);
    mover->round.claimed = (struct pf_claimed){
        .region = route->region,
        .page = route->run.first,
        .at = route->run.first << shift,
        .left = pages << shift,
        .staged = route->way == PF_WAY_STAGED,
        .mr = route->mr,
        .window = route->window,
        .remote = route->window->addr - (route->window_first << shift),
    };
}

/* Send the next dirty pages. 1, 0 if it has to wait, -errno, or 2: there are none. */
static int send_next(struct pf_mover *mover)
{
    struct pf_claimed *claimed = &mover->round.claimed;
    struct pf_route route;
    if (claimed->left > 0)
        return claimed->staged ? send_stage(mover, NULL) : fly(mover);
    if (pf_round_packs(mover))
        return pf_round_pack(mover);
    if (atomic_load(&mover->round.halt) || !pf_route_find(mover, &route))
        return 2;
    switch (route.way) {
    case PF_WAY_WAIT:
        return 0;
    case PF_WAY_LOST:
        return pf_mover_lost(mover, route.region);
    case PF_WAY_NOTHING:
        pf_route_claim(mover, &route);
        return 1;
    case PF_WAY_PACKED:
        return 1; /* from this moment on: the next look will see it */
    case PF_WAY_DIRECT:
        claim(mover, &route);
        return 1;
    default:
        if (!needs_parts(mover, &route))
            return send_stage(mover, &route);
        claim(mover, &route);
        return 1;
    }
}

static void flush_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_mover *mover = pf_container_of(op, struct pf_mover, round.flush);
    mover->round.flushing = false;
    mover->round.flushed = status == 0;
    if (status && status != -ECANCELED)
        pf_port_lose(mover->port, status);
}

/* All pages have been taken: wait until they are there. */
static int finish(struct pf_mover *mover)
{
    struct pf_round_sender *round = &mover->round;
    if (round->flying > 0 || mover->under_way > 0 || round->flushing)
        return 0;
    if (round->flushed) {
        round->flushed = false;
        atomic_store(&round->done, atomic_load(&round->wanted));
        pf_session_wake(mover->session);
        return 1;
    }
    int error = pf_flush(mover->port->endpoint, &round->flush);
    round->flushing = error == 0;
    return error == -EAGAIN ? 0 : error ? error : 1;
}

/* What has been taken goes at once when the round is to end, and when the job waits for it. */
static size_t ask(struct pf_mover *mover)
{
    struct pf_round_sender *round = &mover->round;
    if (atomic_load(&round->halt) || atomic_load(&round->paused))
        return pf_rate_ignore(&mover->rate, PF_FLIGHT_BYTES);
    return pf_rate_ask(&mover->rate, PF_FLIGHT_BYTES, round->flying == 0 && mover->under_way == 0);
}

static int send_within_limit(struct pf_mover *mover)
{
    mover->allowed = ask(mover);
    if (mover->allowed == 0)
        return 0;
    mover->round.posted = 0;
    int sent = send_next(mover);
    pf_rate_used(&mover->rate, mover->round.posted);
    return sent;
}

int pf_round_send(struct pf_mover *mover)
{
    struct pf_round_sender *round = &mover->round;
    if (atomic_load(&round->done) == atomic_load(&round->wanted))
        return 0;
    /* Looked at first: what is collected later is not missed. */
    bool last = atomic_load(&round->collected) || atomic_load(&round->halt);
    int sent = round->flushing || round->flushed ? 2 : send_within_limit(mover);
    if (sent == 2)
        sent = last ? finish(mover) : 0;
    return sent;
}

void pf_round_sender_init(struct pf_mover *mover, const struct pf_windows *windows)
{
    struct pf_round_sender *round = &mover->round;
    round->windows = windows;
    round->flush.done = flush_done;
    for (unsigned i = 0; i < PF_FLIGHTS_MAX; i++)
        round->flights[i] = (struct pf_flight){.op = {.done = flight_done}, .mover = mover};
}
