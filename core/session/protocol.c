/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/protocol.h"

#include <string.h>

void pf_greeting_pack(const struct pf_greeting *greeting, uint8_t out[PF_GREETING_BYTES])
{
    struct pf_wire wire = pf_wire_over(out, PF_GREETING_BYTES);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u16(&wire, greeting->version);
    pf_put_bytes(&wire, &greeting->role, 1);
    pf_put_bytes(&wire, &greeting->rail, 1);
    pf_put_u64(&wire, greeting->session);
}

int pf_greeting_unpack(const void *data, size_t len, struct pf_greeting *greeting)
{
    uint8_t copy[PF_GREETING_BYTES];
    /* Some transports pad private data: longer is fine. */
    if (len < sizeof copy)
        return -EPROTO;
    memcpy(copy, data, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    uint32_t magic = pf_get_u32(&wire);
    greeting->version = pf_get_u16(&wire);
    pf_get_bytes(&wire, &greeting->role, 1);
    pf_get_bytes(&wire, &greeting->rail, 1);
    greeting->session = pf_get_u64(&wire);
    bool known = magic == PF_PROTOCOL_MAGIC && greeting->role < PF_ROLE_COUNT &&
                 greeting->rail < PF_RAILS_MAX;
    return known ? 0 : -EPROTO;
}

static const char *const message_names[PF_MSG_TYPE_END] = {
    [PF_MSG_ACK] = "ack",
    [PF_MSG_ERROR] = "error",
    [PF_MSG_PING] = "ping",
    [PF_MSG_HELLO] = "hello",
    [PF_MSG_REGION] = "region",
    [PF_MSG_STATES] = "states",
    [PF_MSG_ACCEPTED] = "accepted",
    [PF_MSG_ARENA] = "arena",
    [PF_MSG_UNSENT] = "unsent",
    [PF_MSG_STATE] = "state",
    [PF_MSG_LISTEN] = "listen",
    [PF_MSG_LISTENING] = "listening",
    [PF_MSG_RUN] = "run",
    [PF_MSG_RUNNING] = "running",
    [PF_MSG_PROGRESS] = "progress",
    [PF_MSG_COMPLETE] = "complete",
    [PF_MSG_BYE] = "bye",
    [PF_MSG_THREADS] = "threads",
    [PF_MSG_LATENCY] = "latency",
    [PF_MSG_KEYS] = "keys",
    [PF_MSG_LANDING] = "landing",
    [PF_MSG_RECEIVED] = "received",
    [PF_MSG_RAIL_BROKE] = "rail broke",
    [PF_MSG_RAIL_SETTLED] = "rail settled",
    [PF_MSG_WINDOW] = "window",
    [PF_MSG_WANT] = "want",
    [PF_MSG_CLOSE_WINDOWS] = "close windows",
    [PF_MSG_WINDOWS_CLOSED] = "windows closed",
    [PF_MSG_ROUND] = "round",
};

const char *pf_message_name(unsigned type)
{
    return type < PF_MSG_TYPE_END && message_names[type] ? message_names[type] : "unknown";
}

void pf_header_pack(const struct pf_header *header, uint8_t out[PF_HEADER_BYTES])
{
    struct pf_wire wire = pf_wire_over(out, PF_HEADER_BYTES);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u16(&wire, header->type);
    pf_put_u16(&wire, PF_PROTOCOL_VERSION);
    pf_put_u32(&wire, header->length);
    pf_put_u32(&wire, header->handled);
}

int pf_header_unpack(const void *data, size_t bytes, struct pf_header *header)
{
    uint8_t copy[PF_HEADER_BYTES];
    if (bytes < sizeof copy)
        return -EPROTO;
    memcpy(copy, data, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    uint32_t magic = pf_get_u32(&wire);
    header->type = pf_get_u16(&wire);
    uint16_t version = pf_get_u16(&wire);
    header->length = pf_get_u32(&wire);
    header->handled = pf_get_u32(&wire);
    bool right = magic == PF_PROTOCOL_MAGIC && version == PF_PROTOCOL_VERSION &&
                 header->type >= PF_MSG_ACK && header->type < PF_MSG_TYPE_END &&
                 header->length == bytes - sizeof copy;
    return right ? 0 : -EPROTO;
}

void pf_request_pack(const struct pf_page_request *request, uint8_t out[PF_REQUEST_BYTES])
{
    struct pf_wire wire = pf_wire_over(out, PF_REQUEST_BYTES);
    pf_put_u16(&wire, request->kind);
    pf_put_u16(&wire, request->slot);
    pf_put_u16(&wire, request->generation);
    pf_put_u16(&wire, request->extra);
    pf_put_u32(&wire, request->region);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, request->page);
}

int pf_request_unpack(const void *data, size_t len, struct pf_page_request *request)
{
    uint8_t copy[PF_REQUEST_BYTES];
    if (len != sizeof copy)
        return -EPROTO;
    memcpy(copy, data, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    uint16_t kind = pf_get_u16(&wire);
    request->slot = pf_get_u16(&wire);
    request->generation = pf_get_u16(&wire);
    request->extra = pf_get_u16(&wire);
    request->region = pf_get_u32(&wire);
    uint32_t reserved = pf_get_u32(&wire);
    request->page = pf_get_u64(&wire);
    request->kind = (uint8_t)kind;
    bool right = kind == PF_REQUEST_PAGE && request->slot < PF_SLOTS_MAX && reserved == 0;
    return right ? 0 : -EPROTO;
}

/* In the field of the pages. */
#define ZERO_RUN (UINT32_C(1) << 31)
#define PART_RUN (UINT32_C(1) << 30)

/* Where in the field of the first page the first part is. */
enum { PART_SHIFT = 40 };

void pf_stage_run_pack(const struct pf_stage_run *run, uint8_t out[PF_RUN_BYTES])
{
    struct pf_wire wire = pf_wire_over(out, PF_RUN_BYTES);
    uint32_t kind = (run->zero ? ZERO_RUN : 0) | (run->in_parts ? PART_RUN : 0);
    pf_put_u32(&wire, run->region);
    pf_put_u32(&wire, run->pages | kind);
    pf_put_u64(&wire, run->first | (uint64_t)run->part << PART_SHIFT);
}

void pf_stage_run_unpack(const uint8_t in[PF_RUN_BYTES], struct pf_stage_run *run)
{
    uint8_t copy[PF_RUN_BYTES];
    memcpy(copy, in, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    run->region = pf_get_u32(&wire);
    uint32_t pages = pf_get_u32(&wire);
    uint64_t first = pf_get_u64(&wire);
    run->zero = pages & ZERO_RUN;
    run->in_parts = pages & PART_RUN;
    run->pages = pages & (uint32_t)PF_RUN_PAGES_MAX;
    run->first = first & ((UINT64_C(1) << PART_SHIFT) - 1);
    run->part = (uint32_t)(first >> PART_SHIFT);
}
