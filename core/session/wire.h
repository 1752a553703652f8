/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little-endian fields in a bounded buffer. Writing past the end or reading past it sets `bad` and
 * does nothing else, so a message is built or taken apart first and judged once at the end.
 */
#ifndef PF_CORE_SESSION_WIRE_H
#define PF_CORE_SESSION_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_wire {
    uint8_t *at, *end;
    bool bad;
};

static inline struct pf_wire pf_wire_over(void *buffer, size_t size)
{
    return (struct pf_wire){buffer, (uint8_t *)buffer + size, false};
}

void pf_put_bytes(struct pf_wire *wire, const void *from, size_t size);
/* Zeros when there are not that many. */
void pf_get_bytes(struct pf_wire *wire, void *to, size_t size);

static inline void pf_put_u16(struct pf_wire *wire, uint16_t value)
{
    value = htole16(value);
    pf_put_bytes(wire, &value, sizeof value);
}

static inline void pf_put_u32(struct pf_wire *wire, uint32_t value)
{
    value = htole32(value);
    pf_put_bytes(wire, &value, sizeof value);
}

static inline void pf_put_u64(struct pf_wire *wire, uint64_t value)
{
    value = htole64(value);
    pf_put_bytes(wire, &value, sizeof value);
}

static inline uint16_t pf_get_u16(struct pf_wire *wire)
{
    uint16_t value;
    pf_get_bytes(wire, &value, sizeof value);
    return le16toh(value);
}

static inline uint32_t pf_get_u32(struct pf_wire *wire)
{
    uint32_t value;
    pf_get_bytes(wire, &value, sizeof value);
    return le32toh(value);
}

static inline uint64_t pf_get_u64(struct pf_wire *wire)
{
    uint64_t value;
    pf_get_bytes(wire, &value, sizeof value);
    return le64toh(value);
}

/* A string as its length in 16 bits and its bytes. */
void pf_put_string(struct pf_wire *wire, const char *text);
/*
 * Into size bytes with a closing 0; a longer string, or one with a 0 inside, is bad. Control
 * characters become '?'.
 */
void pf_get_string(struct pf_wire *wire, char *to, size_t size);

#endif
