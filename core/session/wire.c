/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/wire.h"

#include <string.h>

static uint8_t *take(struct pf_wire *wire, size_t size)
{
    if (wire->bad || (size_t)(wire->end - wire->at) < size) {
        wire->bad = true;
        return NULL;
    }
    uint8_t *here = wire->at;
    wire->at += size;
    return here;
}

void pf_put_bytes(struct pf_wire *wire, const void *from, size_t size)
{
    uint8_t *to = take(wire, size);
    if (to && size)
        memcpy(to, from, size);
}

void pf_get_bytes(struct pf_wire *wire, void *to, size_t size)
{
    const uint8_t *from = take(wire, size);
    if (!from)
        memset(to, 0, size);
    else if (size)
        memcpy(to, from, size);
}

void pf_put_string(struct pf_wire *wire, const char *text)
{
    size_t length = strlen(text);
    if (length > UINT16_MAX) {
        wire->bad = true;
        return;
    }
    pf_put_u16(wire, (uint16_t)length);
    pf_put_bytes(wire, text, length);
}

/* A peer's text ends up in a person's terminal: no line breaks, no escape sequences. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

void pf_get_string(struct pf_wire *wire, char *to, size_t size)
{
    size_t length = pf_get_u16(wire);
    to[0] = '\0';
    if (length >= size) {
        wire->bad = true;
        return;
    }
    pf_get_bytes(wire, to, length);
    to[length] = '\0';
    if (strlen(to) != length)
        wire->bad = true;
    make_printable(to);
}
