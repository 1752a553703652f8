/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/mr.h"

#include "transport/tcp/device.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SLOT_MASK = PF_TCP_MR_SLOTS - 1 };

static int random_bytes(void *out, size_t size)
{
    ssize_t got = getrandom(out, size, 0);
    if (got < 0)
        return -errno;
    return (size_t)got == size ? 0 : -EIO;
}

int pf_tcp_mr_table_init(struct pf_tcp_mr_table *table)
{
    *table = (struct pf_tcp_mr_table){.free = PF_TCP_MR_SLOTS};
    int status = random_bytes(&table->secret, sizeof table->secret);
    if (status)
        return status;
    /* 2 MiB of address space, of which only what is used gets touched. */
    table->slots = calloc(PF_TCP_MR_SLOTS, sizeof *table->slots);
    if (!table->slots)
        return -ENOMEM;
    pthread_mutex_init(&table->lock, NULL);
    return 0;
}

void pf_tcp_mr_table_fini(struct pf_tcp_mr_table *table)
{
    pthread_mutex_destroy(&table->lock);
    free(table->slots);
}

static bool covers(const struct pf_tcp_slot *slot, uint64_t addr, size_t len)
{
    uint64_t start = (uintptr_t)slot->addr;
    return addr >= start && addr - start <= slot->len && len <= slot->len - (addr - start);
}

struct pf_tcp_slot *pf_tcp_mr_hold(struct pf_tcp_mr_table *table, uint64_t key, uint64_t addr,
                                   size_t len, unsigned right)
{
    struct pf_tcp_slot *slot = &table->slots[(key ^ table->secret) & SLOT_MASK];
    /*
     * Counted in before the key is read, and the key taken away before the count is read
     * (pf_tcp_mr_dereg): sequentially consistent on both sides, so that one of them sees the other.
     */
    atomic_fetch_add(&slot->users, 1);
    if (key && atomic_load(&slot->key) == key && (slot->access & right) && covers(slot, addr, len))
        return slot;
    pf_tcp_mr_release(slot);
    return NULL;
}

void pf_tcp_mr_release(struct pf_tcp_slot *slot)
{
    atomic_fetch_sub_explicit(&slot->users, 1, memory_order_release);
}

static uint32_t take_slot(struct pf_tcp_mr_table *table)
{
    pthread_mutex_lock(&table->lock);
    uint32_t index = table->free;
    if (index != PF_TCP_MR_SLOTS)
        table->free = (uint32_t)table->slots[index].len;
    else if (table->fresh < PF_TCP_MR_SLOTS)
        index = table->fresh++;
    pthread_mutex_unlock(&table->lock);
    return index;
}

static void give_slot(struct pf_tcp_mr_table *table, uint32_t index)
{
    pthread_mutex_lock(&table->lock);
    table->slots[index].len = table->free;
    table->free = index;
    pthread_mutex_unlock(&table->lock);
}

static int make_key(const struct pf_tcp_mr_table *table, uint32_t index, uint64_t *key)
{
    do {
        int status = random_bytes(key, sizeof *key);
        if (status)
            return status;
        *key = (*key & ~(uint64_t)SLOT_MASK) | (index ^ table->secret);
    } while (*key == 0);
    return 0;
}

int pf_tcp_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **out, struct pf_why *why)
{
    struct pf_tcp_mr_table *table = &pf_tcp_device(device)->table;
    if (len == 0 || (uintptr_t)addr + len < (uintptr_t)addr)
        return pf_why(why, -EINVAL, "registering %zu bytes at %p: not a range of memory", len,
                      addr);
    struct pf_tcp_mr *mr = malloc(sizeof *mr);
    if (!mr)
        return pf_why(why, -ENOMEM, "registering %zu bytes: out of memory", len);
    int status;
    uint32_t index = take_slot(table);
    if (index == PF_TCP_MR_SLOTS) {
        status = pf_why(why, -ENOMEM,
                        "registering %zu bytes: all %d registrations of the device are in use; "
                        "register fewer, larger ranges",
                        len, PF_TCP_MR_SLOTS);
        goto free_mr;
    }
    status = make_key(table, index, &mr->key);
    if (status) {
        pf_why(why, status, "drawing a random key with getrandom(): %s", strerrordesc_np(-status));
        goto give_slot;
    }
    if (access & PF_REMOTE_WRITE)
        access |= PF_LOCAL_WRITE;
    mr->base = (struct pf_mr){.device = device, .addr = addr, .len = len, .access = access};
    struct pf_tcp_slot *slot = &table->slots[index];
    slot->access = access;
    slot->addr = addr;
    slot->len = len;
    /* Publishes the fields above to who finds this key. */
    atomic_store_explicit(&slot->key, mr->key, memory_order_release);
    *out = &mr->base;
    return 0;

give_slot:
    give_slot(table, index);
free_mr:
    free(mr);
    return status;
}

void pf_tcp_mr_dereg(struct pf_mr *base)
{
    struct pf_tcp_mr *mr = (struct pf_tcp_mr *)base;
    struct pf_tcp_mr_table *table = &pf_tcp_device(base->device)->table;
    uint32_t index = (uint32_t)((mr->key ^ table->secret) & SLOT_MASK);
    struct pf_tcp_slot *slot = &table->slots[index];
    atomic_store(&slot->key, 0);
    while (atomic_load(&slot->users) > 0)
        sched_yield();
    give_slot(table, index);
    free(mr);
}

int pf_tcp_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES])
{
    (void)endpoint; /* a key is good for every peer of the device */
    uint64_t wire = htole64(((struct pf_tcp_mr *)mr)->key);
    memset(out, 0, PF_RKEY_BYTES);
    memcpy(out, &wire, sizeof wire);
    return 0;
}

int pf_tcp_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                       struct pf_rkey *rkey)
{
    (void)endpoint;
    uint64_t wire[2];
    memcpy(wire, in, sizeof wire);
    if (wire[0] == 0 || wire[1] != 0)
        return -EINVAL;
    *rkey = (struct pf_rkey){.key = le64toh(wire[0])};
    return 0;
}
