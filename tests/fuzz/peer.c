/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/peer.h"

#include "base/clock.h"
#include "core/job/job.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEAR_NS = 300000000 };

/* ---- operations
 * ----------------------------------------------------------------------------------- */

static int post_receive(struct peer_op *receive, struct pf_port *port)
{
    struct pf_sge sge = {receive->peer->mr, receive->bytes, PEER_MESSAGE};
    return pf_recv(port->endpoint, &sge, &receive->op);
}

int peer_post_receives(struct peer *peer, struct pf_port *port)
{
    int error = 0;
    for (unsigned i = 0; !error && i < PEER_RECEIVES; i++)
        error = post_receive(&peer->receives[port->role == PF_ROLE_BULK][i], port);
    return error;
}

static void note_bulk(struct peer *peer, const struct pf_op *op)
{
    if (!op->has_imm)
        return;
    struct pf_stage_imm imm = pf_stage_from_imm(op->imm);
    peer->fills[imm.stage]++;
    peer->fill_count++;
}

static void receive_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct peer_op *receive = pf_container_of(op, struct peer_op, op);
    struct peer *peer = receive->peer;
    if (status)
        return;
    bool bulk = receive >= peer->receives[1];
    if (bulk)
        note_bulk(peer, op);
    else if (op->has_imm && pf_answer_from_imm(op->imm).status == PF_ANSWER_NEIGHBOURS)
        peer->tray_fills[pf_tray_from_imm(op->imm).tray]++;
    else
        peer->answers++;
    post_receive(receive, bulk ? &peer->session.rails[0].bulk : &peer->session.urgent);
}

static void send_done(struct pf_op *op, int status, size_t bytes)
{
    (void)status;
    (void)bytes;
    pf_container_of(op, struct peer_op, op)->posted = false;
}

static void lay_out(struct peer *peer)
{
    for (unsigned i = 0; i < 2 * PEER_RECEIVES; i++) {
        struct peer_op *receive = &peer->receives[i / PEER_RECEIVES][i % PEER_RECEIVES];
        *receive = (struct peer_op){.op = {.done = receive_done}, .peer = peer};
        receive->bytes = peer->memory + (size_t)i * PEER_MESSAGE;
    }
    for (unsigned i = 0; i < PEER_SENDS; i++) {
        peer->sends[i] = (struct peer_op){.op = {.done = send_done}, .peer = peer};
        peer->sends[i].bytes = peer->memory + PEER_SENDS_AT + (size_t)i * PEER_CONTROL_SEND;
    }
}

struct peer *peer_new(void)
{
    struct peer *peer = calloc(1, sizeof *peer);
    pf_options_init(&peer->options);
    peer->options.spin_us = 50;
    peer->session = (struct pf_session){
        .options = &peer->options, .counters = &peer->counters, .wake_fd = -1, .id = 4711};
    return peer;
}

int peer_open(struct peer *peer, const char *uri, bool for_listen)
{
    int error = pf_session_open(&peer->session, uri, for_listen);
    if (error)
        return error;
    peer->memory = mmap(NULL, PEER_MEMORY, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    lay_out(peer);
    return pf_mr_reg(pf_session_device(&peer->session), peer->memory, PEER_MEMORY, PF_REMOTE_WRITE,
                     &peer->mr, &peer->session.why);
}

void peer_free(struct peer *peer)
{
    if (peer->listener)
        pf_listener_close(peer->listener);
    pf_session_hang_up(&peer->session);
    if (peer->mr)
        pf_mr_dereg(peer->mr);
    pf_session_close(&peer->session);
    if (peer->memory)
        munmap(peer->memory, PEER_MEMORY);
    free(peer);
}

static struct peer_op *free_send(struct peer *peer)
{
    for (;;) {
        for (unsigned i = 0; i < PEER_SENDS; i++)
            if (!peer->sends[i].posted)
                return &peer->sends[i];
        peer_settle(peer, 1);
    }
}

void peer_send(struct peer *peer, struct pf_port *port, const void *bytes, size_t length)
{
    struct peer_op *send = free_send(peer);
    memcpy(send->bytes, bytes, length);
    struct pf_sge sge = {peer->mr, send->bytes, length};
    send->posted = pf_send(port->endpoint, &sge, 1, &send->op) == 0;
}

void peer_write(struct peer *peer, struct pf_port *port, const void *bytes, size_t length,
                uint64_t to, const struct pf_rkey *key, uint32_t imm)
{
    struct peer_op *send = free_send(peer);
    memcpy(send->bytes, bytes, length);
    struct pf_sge sge = {peer->mr, send->bytes, length};
    send->posted = pf_write_imm(port->endpoint, &sge, 1, to, key, imm, &send->op) == 0;
}

/* ---- driving
 * ---------------------------------------------------------------------------------------- */

static void drive(struct peer *peer)
{
    struct pf_message message;
    int events = 0;
    for (unsigned i = 0; i < peer->session.idle.lane_count; i++) {
        int n = pf_progress(peer->session.idle.lanes[i], 64);
        events += n > 0 ? n : 0;
    }
    while (pf_channel_next(&peer->session.channel, &message) == 1)
        ;
    if (events == 0)
        usleep(200);
}

void peer_settle(struct peer *peer, unsigned milliseconds)
{
    uint64_t until = pf_now_ns() + milliseconds * 1000000ull;
    while (pf_now_ns() < until)
        drive(peer);
}

bool peer_await_end(struct peer *peer)
{
    uint64_t until = pf_now_ns() + RIG_DEADLINE_S * 1000000000ull;
    while (!atomic_load(&peer->session.control.status) && pf_now_ns() < until)
        drive(peer);
    return atomic_load(&peer->session.control.status) != 0;
}

/* ---- control messages
 * ------------------------------------------------------------------------------ */

/* Spoil a message in one of a few ways, by a seed that moves on. */
static void mutate(struct peer *peer, unsigned *type, uint8_t *payload, size_t *length)
{
    if (!peer->mutation || rand_r(&peer->mutation) % 3)
        return;
    switch (rand_r(&peer->mutation) % 5) {
    case 0:
        *type = (unsigned)rand_r(&peer->mutation) % (PF_MSG_TYPE_END + 2);
        break;
    case 1:
        *length = *length ? (size_t)rand_r(&peer->mutation) % *length : 0;
        break;
    case 2:
        *length += (size_t)rand_r(&peer->mutation) % 40;
        break;
    default:
        for (int i = 0; *length && i < 3; i++)
            payload[(size_t)rand_r(&peer->mutation) % *length] ^=
                (uint8_t)(1 << rand_r(&peer->mutation) % 8);
    }
}

void peer_say(struct peer *peer, unsigned type, const void *payload, size_t length)
{
    uint8_t message[PF_CHANNEL_MESSAGE] = {0};
    uint8_t *at = message + PF_HEADER_BYTES;
    memcpy(at, payload, length);
    mutate(peer, &type, at, &length);
    struct pf_header header = {
        .type = (uint16_t)type,
        .length = (uint32_t)length,
        .handled = peer->session.channel.handled,
    };
    pf_header_pack(&header, message);
    peer->session.channel.sent++;
    peer_send(peer, &peer->session.control, message, PF_HEADER_BYTES + length);
}

void peer_say_wire(struct peer *peer, unsigned type, const struct pf_wire *wire,
                   const uint8_t *start)
{
    peer_say(peer, type, start, (size_t)(wire->at - start));
}

static void say_hello(struct peer *peer)
{
    uint8_t bytes[128];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_string(&wire, "");
    pf_put_u32(&wire, PF_PAGE_SIZE);
    pf_put_u32(&wire, 1);
    pf_put_u32(&wire, 1 + peer->edges);
    pf_put_u64(&wire, PEER_PAGES * RIG_PAGE);
    pf_put_u32(&wire, 1);
    pf_put_u32(&wire, peer->flags);
    pf_put_u32(&wire, PF_PIN_AUTO);
    peer_say_wire(peer, PF_MSG_HELLO, &wire, bytes);
}

static void say_regions(struct peer *peer)
{
    uint8_t bytes[128];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, 0);
    pf_put_string(&wire, "grid");
    pf_put_u64(&wire, PEER_PAGES * RIG_PAGE);
    pf_put_u32(&wire, PF_PAGE_SHIFT);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, 0);
    peer_say_wire(peer, PF_MSG_REGION, &wire, bytes);
}

static void say_states(struct peer *peer)
{
    uint8_t bytes[64];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u64(&wire, sizeof(long));
    for (unsigned i = 0; i < peer->edges; i++)
        pf_put_u64(&wire, 0);
    peer_say_wire(peer, PF_MSG_STATES, &wire, bytes);
}

void peer_say_keys(struct peer *peer, const struct peer_extent *list, unsigned count)
{
    struct pf_session *session = &peer->session;
    uint8_t bytes[512];
    uint8_t urgent[PF_RKEY_BYTES];
    uint8_t bulk[PF_RKEY_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_rkey_pack(peer->mr, session->urgent.endpoint, urgent);
    pf_rkey_pack(peer->mr, session->rails[0].bulk.endpoint, bulk);
    for (unsigned i = 0; i < count; i++) {
        pf_put_u32(&wire, list[i].region);
        pf_put_u32(&wire, list[i].zero);
        pf_put_u64(&wire, list[i].first);
        pf_put_u64(&wire, list[i].pages);
        pf_put_u64(&wire, list[i].address);
        pf_put_bytes(&wire, urgent, sizeof urgent);
        pf_put_bytes(&wire, bulk, sizeof bulk);
    }
    peer_say_wire(peer, PF_MSG_KEYS, &wire, bytes);
}

static void say_switch(struct peer *peer)
{
    uint8_t bytes[64];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, PEER_PAGES);
    peer_say_wire(peer, PF_MSG_UNSENT, &wire, bytes);
    if (peer->flags & PF_HELLO_PULL)
        peer_say_keys(peer, &(struct peer_extent){.pages = PEER_PAGES}, 1);
    wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, PEER_MOVE_AT);
    peer_say_wire(peer, PF_MSG_STATE, &wire, bytes);
}

/* A message that became a ping by mutation is swallowed, and then both sides wait: for a while. */
static int hear(struct peer *peer, unsigned type, struct pf_message *message)
{
    uint64_t until = pf_now_ns() + HEAR_NS;
    int got;
    if (!peer->mutation)
        return pf_session_expect(&peer->session, type, message);
    while ((got = pf_session_poll(&peer->session, message)) == 0) {
        int error = pf_session_step(&peer->session);
        if (error)
            return error;
        if (pf_now_ns() > until)
            return -ETIMEDOUT;
    }
    return got < 0 ? got : message->type == type ? 0 : -EPROTO;
}

/* ---- as a source
 * ------------------------------------------------------------------------------------ */

static int connect_port(struct peer *peer, struct pf_port *port, const char *uri)
{
    uint8_t greeting[PF_GREETING_BYTES];
    struct pf_greeting fields = {
        .version = PF_PROTOCOL_VERSION, .role = (uint8_t)port->role, .session = peer->session.id};
    struct pf_endpoint_attr attr = pf_port_attr(port, 64, PEER_RECEIVES, PF_CHANNEL_MESSAGE);
    pf_greeting_pack(&fields, greeting);
    int error = pf_connect(port->lane, uri, &attr, greeting, sizeof greeting, &port->endpoint,
                           &peer->session.why);
    if (!error && port->role == PF_ROLE_CONTROL)
        error = pf_channel_attach(&peer->session.channel, port->endpoint);
    if (!error && port->role != PF_ROLE_CONTROL)
        error = peer_post_receives(peer, port);
    while (!error && !port->connected)
        error = pf_session_step(&peer->session);
    return error;
}

void peer_note_window(struct peer *peer, struct pf_message *message)
{
    uint8_t key[PF_RKEY_BYTES];
    pf_get_u32(&message->payload); /* region */
    if (pf_get_u32(&message->payload) != PF_WINDOW_MSG_OPEN)
        return;
    pf_get_u64(&message->payload); /* first page, pages */
    pf_get_u64(&message->payload);
    peer->window_at = pf_get_u64(&message->payload);
    pf_get_bytes(&message->payload, key, sizeof key);
    pf_rkey_unpack(peer->session.rails[0].bulk.endpoint, key, &peer->window_key);
}

static int hear_arena(struct peer *peer)
{
    struct pf_message message;
    uint8_t key[PF_RKEY_BYTES];
    int error;
    for (;;) { /* windows come first */
        error = peer->flags & PF_HELLO_ROUNDS ? pf_session_next(&peer->session, &message)
                                              : hear(peer, PF_MSG_ARENA, &message);
        if (error || message.type != PF_MSG_WINDOW)
            break;
        peer_note_window(peer, &message);
    }
    if (error)
        return error;
    peer->slots_at = pf_get_u64(&message.payload);
    pf_get_u32(&message.payload);
    pf_get_bytes(&message.payload, key, sizeof key);
    pf_rkey_unpack(peer->session.urgent.endpoint, key, &peer->slots_key);
    peer->stages_at = pf_get_u64(&message.payload);
    pf_get_bytes(&message.payload, key, sizeof key);
    pf_rkey_unpack(peer->session.rails[0].bulk.endpoint, key, &peer->stages_key);
    peer->trays_at = pf_get_u64(&message.payload);
    pf_get_bytes(&message.payload, key, sizeof key);
    return pf_rkey_unpack(peer->session.urgent.endpoint, key, &peer->trays_key);
}

static int source_lanes(struct peer *peer, const char *uri)
{
    int error = connect_port(peer, &peer->session.urgent, uri);
    if (!error)
        error = connect_port(peer, &peer->session.rails[0].bulk, uri);
    return error || peer->flags & PF_HELLO_PULL ? error : hear_arena(peer);
}

/* No stage size: the destination means to pull. If only a mutation said so no ARENA would come. */
static int hear_accepted(struct peer *peer)
{
    struct pf_message message;
    int error = hear(peer, PF_MSG_ACCEPTED, &message);
    if (error)
        return error;
    pf_get_u32(&message.payload);
    pf_get_u32(&message.payload);
    bool pulls = pf_get_u64(&message.payload) == 0;
    return pulls == (bool)(peer->flags & PF_HELLO_PULL) ? 0 : -EPROTO;
}

static int source_step(struct peer *peer, const char *uri, enum peer_step step)
{
    struct pf_message message;
    switch (step) {
    case PEER_CONNECTED:
        return connect_port(peer, &peer->session.control, uri);
    case PEER_HELLO:
        say_hello(peer);
        return 0;
    case PEER_REGIONS:
        say_regions(peer);
        return 0;
    case PEER_ACCEPTED:
        say_states(peer);
        return hear_accepted(peer);
    case PEER_LANES:
        return source_lanes(peer, uri);
    case PEER_SWITCH:
        say_switch(peer);
        return 0;
    case PEER_LISTENING:
        peer_say(peer, PF_MSG_LISTEN, "", 0);
        return hear(peer, PF_MSG_LISTENING, &message);
    case PEER_RUNNING:
        peer_say(peer, PF_MSG_RUN, "", 0);
        return hear(peer, PF_MSG_RUNNING, &message);
    }
    return -EINVAL;
}

int peer_source(struct peer *peer, const char *uri, enum peer_step until)
{
    int error = peer_open(peer, uri, false);
    for (int step = PEER_CONNECTED; !error && step <= (int)until; step++)
        error = source_step(peer, uri, (enum peer_step)step);
    return error;
}
