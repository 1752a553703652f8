/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer that speaks the protocol by itself, in the test's own process and thread, as badly as the
 * test wants. It follows the script of a well-behaved source (or destination) of a grid job up to a
 * step, and then does what the test says.
 */
#ifndef PF_TESTS_FUZZ_PEER_H
#define PF_TESTS_FUZZ_PEER_H

#include "core/memory/region.h"
#include "core/session/session.h"
#include "tests/e2e/grid.h"

enum { PEER_PAGES = 16, PEER_STEPS = 4, PEER_MOVE_AT = 2, PEER_SLOTS = 4, PEER_STAGES = 2 };
enum { PEER_STAGE_SIZE = 16384, PEER_STAGE = PF_STAGE_PAGES + PEER_STAGE_SIZE };
enum { PEER_TRAYS = 2 }; /* as large as stages */
enum { PEER_RECEIVES = 128, PEER_MESSAGE = 64, PEER_SENDS = 16 };

/* A peer's memory: receives, and from here on the rest. */
enum {
    PEER_CONTROL_SEND = 20000, /* larger than any receive, for messages that are too long */
    PEER_SENDS_AT = 2 * PEER_RECEIVES * PEER_MESSAGE,
    PEER_SLOTS_AT = (PEER_SENDS_AT + PEER_SENDS * PEER_CONTROL_SEND + 4095) / 4096 * 4096,
    PEER_STAGES_AT = PEER_SLOTS_AT + PEER_SLOTS * RIG_PAGE,
    PEER_TRAYS_AT = PEER_STAGES_AT + PEER_STAGES * PEER_STAGE,
    PEER_WINDOW_AT = PEER_TRAYS_AT + PEER_TRAYS * PEER_STAGE, /* for a region of PEER_PAGES */
    PEER_MEMORY = PEER_WINDOW_AT + PEER_PAGES * RIG_PAGE,
};

/* Steps of the conversation; a script ends after the one named. */
enum peer_step {
    PEER_CONNECTED,
    PEER_HELLO,
    PEER_REGIONS,
    PEER_ACCEPTED, /* source: heard it; destination: said it */
    PEER_LANES,    /* urgent and bulk are connected, the arena is known */
    PEER_SWITCH,   /* unsent and state */
    PEER_LISTENING,
    PEER_RUNNING,
};

struct peer_op {
    struct pf_op op;
    struct peer *peer;
    uint8_t *bytes;
    bool posted;
};

struct peer {
    struct pf_options options;
    struct pf_counters counters;
    struct pf_session session;
    struct pf_listener *listener;
    char uri[RIG_URI];
    uint8_t *memory;
    struct pf_mr *mr;
    struct peer_op receives[2][PEER_RECEIVES], sends[PEER_SENDS];
    /* What the other side offered (as a source). */
    uint64_t slots_at, stages_at, stage_size, trays_at;
    struct pf_rkey slots_key, stages_key, trays_key;
    uint64_t window_at; /* of the latest window, if it was open */
    struct pf_rkey window_key;
    /* As a destination: immediates of the bulk lane, messages and immediates of the urgent one. */
    unsigned fills[PF_STAGES_MAX], fill_count, answers, tray_fills[PF_TRAYS_MAX];
    uint32_t last_answer;
    unsigned edges; /* empty pieces of state: what ferry_job_protect() has beside whole pages */
    void (*offer)(struct peer *peer); /* as a destination, just before ARENA; may be NULL */
    uint32_t flags;                   /* of HELLO; PF_HELLO_PULL changes the script */
    unsigned mutation;                /* seed; 0: every message is sent as it is */
};

/* A whole peer for one session. */
struct peer *peer_new(void);
void peer_free(struct peer *peer);

/* As a source: follow the script up to and with a step; 0, or the session's failure. */
int peer_source(struct peer *peer, const char *uri, enum peer_step until);
/* As a destination: listen first (peer->uri), then follow the script. */
int peer_listen(struct peer *peer);
int peer_destination(struct peer *peer, enum peer_step until);

/*
 * Hear messages until one of that type, for some seconds; -ETIMEDOUT, or the session's failure.
 * Windows are noted.
 */
int peer_hear_up_to(struct peer *peer, unsigned type);

/* Drive everything until the other side has ended the session (true), or for too long. */
bool peer_await_end(struct peer *peer);
/* Drive for a while that is long enough for what is on its way. */
void peer_settle(struct peer *peer, unsigned milliseconds);

/* One control message: type and payload as they are. */
void peer_say(struct peer *peer, unsigned type, const void *payload, size_t length);
/* An extent of KEYS. */
struct peer_extent {
    uint32_t region, zero;
    uint64_t first, pages, address;
};
/* With good keys, but of memory that nobody may read. */
void peer_say_keys(struct peer *peer, const struct peer_extent *list, unsigned count);
/* Bytes as a message of a lane: no header, no check. */
void peer_send(struct peer *peer, struct pf_port *port, const void *bytes, size_t length);
/* Write into the other side's memory, with an immediate. */
void peer_write(struct peer *peer, struct pf_port *port, const void *bytes, size_t length,
                uint64_t to, const struct pf_rkey *key, uint32_t imm);

/* ---- for the two scripts */

int peer_open(struct peer *peer, const char *uri, bool for_listen);
/* A WINDOW: where the other side's memory may be written. */
void peer_note_window(struct peer *peer, struct pf_message *message);
/* The urgent or the bulk lane's. */
int peer_post_receives(struct peer *peer, struct pf_port *port);
/* What was written since start. */
void peer_say_wire(struct peer *peer, unsigned type, const struct pf_wire *wire,
                   const uint8_t *start);

#endif
