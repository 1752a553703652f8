/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registrations of a device, found by the key that came off the wire.
 *
 * A key is 64 bits: 48 random ones, and a place in the table hidden under 16 more that are random
 * per device. Registering and deregistering take a lock; looking up takes none: it counts itself
 * in as a user of the slot, then compares the key. Deregistering takes the key away, then waits
 * until no user is left. A user stays for one non-blocking system call at most, so that wait is
 * short, and when it is over no byte moves to or from the memory any more.
 */
#ifndef PF_TRANSPORT_TCP_MR_H
#define PF_TRANSPORT_TCP_MR_H

#include "transport/transport.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PF_TCP_MR_SLOTS = 1 << 16 };

struct pf_tcp_slot {
    _Atomic uint64_t key; /* 0: nothing registered here */
    _Atomic uint32_t users;
    unsigned access;
    char *addr;
    size_t len; /* on the free list: the next free slot */
};

struct pf_tcp_mr_table {
    pthread_mutex_t lock; /* over free and fresh */
    struct pf_tcp_slot *slots;
    uint32_t free;   /* first slot given back, or PF_TCP_MR_SLOTS */
    uint32_t fresh;  /* slots from here on were never used (nor touched) */
    uint16_t secret; /* hides the slot's number in a key */
};

struct pf_tcp_mr {
    struct pf_mr base;
    uint64_t key;
};

int pf_tcp_mr_table_init(struct pf_tcp_mr_table *table);
void pf_tcp_mr_table_fini(struct pf_tcp_mr_table *table);

/*
 * Keep the registration under this key in place, if it covers addr .. addr + len and grants right
 * (one of enum pf_access). NULL if not. Any thread; not across a callback to the owner.
 */
struct pf_tcp_slot *pf_tcp_mr_hold(struct pf_tcp_mr_table *table, uint64_t key, uint64_t addr,
                                   size_t len, unsigned right);
void pf_tcp_mr_release(struct pf_tcp_slot *slot);

int pf_tcp_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **mr, struct pf_why *why);
void pf_tcp_mr_dereg(struct pf_mr *mr);
int pf_tcp_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
int pf_tcp_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                       struct pf_rkey *rkey);

#endif
