/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/session.h"

#include "base/clock.h"
#include "core/session/place.h"
#include "core/session/worker.h"
#include "pageferry.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    BUDGET = 64,
    LINGER_MS = 1000,
    PING_EVERY_MS = 200,
};

/* ---- opening and closing --------------------------------------------------------------------- */

unsigned pf_session_ports(struct pf_session *session, struct pf_port *ports[PF_PORTS_MAX])
{
    unsigned count = 0;
    ports[count++] = &session->control;
    for (unsigned i = 1; session->for_listen && i < session->rails_open; i++)
        ports[count++] = &session->rails[i].door;
    ports[count++] = &session->urgent;
    for (unsigned i = 0; i < session->rail_count; i++)
        ports[count++] = &session->rails[i].bulk;
    return count;
}

static void watch_ports(struct pf_session *session)
{
    struct pf_port *ports[PF_PORTS_MAX];
    unsigned count = pf_session_ports(session, ports);
    session->idle = (struct pf_idle){
        .lane_count = count,
        .fds = {session->wake_fd},
        .fd_count = 1,
        /* Setting up is a chat of many small turns: worth a short spin. */
        .spin_ns = session->options->wait == PF_WAIT_SPIN ? 20000 : 0,
        .nap_most_ns = PF_IDLE_LONG_NAP_NS,
    };
    for (unsigned i = 0; i < count; i++)
        session->idle.lanes[i] = ports[i]->lane;
}

static void init_ports(struct pf_session *session)
{
    pf_port_init(&session->control, session, PF_ROLE_CONTROL, 0);
    pf_port_init(&session->urgent, session, PF_ROLE_URGENT, 0);
    for (unsigned i = 0; i < session->rails_open; i++) {
        session->rails[i].state = PF_RAIL_UP;
        atomic_store(&session->rails[i].bytes, 0);
        pf_port_init(&session->rails[i].bulk, session, PF_ROLE_BULK, i);
    }
}

/* The lanes that each session has anew, and the channel on the one that stays. */
static int open_connections(struct pf_session *session)
{
    int error = pf_port_open(&session->urgent, pf_session_device(session));
    for (unsigned i = 0; i < session->rails_open && !error; i++)
        error = pf_port_open(&session->rails[i].bulk, session->rails[i].device);
    if (!error)
        error = pf_channel_init(&session->channel, pf_session_device(session), &session->why);
    watch_ports(session);
    return error;
}

/* What stays from one session to the next: the devices, and the lanes that are listened on. */
static int open_rails(struct pf_session *session, const struct pf_uri_list *list)
{
    int error = 0;
    for (unsigned i = 0; i < list->count && !error; i++) {
        struct pf_rail *rail = &session->rails[i];
        strcpy(rail->uri, list->uris[i]);
        pf_port_init(&rail->door, session, PF_ROLE_CONTROL, i);
        rail->nic.node = rail->placement.node = PF_NODE_UNKNOWN;
        session->rails_open = i + 1;
        error = pf_rail_open(rail, session, session->for_listen);
        if (!error && session->for_listen && i > 0)
            error = pf_port_open(&rail->door, rail->device);
    }
    return error;
}

int pf_session_open(struct pf_session *session, const char *uris, bool for_listen)
{
    struct pf_uri_list list;
    session->for_listen = for_listen;
    session->lanes_driven = true;
    session->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (session->wake_fd < 0)
        return pf_why(&session->why, -errno, "cannot make an eventfd: %s", strerror(errno));
    int error = pf_uri_list_parse(uris, &list, &session->why);
    if (!error)
        error = open_rails(session, &list);
    if (!error && session->options->placement[0])
        error = pf_session_place(session);
    session->rail_count = session->rails_open;
    init_ports(session);
    if (!error)
        error = pf_port_open(&session->control, pf_session_device(session));
    return error ? error : open_connections(session);
}

void pf_session_use_rails(struct pf_session *session, unsigned count)
{
    session->rail_count = count;
    watch_ports(session);
}

void pf_session_hang_up(struct pf_session *session)
{
    pf_port_close(&session->urgent);
    for (unsigned i = 0; i < session->rails_open; i++)
        pf_port_close(&session->rails[i].bulk);
    pf_port_hang_up(&session->control);
    /* The control lane stays, with the listener on it: it has to give the operations back. */
    while (session->control.lane && pf_channel_busy(&session->channel))
        if (pf_progress(session->control.lane, BUDGET) < 0)
            break;
}

int pf_session_renew(struct pf_session *session)
{
    struct pf_lane *control = session->control.lane;
    pf_channel_free(&session->channel);
    session->rail_count = session->rails_open;
    init_ports(session);
    session->control.lane = control;
    session->lanes_driven = true;
    session->ended = session->peer_gave_up = session->outlives = false;
    session->worker_count = 0; /* the last session's threads have ended */
    session->why = (struct pf_why){""};
    return open_connections(session);
}

void pf_session_close(struct pf_session *session)
{
    pf_session_hang_up(session);
    for (unsigned i = 0; i < session->rails_open; i++)
        pf_port_close(&session->rails[i].door);
    pf_port_close(&session->control);
    pf_channel_free(&session->channel);
    for (unsigned i = 0; i < session->rails_open; i++)
        pf_rail_close(&session->rails[i]);
    if (session->wake_fd >= 0)
        close(session->wake_fd);
    session->wake_fd = -1;
}

void pf_session_hand_over(struct pf_session *session)
{
    session->lanes_driven = false;
    session->idle.lane_count = session->for_listen ? session->rails_open : 1;
    session->idle.spin_ns = 0;
    pf_busy(&session->idle);
}

void pf_session_keep_lanes(struct pf_session *session)
{
    session->idle.spin_ns = 0;
    pf_busy(&session->idle);
}

void pf_session_wake(struct pf_session *session)
{
    /*
     * Fails when the counter is full, and then the thread has been woken already; or before there
     * is one: then the thread looks before it first waits.
     */
    ssize_t written = write(session->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

/* ---- moving along ---------------------------------------------------------------------------- */

static int drive_lanes(struct pf_session *session)
{
    struct pf_port *ports[PF_PORTS_MAX];
    int events = 0;
    unsigned count = pf_session_ports(session, ports);
    for (unsigned i = 0; i < count && i < session->idle.lane_count; i++) {
        int n = pf_progress(session->idle.lanes[i], BUDGET);
        if (n < 0 && session->outlives && ports[i]->role == PF_ROLE_BULK)
            pf_port_lose(ports[i], n);
        else if (n < 0)
            return pf_why(&session->why, n, "the %s lane broke: %s", pf_role_name(ports[i]->role),
                          ferry_strerror(n));
        if (n < 0)
            continue;
        events += n;
    }
    return events;
}

/* The first failure among the connections; a hang-up after the end is none. */
static int port_failure(struct pf_session *session)
{
    struct pf_port *ports[PF_PORTS_MAX];
    unsigned count = pf_session_ports(session, ports);
    if (session->ended)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        int status = atomic_load(&ports[i]->status);
        if (ports[i]->role == PF_ROLE_BULK && session->outlives &&
            !pf_session_every_rail_broke(session))
            continue;
        /* What the peer said before it hung up comes first: it may be the reason. */
        if (status &&
            (ports[i]->role != PF_ROLE_CONTROL || pf_list_empty(&session->channel.arrived)))
            return session->lanes_driven
                       ? status
                       : pf_why(&session->why, status, "the %s connection broke: %s",
                                pf_role_name(ports[i]->role), ferry_strerror(status));
    }
    return 0;
}

static int thread_failure(struct pf_session *session)
{
    /* What the peer has said comes first here, too. */
    if (!pf_list_empty(&session->channel.arrived))
        return 0;
    for (unsigned i = 0; i < session->worker_count; i++) {
        int status = pf_worker_failure(session->workers[i]);
        if (status)
            return status;
    }
    return 0;
}

int pf_session_failure(struct pf_session *session)
{
    int error = thread_failure(session);
    return error ? error : port_failure(session);
}

static int keep_alive(struct pf_session *session)
{
    struct pf_channel *channel = &session->channel;
    uint64_t now = pf_now_ns();
    if (!channel->endpoint || !session->control.connected || session->ended)
        return 0;
    if (now - channel->heard_ns > (uint64_t)session->options->peer_timeout_ms * 1000000)
        return pf_why(&session->why, -ETIMEDOUT,
                      "nothing was heard from the peer for %.1f s (--peer-timeout)",
                      session->options->peer_timeout_ms / 1000.0);
    if (!channel->building && now - channel->spoke_ns > PING_EVERY_MS * 1000000ull) {
        struct pf_wire payload;
        int error = pf_channel_begin(channel, &payload);
        if (!error)
            error = pf_channel_commit(channel, PF_MSG_PING, &payload);
        /* No room is no failure: the peer's silence will be, if it lasts. */
        if (error && error != -EAGAIN)
            return pf_why(&session->why, error, "the control connection broke: %s",
                          ferry_strerror(error));
    }
    return 0;
}

static void swallow_wakes(struct pf_session *session)
{
    uint64_t count;
    ssize_t got = read(session->wake_fd, &count, sizeof count);
    (void)got;
}

int pf_session_step_within(struct pf_session *session, unsigned most_ms)
{
    int events = drive_lanes(session);
    if (events < 0)
        return events;
    if (session->cancel && atomic_load(session->cancel))
        return pf_why(&session->why, -ECANCELED, "the migration was cancelled");
    int error = pf_session_failure(session);
    if (!error)
        error = keep_alive(session);
    if (error)
        return error;
    if (events > 0) {
        pf_busy(&session->idle);
    } else if (pf_list_empty(&session->channel.arrived)) {
        pf_idle(&session->idle, (int)(most_ms < PING_EVERY_MS ? most_ms : PING_EVERY_MS));
        swallow_wakes(session);
    }
    return 0;
}

int pf_session_step(struct pf_session *session)
{
    return pf_session_step_within(session, session->options->progress_ms);
}

/* ---- talking --------------------------------------------------------------------------------- */

static int channel_broke(struct pf_session *session, int error)
{
    if (atomic_load(&session->control.status) && session->why.text[0])
        return error;
    return pf_why(&session->why, error, "the control connection broke: %s", ferry_strerror(error));
}

int pf_session_begin(struct pf_session *session, struct pf_wire *payload)
{
    int error;
    while ((error = pf_channel_begin(&session->channel, payload)) == -EAGAIN) {
        /* The peer's acknowledgements come with its messages: take them off the queue's head. */
        struct pf_message message;
        int got = pf_session_poll(session, &message);
        if (got > 0 && (message.type != PF_MSG_RAIL_BROKE || !session->for_listen))
            return pf_why(&session->why, -EPROTO, "the peer spoke out of turn (%s)",
                          pf_message_name(message.type));
        /* A rail breaks when it likes. */
        if (got > 0)
            error = pf_session_lose_rail(session, &message);
        else
            error = got < 0 ? got : pf_session_step(session);
        if (error)
            return error;
    }
    return error ? channel_broke(session, error) : 0;
}

int pf_session_commit(struct pf_session *session, unsigned type, const struct pf_wire *payload)
{
    int error;
    while ((error = pf_channel_commit(&session->channel, type, payload)) == -EAGAIN) {
        error = pf_session_step(session);
        if (error)
            return error;
    }
    return error ? channel_broke(session, error) : 0;
}

int pf_session_say(struct pf_session *session, unsigned type)
{
    struct pf_wire payload;
    int error = pf_session_begin(session, &payload);
    return error ? error : pf_session_commit(session, type, &payload);
}

static int peer_error(struct pf_session *session, struct pf_message *message)
{
    char text[sizeof session->why.text / 2];
    session->peer_gave_up = true;
    uint32_t code = pf_get_u32(&message->payload);
    pf_get_string(&message->payload, text, sizeof text);
    if (message->payload.bad || code == 0 || code > 4095)
        return pf_why(&session->why, -EPROTO, "the peer sent a malformed error");
    return pf_why(&session->why, -(int)code, "the peer reports: %s", text);
}

int pf_session_poll(struct pf_session *session, struct pf_message *message)
{
    int got;
    while ((got = pf_channel_next(&session->channel, message)) == 1) {
        if (message->type == PF_MSG_ERROR)
            return peer_error(session, message);
        if (message->type != PF_MSG_PING)
            return 1;
    }
    if (got == -EPROTO)
        return pf_why(&session->why, got, "the peer sent something that is no pageferry message");
    return got < 0 ? channel_broke(session, got) : 0;
}

int pf_session_next(struct pf_session *session, struct pf_message *message)
{
    int got;
    while ((got = pf_session_poll(session, message)) == 0) {
        int error = pf_session_step(session);
        if (error)
            return error;
    }
    return got < 0 ? got : 0;
}

int pf_session_expect(struct pf_session *session, unsigned type, struct pf_message *message)
{
    int error = pf_session_next(session, message);
    if (!error && message->type != type)
        return pf_why(&session->why, -EPROTO, "the peer sent %s where %s was due",
                      pf_message_name(message->type), pf_message_name(type));
    return error;
}

int pf_session_check(struct pf_session *session, const struct pf_message *message)
{
    if (!message->payload.bad && message->payload.at == message->payload.end)
        return 0;
    return pf_why(&session->why, -EPROTO, "the peer sent a malformed message (%s)",
                  pf_message_name(message->type));
}

void pf_session_tell_error(struct pf_session *session, int code)
{
    struct pf_wire payload;
    char text[sizeof session->why.text / 2];
    if (!session->channel.endpoint || pf_channel_begin(&session->channel, &payload) != 0)
        return;
    strncpy(text, session->why.text, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pf_put_u32(&payload, (uint32_t)-code);
    pf_put_string(&payload, text);
    if (pf_channel_commit(&session->channel, PF_MSG_ERROR, &payload) == 0)
        pf_session_linger(session);
}

void pf_session_linger(struct pf_session *session)
{
    uint64_t deadline = pf_now_ns() + LINGER_MS * 1000000ull;
    session->ended = true;
    if (session->control.endpoint)
        pf_shutdown(session->control.endpoint);
    while (!atomic_load(&session->control.status) && pf_now_ns() < deadline) {
        int n = drive_lanes(session);
        if (n < 0)
            return;
        if (n == 0) {
            pf_idle(&session->idle, 10);
            swallow_wakes(session);
        }
    }
}
