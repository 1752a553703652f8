/* SPDX-License-Identifier: BSD-2-Clause */
/* A rig over inproc whose client's device goes wrong; the server's does not. */
#ifndef PF_TESTS_UNIT_FAULT_RIG_H
#define PF_TESTS_UNIT_FAULT_RIG_H

#include "tests/contract/rig.h"
#include "transport/fault/fault.h"

#define FAULT_SERVER_URI "inproc://fault-test"

/* The device and its lane have been counted: the next operation is number 3. */
static inline void faulty_client(struct rig *rig, const char *options)
{
    char uri[RIG_URI_BYTES];
    CU_ASSERT_TRUE_FATAL(rig_choose(FAULT_SERVER_URI));
    rig_open(rig);
    rig_host_close(&rig->client_host);
    snprintf(uri, sizeof uri, "fault+%s?%s", FAULT_SERVER_URI, options);
    rig_host_open(&rig->client_host, false, uri);
}

static inline bool one_bit_apart(const void *one, const void *other, size_t len)
{
    const uint8_t *a = one, *b = other;
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++)
        bits += (unsigned)__builtin_popcount(a[i] ^ b[i]);
    return bits == 1;
}

#endif
