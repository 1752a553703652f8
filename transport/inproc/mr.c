/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"

#include <stdlib.h>
#include <string.h>

/* The second half of a packed key: tells it from arbitrary bytes. */
static const char key_mark[8] = {'p', 'f', 'i', 'n', 'p', 'r', 'o', 'c'};

/* A free place in the table, which grows as needed; -ENOMEM. Lock held. */
static int free_place(struct inproc_device *device, uint32_t *place)
{
    for (*place = 0; *place < device->table_size; ++*place)
        if (!device->table[*place].mr)
            return 0;
    uint32_t size = device->table_size ? device->table_size * 2 : 16;
    struct inproc_place *table = realloc(device->table, size * sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table + device->table_size, 0, (size - device->table_size) * sizeof(*table));
    device->table = table;
    device->table_size = size;
    return 0;
}

static int enter(struct inproc_device *device, struct inproc_mr *mr)
{
    uint32_t place;
    pthread_mutex_lock(&device->lock);
    int err = free_place(device, &place);
    if (err == 0) {
        mr->key = (uint64_t)++device->serial << 32 | place;
        device->table[place].mr = mr;
    }
    pthread_mutex_unlock(&device->lock);
    return err;
}

int pf_inproc_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                     struct pf_mr **mr, struct pf_why *why)
{
    if (!addr || len == 0 || (uintptr_t)addr > UINTPTR_MAX - len)
        return pf_why(why, -EINVAL, "registering %zu bytes at %p: not a range of memory", len,
                      addr);
    struct inproc_mr *self = calloc(1, sizeof *self);
    if (!self)
        goto no_memory;
    self->base = (struct pf_mr){device, addr, len, access};
    if (enter(pf_container_of(device, struct inproc_device, base), self) != 0)
        goto free_mr;
    *mr = &self->base;
    return 0;
free_mr:
    free(self);
no_memory:
    return pf_why(why, -ENOMEM, "registering %zu bytes at %p: out of memory", len, addr);
}

void pf_inproc_mr_dereg(struct pf_mr *mr)
{
    struct inproc_mr *self = pf_container_of(mr, struct inproc_mr, base);
    struct inproc_device *device = pf_container_of(mr->device, struct inproc_device, base);
    pthread_mutex_lock(&device->lock);
    device->table[(uint32_t)self->key].mr = NULL;
    pthread_mutex_unlock(&device->lock);
    free(self);
}

int pf_inproc_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES])
{
    if (mr->device != endpoint->lane->device)
        return -EINVAL;
    struct inproc_mr *self = pf_container_of(mr, struct inproc_mr, base);
    memcpy(out, &self->key, sizeof self->key);
    memcpy(out + sizeof self->key, key_mark, sizeof key_mark);
    return 0;
}

int pf_inproc_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                          struct pf_rkey *rkey)
{
    (void)endpoint;
    if (memcmp(in + sizeof rkey->key, key_mark, sizeof key_mark) != 0)
        return -EINVAL;
    *rkey = (struct pf_rkey){0};
    memcpy(&rkey->key, in, sizeof rkey->key);
    return 0;
}

static bool permits(const struct pf_mr *mr, uint64_t remote, size_t len, unsigned right)
{
    uint64_t start = (uintptr_t)mr->addr;
    return (mr->access & right) && remote >= start && remote - start <= mr->len &&
           len <= mr->len - (remote - start);
}

char *pf_inproc_mr_resolve(struct inproc_device *device, uint64_t key, uint64_t remote, size_t len,
                           unsigned right)
{
    char *memory = NULL;
    pthread_mutex_lock(&device->lock);
    uint32_t place = (uint32_t)key;
    struct inproc_mr *mr = place < device->table_size ? device->table[place].mr : NULL;
    if (mr && mr->key == key && permits(&mr->base, remote, len, right))
        memory = mr->base.addr + (remote - (uintptr_t)mr->base.addr);
    pthread_mutex_unlock(&device->lock);
    return memory;
}
