/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What travels between source and destination. docs/protocol.md is the same in prose; a change
 * here that a peer can notice raises PF_PROTOCOL_VERSION.
 *
 * All integers are little-endian.
 */
#ifndef PF_CORE_SESSION_PROTOCOL_H
#define PF_CORE_SESSION_PROTOCOL_H

#include "core/session/wire.h"
#include "transport/transport.h"

enum {
    PF_PROTOCOL_VERSION = 3,
    PF_PROTOCOL_MAGIC = 0x59524650, /* "PFRY" */
    PF_RAILS_MAX = 8,
};

/* ---- who connects: the private data of a connection ------------------------------------------ */

enum pf_role { PF_ROLE_CONTROL, PF_ROLE_URGENT, PF_ROLE_BULK, PF_ROLE_COUNT };

struct pf_greeting {
    uint16_t version;
    uint8_t role; /* enum pf_role */
    uint8_t rail; /* which bulk lane */
    uint64_t session;
};

enum { PF_GREETING_BYTES = 16 };

void pf_greeting_pack(const struct pf_greeting *greeting, uint8_t out[PF_GREETING_BYTES]);
/* -EPROTO: not one of ours. The version is for the caller to compare. */
int pf_greeting_unpack(const void *data, size_t len, struct pf_greeting *greeting);

/* ---- control messages ------------------------------------------------------------------------ */

/* S: sent by the source, D: by the destination. */
enum pf_message_type {
    PF_MSG_ACK = 1,    /* both: nothing but the header's count of messages handled */
    PF_MSG_ERROR,      /* both: the session ends; code, sentence */
    PF_MSG_PING,       /* both: still here */
    PF_MSG_HELLO,      /* S: job name, number of regions and of state pieces, bytes, rails, flags */
    PF_MSG_REGION,     /* S: one region: id, name, bytes, page size, flags, address, populated */
    PF_MSG_STATES,     /* S: the lengths of the state pieces */
    PF_MSG_ACCEPTED,   /* D: all of it fits */
    PF_MSG_ARENA,      /* D: where slots and stages are, and their keys */
    PF_MSG_UNSENT,     /* S: runs of pages of one region that are yet to come */
    PF_MSG_STATE,      /* S: part of the state blob */
    PF_MSG_LISTEN,     /* S: that was all: empty the regions and arm the faults */
    PF_MSG_LISTENING,  /* D: done */
    PF_MSG_RUN,        /* S: the job is yours */
    PF_MSG_RUNNING,    /* D: it runs */
    PF_MSG_PROGRESS,   /* D: counters */
    PF_MSG_COMPLETE,   /* D: every page is here */
    PF_MSG_BYE,        /* S: heard it; hanging up */
    PF_MSG_THREADS,    /* D: how long each thread of the job was blocked; before COMPLETE */
    PF_MSG_LATENCY,    /* D: a histogram of all these waits; before COMPLETE */
    PF_MSG_KEYS,       /* S: where unsent pages can be read, before STATE; only if it is pulled */
    PF_MSG_LANDING,    /* D: before ARENA: a region is placed in place: where, and its keys */
    PF_MSG_RECEIVED,   /* D: chunks of a region that have been received whole, if asked to tell */
    PF_MSG_RAIL_BROKE, /* S: a rail is of no use any more */
    PF_MSG_RAIL_SETTLED,   /* D: what of it has been placed; nothing of it lands any more */
    PF_MSG_WINDOW,         /* D: pre-copy: where pages of a region may be written */
    PF_MSG_WANT,           /* S: a window for this chunk, please */
    PF_MSG_CLOSE_WINDOWS,  /* S: no more writes into regions */
    PF_MSG_WINDOWS_CLOSED, /* D: nor could there be any */
    PF_MSG_ROUND,          /* S: a round of pre-copy begins: its number, bytes that are to go */
    PF_MSG_TYPE_END
};

const char *pf_message_name(unsigned type);

/* Flags of HELLO. */
enum {
    PF_HELLO_PULL = 1 << 0,          /* the destination reads the pages: no ARENA, but KEYS */
    PF_HELLO_NO_BACKGROUND = 1 << 1, /* and only those that it needs */
    PF_HELLO_TELL_RECEIVED = 1 << 2, /* RECEIVED is wanted */
    PF_HELLO_ROUNDS = 1 << 3,        /* pages come before the switch, too */
};

/* What WINDOW says of its pages. */
enum {
    PF_WINDOW_MSG_OPEN,    /* they may be written */
    PF_WINDOW_MSG_REFUSED, /* they can't be registered: by the stages */
    PF_WINDOW_MSG_NEVER,   /* (a whole region) they come after the switch only */
};

enum { PF_WANTS_MAX = 4 }; /* WANTs that have not been answered */

enum { PF_HEADER_BYTES = 16 };

struct pf_header {
    uint16_t type;
    uint32_t length;  /* of the payload */
    uint32_t handled; /* messages of the receiver of this one that its sender has handled */
};

void pf_header_pack(const struct pf_header *header, uint8_t out[PF_HEADER_BYTES]);
/* -EPROTO unless magic, type and length (against `bytes`, all that arrived) are right. */
int pf_header_unpack(const void *data, size_t bytes, struct pf_header *header);

/* ---- pull mode ------------------------------------------------------------------------------- */

enum {
    PF_KEYS_MAX = 1 << 16, /* extents that KEYS tells in all */
    PF_PULLS_MAX = 256,    /* background reads that may be under way on one rail */
};

/* ---- the urgent lane ------------------------------------------------------------------------- */

enum pf_request_kind { PF_REQUEST_PAGE = 1 };

/*
 * A page request, one inline send. It always names its region: at a fixed size that costs
 * nothing, and no request depends on the one before it.
 */
struct pf_page_request {
    uint8_t kind;        /* enum pf_request_kind */
    uint16_t slot;       /* where the answer goes */
    uint16_t generation; /* of the slot: comes back in the answer */
    uint16_t extra;      /* trays granted for neighbours of the page, a bit for each */
    uint32_t region;
    uint64_t page; /* in host pages of the region */
};

enum { PF_REQUEST_BYTES = 24 };

void pf_request_pack(const struct pf_page_request *request, uint8_t out[PF_REQUEST_BYTES]);
int pf_request_unpack(const void *data, size_t len, struct pf_page_request *request);

enum pf_answer_status {
    PF_ANSWER_DATA = 0,       /* write with immediate: the page is in the slot */
    PF_ANSWER_ZERO = 1,       /* send: all zero */
    PF_ANSWER_ELSEWHERE = 2,  /* send: it is on its way on the bulk lane, or in a tray */
    PF_ANSWER_NEIGHBOURS = 3, /* no answer at all: the immediate of a tray, struct pf_tray_imm */
};

struct pf_answer {
    uint16_t slot;       /* 12 bits */
    uint16_t generation; /* 16 bits */
    uint8_t status;      /* 4 bits */
};

enum { PF_SLOTS_MAX = 1 << 12, PF_ANSWER_BYTES = 8 };

static inline uint32_t pf_answer_to_imm(struct pf_answer answer)
{
    return (uint32_t)answer.slot | (uint32_t)answer.generation << 12 |
           (uint32_t)answer.status << 28;
}

static inline struct pf_answer pf_answer_from_imm(uint32_t imm)
{
    return (struct pf_answer){
        .slot = imm & (PF_SLOTS_MAX - 1),
        .generation = (uint16_t)(imm >> 12),
        .status = (uint8_t)(imm >> 28),
    };
}

/*
 * A tray holds likely next pages behind an answer: laid out as a stage, with the source's verdict
 * on all trays so far in front of the runs. One write with immediate fills it.
 */
enum {
    PF_TRAYS_MAX = 16,
    PF_TRAY_RUNS_MAX = 255,
    PF_TRAY_VERDICT_BYTES = 16, /* u64 useful pages, u64 useless pages */
    PF_TRAY_SIZE_MAX = 1 << 20, /* of pages */
};

struct pf_tray_imm {
    uint8_t tray;        /* 4 bits */
    uint8_t runs;        /* 8 bits */
    uint16_t generation; /* 16 bits: fillings of the tray before this one */
};

static inline uint32_t pf_tray_to_imm(struct pf_tray_imm imm)
{
    return (uint32_t)imm.tray | (uint32_t)imm.runs << 4 | (uint32_t)imm.generation << 12 |
           (uint32_t)PF_ANSWER_NEIGHBOURS << 28;
}

static inline struct pf_tray_imm pf_tray_from_imm(uint32_t imm)
{
    return (struct pf_tray_imm){
        .tray = imm & (PF_TRAYS_MAX - 1),
        .runs = (uint8_t)(imm >> 4),
        .generation = (uint16_t)(imm >> 12),
    };
}

/* ---- the bulk lane --------------------------------------------------------------------------- */

/*
 * A stage holds up to stage_size bytes of pages from PF_STAGE_PAGES on; its header ends where the
 * pages begin, so pages stay aligned and a short header costs few bytes. One immediate comes with
 * each write, or only with the last where writes are ordered; every one of them says how many.
 */
enum {
    PF_STAGE_PAGES = 4096,
    PF_RUN_BYTES = 16,
    PF_STAGE_RUNS_MAX = PF_STAGE_PAGES / PF_RUN_BYTES - 1,
    PF_STAGES_MAX = 1 << 6,
    PF_STAGE_PARTS_MAX = (1 << 6) - 1,
    PF_CREDIT_BYTES = 8,
    /* Bytes of pages in the stages of all rails: a source whose memory is pinned has as many to
     * bounce them through. */
    PF_STAGE_MEMORY_MAX = 256 << 20,
};

struct pf_stage_imm {
    uint8_t stage;       /* 6 bits */
    uint8_t parts;       /* 6 bits: immediates that belong to this filling of the stage */
    uint16_t generation; /* 10 bits */
    uint16_t runs;       /* 10 bits: length of the header */
};

static inline uint32_t pf_stage_to_imm(struct pf_stage_imm imm)
{
    return (uint32_t)imm.stage | (uint32_t)imm.parts << 6 | (uint32_t)imm.generation << 12 |
           (uint32_t)imm.runs << 22;
}

static inline struct pf_stage_imm pf_stage_from_imm(uint32_t imm)
{
    return (struct pf_stage_imm){
        .stage = imm & 63,
        .parts = imm >> 6 & 63,
        .generation = imm >> 12 & 1023,
        .runs = (uint16_t)(imm >> 22),
    };
}

enum { PF_STAGE_GENERATION_MASK = 1023 };

/* Pages; or parts of one host page that is larger than a stage, each of a stage's size. */
struct pf_stage_run {
    uint32_t region;
    uint32_t pages; /* or parts; up to PF_RUN_PAGES_MAX */
    uint64_t first; /* the page, or the first of them: 40 bits */
    uint32_t part;  /* the first part: 24 bits */
    bool in_parts;
    bool zero; /* no data in the stage: all zero */
};

enum { PF_RUN_PAGES_MAX = (1 << 30) - 1 };

/* Where a header of `runs` runs begins in its stage. */
static inline size_t pf_stage_header_at(unsigned runs)
{
    return PF_STAGE_PAGES - (size_t)runs * PF_RUN_BYTES;
}

/* The verdict and the runs of a tray; they end where its pages begin. */
static inline size_t pf_tray_header_bytes(unsigned runs)
{
    return PF_TRAY_VERDICT_BYTES + (size_t)runs * PF_RUN_BYTES;
}

void pf_stage_run_pack(const struct pf_stage_run *run, uint8_t out[PF_RUN_BYTES]);
void pf_stage_run_unpack(const uint8_t in[PF_RUN_BYTES], struct pf_stage_run *run);

#endif
