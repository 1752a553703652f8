/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The peer's registrations, as it told us (grant.c): looked up before a write or read is posted
 * where the provider does not report a wrong key.
 */
#include "rdma/ofi/internal.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS_MAX = 65536 }; /* registrations that one peer may tell us of */

static struct pf_ofi_key *find(struct pf_ofi_endpoint *endpoint, uint64_t key)
{
    for (unsigned i = 0; i < endpoint->key_count; i++) {
        unsigned at = (endpoint->key_last + i) % endpoint->key_count;
        if (endpoint->keys[at].key == key) {
            endpoint->key_last = at;
            return &endpoint->keys[at];
        }
    }
    return NULL;
}

static int make_room(struct pf_ofi_endpoint *endpoint)
{
    if (endpoint->key_count < endpoint->key_room)
        return 0;
    if (endpoint->key_count >= KEYS_MAX)
        return -EPROTO;
    unsigned room = endpoint->key_room ? 2 * endpoint->key_room : 16;
    struct pf_ofi_key *grown = realloc(endpoint->keys, room * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    endpoint->keys = grown;
    endpoint->key_room = room;
    return 0;
}

int pf_ofi_keys_learn(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_frame *frame)
{
    struct pf_ofi_key told;
    if (frame->length != sizeof told)
        return -EPROTO;
    memcpy(&told, frame->body, sizeof told);
    struct pf_ofi_key *known = find(endpoint, told.key);
    if (!known) {
        int error = make_room(endpoint);
        if (error)
            return error;
        known = &endpoint->keys[endpoint->key_count++];
    }
    *known = told;
    return 0;
}

static bool inside(const struct pf_ofi_key *key, uint64_t remote, size_t length)
{
    return remote >= key->address && remote - key->address <= key->length &&
           length <= key->length - (remote - key->address);
}

bool pf_ofi_keys_allow(struct pf_ofi_endpoint *endpoint, uint64_t key, uint64_t remote,
                       size_t length, unsigned access)
{
    const struct pf_ofi_key *known = find(endpoint, key);
    if (!known) {
        endpoint->device->cm->poll_endpoint(endpoint);
        known = find(endpoint, key);
    }
    return known && (known->access & access) && inside(known, remote, length);
}
