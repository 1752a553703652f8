/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One migration as both sides see it: the rails, the three kinds of connection, and the control
 * conversation. Driven by the control thread; the urgent and bulk lanes are driven by it too until
 * their own threads take them over.
 */
#ifndef PF_CORE_SESSION_SESSION_H
#define PF_CORE_SESSION_SESSION_H

#include "core/counters.h"
#include "core/options.h"
#include "core/session/channel.h"
#include "core/session/idle.h"
#include "core/session/rail.h"
#include "core/session/rate.h"

struct pf_worker;

/* Engine threads: the one of the urgent lane, and one for each rail. */
enum { PF_WORKERS_MAX = 1 + PF_RAILS_MAX };

struct pf_session {
    const struct pf_options *options;
    struct pf_counters *counters;
    struct pf_rail rails[PF_RAILS_MAX];
    unsigned rails_open;            /* those that have a device */
    unsigned rail_count;            /* those that this migration uses: what both sides have */
    struct pf_port control, urgent; /* on the first rail's device */
    struct pf_channel channel;
    struct pf_idle idle;
    uint64_t id;                               /* random, names the session to the peer */
    struct pf_worker *workers[PF_WORKERS_MAX]; /* those initialised, for their failures */
    unsigned worker_count;
    atomic_int wake_fd; /* eventfd: something for the control thread to look at; -1: none yet */
    bool lanes_driven;  /* the control thread drives urgent and bulk too */
    bool for_listen;    /* a destination */
    bool pull;          /* --fetch read: the destination reads the pages */
    bool rounds;        /* a source's: pages leave before the switch, too */
    bool peer_gave_up;  /* it has sent an error */
    bool ended;         /* the peer may hang up now: that is no failure */
    bool outlives;      /* the job is the destination's: a rail may break as long as one is up */
    atomic_bool *cancel;
    const _Atomic uint64_t *bandwidth; /* bytes/s of pages that aren't waited for; NULL, 0: any */
    struct pf_rate rate;               /* keeps it, for all rails together */
    struct pf_why why;                 /* why the session failed */
};

/* Open the devices for a list of URIs, and the lanes. Nothing is connected yet. */
int pf_session_open(struct pf_session *session, const char *uris, bool for_listen);

/* The peer has fewer rails: use the first `count` only. Before anything connects to the others. */
void pf_session_use_rails(struct pf_session *session, unsigned count);

/*
 * Close the connections and the urgent and bulk lanes: no write of the peer lands any more, and
 * what their operations used can be freed. Safe half-way through a failed open.
 */
void pf_session_hang_up(struct pf_session *session);

/* After hanging up: ready for another peer, with the same device and control lane. */
int pf_session_renew(struct pf_session *session);

/* Hang up and close the rest. */
void pf_session_close(struct pf_session *session);

/* What carries the control and urgent lanes. */
static inline struct pf_device *pf_session_device(const struct pf_session *session)
{
    return session->rails[0].device;
}

/* Where the buffers of the control and urgent lanes go. */
static inline int pf_session_node(const struct pf_session *session)
{
    return session->rails[0].placement.node;
}

/*
 * Every connection of the session: first those that the control thread always drives (control, the
 * rails' doors), then urgent and bulk. Returns how many.
 */
unsigned pf_session_ports(struct pf_session *session, struct pf_port *ports[PF_PORTS_MAX]);

/* Give the urgent and bulk lanes to their own threads: the control thread stops driving them. */
void pf_session_hand_over(struct pf_session *session);

/* They get no threads, since nothing but their end happens on them: no need to hurry any more. */
void pf_session_keep_lanes(struct pf_session *session);

/*
 * Move the session along and wait a little (at most progress_ms). 0; or the session's failure:
 * a dead connection, silence of the peer, -ECANCELED. session->why has the sentence.
 */
int pf_session_step(struct pf_session *session);

/* The same, waiting for at most so many milliseconds. */
int pf_session_step_within(struct pf_session *session, unsigned most_ms);

/* What has failed so far, a thread or a connection: 0 or -errno, and session->why. */
int pf_session_failure(struct pf_session *session);

/*
 * From here on a rail that breaks is no failure of the session, but who calls this has to look
 * for broken ones. The last rail, the urgent and the control connection are a failure still.
 */
void pf_session_outlive_rails(struct pf_session *session);

/* There is no rail left. */
bool pf_session_every_rail_broke(struct pf_session *session);

/*
 * The number of a rail that has broken since the last call, or -1. A warning says what happened.
 * Never before pf_session_outlive_rails().
 */
int pf_session_broken_rail(struct pf_session *session);

/* At the destination: the source's word (PF_MSG_RAIL_BROKE) that a rail is of no use. */
int pf_session_lose_rail(struct pf_session *session, struct pf_message *message);

/*
 * Not every link that is gone says so: a rail whose peer has owed something since that time (ns; 0:
 * nothing) for longer than --peer-timeout counts as broken, unless it is the last. True if it was.
 */
bool pf_session_out_of_patience(struct pf_session *session, unsigned rail, uint64_t since);

/* Tell the control thread to look. Any thread. */
void pf_session_wake(struct pf_session *session);

/* Begin and send a message, waiting for room. */
int pf_session_begin(struct pf_session *session, struct pf_wire *payload);
int pf_session_commit(struct pf_session *session, unsigned type, const struct pf_wire *payload);

/* A message without payload. */
int pf_session_say(struct pf_session *session, unsigned type);

/*
 * Take the next message if there is one: 1, or 0. Pings are swallowed; the peer's error ends the
 * session: its code, and its sentence in session->why.
 */
int pf_session_poll(struct pf_session *session, struct pf_message *message);

/* Wait for the next message, of any type. 0 or -errno. */
int pf_session_next(struct pf_session *session, struct pf_message *message);

/* Wait for a message of one type; anything else is -EPROTO. */
int pf_session_expect(struct pf_session *session, unsigned type, struct pf_message *message);

/* After taking a message's payload apart: -EPROTO if it was malformed. */
int pf_session_check(struct pf_session *session, const struct pf_message *message);

/* Tell the peer why we end; best effort. */
void pf_session_tell_error(struct pf_session *session, int code);

/* Let what was said reach the peer, and wait (bounded) until it has hung up. */
void pf_session_linger(struct pf_session *session);

#endif
