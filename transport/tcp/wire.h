/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frames of a stream. Every frame is a header of 32 bytes, little-endian, and for some types
 * `length` bytes of payload.
 *
 *   HELLO      connector's first frame    imm: its send depth, payload: private data
 *   ACCEPT     the answer                 imm: its send depth, payload: private data
 *   REJECT     the other answer           payload: private data; the stream ends
 *   SEND       a message                  payload
 *   WRITE      one-sided write            addr, key, payload
 *   WRITE_IMM  the same with immediate    addr, key, imm, payload
 *   READ       request for a read         addr, key, length: the bytes wanted (no payload)
 *   READ_DATA  its answer                 payload
 *   FLUSH      request                    answered when all earlier frames have landed
 *   FLUSH_ACK  its answer
 *   NAK        why the stream ends here   imm: a positive errno value (Linux numbers)
 *   BYE        the sender posts nothing more and has no request open; its answers may follow
 *
 * Requests (READ, FLUSH) are answered in the order they came. At most the requester's send depth
 * of them may be open at once, which bounds what the answering side has to remember.
 */
#ifndef PF_TRANSPORT_TCP_WIRE_H
#define PF_TRANSPORT_TCP_WIRE_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    PF_TCP_MAGIC = 0x4670, /* "pF" on the wire */
    PF_TCP_VERSION = 1,
    PF_TCP_HEADER_BYTES = 32,
    PF_TCP_MAX_MESSAGE = 1 << 30,
    PF_TCP_MAX_DEPTH = 4096,
};

enum pf_tcp_type {
    PF_TCP_HELLO = 1,
    PF_TCP_ACCEPT,
    PF_TCP_REJECT,
    PF_TCP_SEND,
    PF_TCP_WRITE,
    PF_TCP_WRITE_IMM,
    PF_TCP_READ,
    PF_TCP_READ_DATA,
    PF_TCP_FLUSH,
    PF_TCP_FLUSH_ACK,
    PF_TCP_NAK,
    PF_TCP_BYE,
    PF_TCP_TYPES,
};

/* A header in the byte order of the host. */
struct pf_tcp_header {
    uint8_t version;
    uint8_t type; /* enum pf_tcp_type */
    uint32_t length;
    uint32_t imm;
    uint64_t addr;
    uint64_t key;
};

/* A header as it travels; naturally aligned, without holes. */
struct pf_tcp_wire {
    uint16_t magic;
    uint8_t version;
    uint8_t type;
    uint32_t length;
    uint32_t imm;
    uint32_t reserved; /* 0 */
    uint64_t addr;
    uint64_t key;
};
static_assert(sizeof(struct pf_tcp_wire) == PF_TCP_HEADER_BYTES, "the header has no holes");

static inline void pf_tcp_encode(const struct pf_tcp_header *header, uint8_t *out)
{
    struct pf_tcp_wire wire = {
        .magic = htole16(PF_TCP_MAGIC),
        .version = header->version,
        .type = header->type,
        .length = htole32(header->length),
        .imm = htole32(header->imm),
        .addr = htole64(header->addr),
        .key = htole64(header->key),
    };
    memcpy(out, &wire, sizeof wire);
}

/*
 * False if these bytes can't be a header of any version. The version itself is the caller's to
 * check: a greeting of another version deserves an answer.
 */
static inline bool pf_tcp_decode(const uint8_t *in, struct pf_tcp_header *header)
{
    struct pf_tcp_wire wire;
    memcpy(&wire, in, sizeof wire);
    *header = (struct pf_tcp_header){
        .version = wire.version,
        .type = wire.type,
        .length = le32toh(wire.length),
        .imm = le32toh(wire.imm),
        .addr = le64toh(wire.addr),
        .key = le64toh(wire.key),
    };
    return le16toh(wire.magic) == PF_TCP_MAGIC && wire.reserved == 0 &&
           header->length <= PF_TCP_MAX_MESSAGE;
}

/* The address that a number off the wire, already checked, stands for. */
static inline void *pf_tcp_pointer(uint64_t addr)
{
    return (void *)(uintptr_t)addr; /* NOLINT(performance-no-int-to-ptr): addresses travel */
}

#endif
