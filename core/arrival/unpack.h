/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Encoded runs at the destination: their pages are written to where they belong, by this thread or
 * by the pool's. Whatever the source sends, nothing is read or written elsewhere.
 */
#ifndef PF_CORE_ARRIVAL_UNPACK_H
#define PF_CORE_ARRIVAL_UNPACK_H

#include "core/encode/encoding.h"
#include "core/encode/squeeze_pool.h"
#include "core/memory/region.h"

/* One for each thread that takes stages. */
struct pf_unpacker {
    struct pf_squeeze_pool *pool;
    struct pf_squeeze_task *tasks; /* of one stage; made when the first is needed */
    unsigned given;
    pthread_mutex_t lock;
    pthread_cond_t all_done;
    unsigned under_way; /* under the lock, */
    int status;         /* and so is the first failure */
};

/* The pool is the caller's and may be other unpackers', too. */
void pf_unpacker_init(struct pf_unpacker *unpacker, struct pf_squeeze_pool *pool);

/*
 * One run, whose data begins at `data` and may not be longer than `left`: the length that it has.
 * -EPROTO: it is not what a source sends. -ENOTSUP: this build can't. -ENOMEM, -EAGAIN. The data is
 * to stay until pf_unpacker_wait().
 */
int64_t pf_unpack(struct pf_unpacker *unpacker, const struct pf_region *region,
                  const struct pf_encoded_run *run, const char *data, size_t left);

/* Until all of it is in its place: 0, or the first failure. */
int pf_unpacker_wait(struct pf_unpacker *unpacker);

/* What is under way is waited for. Harmless for one that is all zero. */
void pf_unpacker_close(struct pf_unpacker *unpacker);

#endif
