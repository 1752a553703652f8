/* SPDX-License-Identifier: BSD-2-Clause */
/* The script of a well-behaved destination. */
#include "tests/fuzz/peer.h"

#include "base/clock.h"

#include <errno.h>

enum { PATIENCE_S = 3 };

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct peer *peer = ctx;
    struct pf_greeting greeting;
    struct pf_session *session = &peer->session;
    if (pf_greeting_unpack(data, len, &greeting)) {
        pf_reject(request, NULL, 0);
        return;
    }
    struct pf_port *port = greeting.role == PF_ROLE_CONTROL  ? &session->control
                           : greeting.role == PF_ROLE_URGENT ? &session->urgent
                                                             : &session->rails[0].bulk;
    struct pf_endpoint_attr attr = pf_port_attr(port, 64, PEER_RECEIVES, PF_CHANNEL_MESSAGE);
    if (pf_accept(request, port->lane, &attr, NULL, 0, &port->endpoint, &session->why))
        return;
    if (port->role == PF_ROLE_CONTROL)
        pf_channel_attach(&session->channel, port->endpoint);
    else
        peer_post_receives(peer, port);
}

int peer_listen(struct peer *peer)
{
    static const struct pf_listener_events events = {.request = on_request};
    int error = peer_open(peer, rig_target(), true);
    if (!error)
        error = pf_listen(peer->session.control.lane, rig_target(), &events, peer, &peer->listener,
                          &peer->session.why);
    return error ? error : pf_listener_uri(peer->listener, peer->uri, sizeof peer->uri);
}

static int await_port(struct peer *peer, const struct pf_port *port)
{
    int error = 0;
    while (!error && !port->connected)
        error = pf_session_step(&peer->session);
    return error;
}

static void say_accepted(struct peer *peer)
{
    uint8_t bytes[64];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, PEER_SLOTS);
    pf_put_u32(&wire, PEER_STAGES);
    pf_put_u64(&wire, PEER_STAGE_SIZE);
    pf_put_u32(&wire, 1); /* rails */
    pf_put_u32(&wire, PEER_TRAYS);
    pf_put_u64(&wire, PEER_STAGE_SIZE);
    pf_put_u32(&wire, 0); /* decompresses nothing */
    peer_say_wire(peer, PF_MSG_ACCEPTED, &wire, bytes);
}

static void say_arena(struct peer *peer)
{
    uint8_t bytes[128];
    uint8_t key[PF_RKEY_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_rkey_pack(peer->mr, peer->session.urgent.endpoint, key);
    pf_put_u64(&wire, (uintptr_t)peer->memory + PEER_SLOTS_AT);
    pf_put_u32(&wire, RIG_PAGE);
    pf_put_bytes(&wire, key, sizeof key);
    pf_rkey_pack(peer->mr, peer->session.rails[0].bulk.endpoint, key);
    pf_put_u64(&wire, (uintptr_t)peer->memory + PEER_STAGES_AT);
    pf_put_bytes(&wire, key, sizeof key);
    pf_rkey_pack(peer->mr, peer->session.urgent.endpoint, key);
    pf_put_u64(&wire, (uintptr_t)peer->memory + PEER_TRAYS_AT);
    pf_put_bytes(&wire, key, sizeof key);
    peer_say_wire(peer, PF_MSG_ARENA, &wire, bytes);
}

/*
 * Hear messages until one of that type, for some seconds: what was said may have been mutated into
 * an announcement, and then either side would wait for the other.
 */
int peer_hear_up_to(struct peer *peer, unsigned type)
{
    struct pf_message message = {0};
    uint64_t deadline_ns = pf_now_ns() + PATIENCE_S * 1000000000ull;
    while (message.type != type) {
        if (pf_now_ns() > deadline_ns)
            return -ETIMEDOUT;
        int got = pf_session_poll(&peer->session, &message);
        int error = got < 0 ? got : got == 0 ? pf_session_step(&peer->session) : 0;
        if (error)
            return error;
        if (got > 0 && message.type == PF_MSG_WINDOW)
            peer_note_window(peer, &message);
    }
    return 0;
}

static int destination_step(struct peer *peer, enum peer_step step)
{
    int error;
    switch (step) {
    case PEER_CONNECTED:
        return await_port(peer, &peer->session.control);
    case PEER_HELLO:
        return peer_hear_up_to(peer, PF_MSG_HELLO);
    case PEER_REGIONS:
        return peer_hear_up_to(peer, PF_MSG_STATES);
    case PEER_ACCEPTED:
        say_accepted(peer);
        return 0;
    case PEER_LANES:
        error = await_port(peer, &peer->session.urgent);
        if (!error)
            error = await_port(peer, &peer->session.rails[0].bulk);
        if (!error && peer->offer)
            peer->offer(peer);
        if (!error)
            say_arena(peer);
        return error;
    case PEER_SWITCH:
        return peer_hear_up_to(peer, PF_MSG_LISTEN);
    case PEER_LISTENING:
        peer_say(peer, PF_MSG_LISTENING, "", 0);
        return peer_hear_up_to(peer, PF_MSG_RUN);
    case PEER_RUNNING:
        peer_say(peer, PF_MSG_RUNNING, "", 0);
        return 0;
    }
    return -EINVAL;
}

int peer_destination(struct peer *peer, enum peer_step until)
{
    int error = 0;
    for (int step = PEER_CONNECTED; !error && step <= (int)until; step++)
        error = destination_step(peer, (enum peer_step)step);
    return error;
}
