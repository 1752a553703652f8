/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that compress or decompress for others. A piece of work is the caller's memory; its
 * threads start with the first piece, so that a pool which nobody uses costs nothing.
 */
#ifndef PF_CORE_ENCODE_SQUEEZE_POOL_H
#define PF_CORE_ENCODE_SQUEEZE_POOL_H

#include "base/list.h"
#include "base/why.h"
#include "core/encode/squeeze.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { PF_SQUEEZE_THREADS_MAX = 64 };

/*
 * A piece of work: fill in all but the last two fields, and touch none before `done` is called. The
 * input is copied before the libraries see it: they want one that nobody writes to.
 */
struct pf_squeeze_task {
    unsigned how, level; /* level 0: decompress */
    const void *from;    /* may be written to meanwhile, or unmapped */
    size_t bytes;        /* of the input */
    void *to;            /* room for PF_SQUEEZE_MAX, or the bytes that have to come out */
    size_t to_bytes;     /* decompressing: how many */
    void (*done)(struct pf_squeeze_task *task); /* by a thread of the pool */
    void *ctx;
    int result; /* as pf_squeeze() or pf_unsqueeze() say; -EFAULT: the input is not there */
    struct pf_list link;
};

struct pf_squeeze_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct pf_list waiting; /* tasks */
    pthread_t threads[PF_SQUEEZE_THREADS_MAX];
    unsigned asked;  /* threads, when it was made; */
    unsigned wanted; /* fewer where no more can be had */
    unsigned running;
    bool stop;
    bool made; /* there is something to close */
};

void pf_squeeze_pool_init(struct pf_squeeze_pool *pool, unsigned threads);

/* -EAGAIN (no thread can be started) and the sentence, or 0: done will be called. Any thread. */
int pf_squeeze_pool_add(struct pf_squeeze_pool *pool, struct pf_squeeze_task *task,
                        struct pf_why *why);

/*
 * What was added is still done first. Harmless for one that is all zero. No other thread uses the
 * pool any more.
 */
void pf_squeeze_pool_close(struct pf_squeeze_pool *pool);

#endif
