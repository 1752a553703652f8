/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One filling of a stage with encoded pages (core/encode/encoding.h). Differences are made at once,
 * since that is faster than handing them over; compression is the pool's, and the mover goes on
 * meanwhile. The job may write to its pages all the time: what is sent, and what the cache holds,
 * is one copy.
 */
#ifndef PF_CORE_ENCODE_PACK_H
#define PF_CORE_ENCODE_PACK_H

#include "core/encode/encoder.h"
#include "core/encode/encoding.h"

/* Pages that were given to the pool. */
struct pf_pack_piece {
    struct pf_squeeze_task task;
    struct pf_encoded_run run;
};

struct pf_pack {
    /* The owner's, set once. */
    struct pf_encoder *encoder;
    void (*ready)(void *ctx); /* the pool has done all of it; by one of its threads */
    void *ctx;
    uint8_t *scratch; /* `room` bytes: where the pool puts what it made */
    size_t room;      /* bytes of encoded pages that a stage takes */
    /* Of this filling. */
    enum pf_shorter shorter;
    unsigned compress; /* enum pf_compress */
    uint8_t *out;      /* `room` bytes, what is to be sent */
    size_t bytes;      /* of it that are in use */
    size_t before;     /* bytes of pages that were taken and are not all zero */
    struct pf_stage_run runs[PF_STAGE_RUNS_MAX];
    unsigned run_count;
    struct pf_encoded_run open; /* the latest run: more pages may be added */
    struct pf_pack_piece pieces[PF_STAGE_RUNS_MAX];
    unsigned piece_count;
    size_t given; /* bytes of pages that the pool has */
    atomic_uint under_way;
    unsigned lost; /* after -EFAULT: the region that can't be read */
};

/* -ENOMEM. Free it in any case, when the pool has done all of it. */
int pf_pack_init(struct pf_pack *pack, struct pf_encoder *encoder, size_t room,
                 void (*ready)(void *ctx), void *ctx);
void pf_pack_free(struct pf_pack *pack);

/* Begin a filling, by what the encoder does to pages now; `out` has `room` bytes. */
void pf_pack_begin(struct pf_pack *pack, uint8_t *out);

/*
 * Add base pages, from `first` on, that lie at addr: how many fitted in, 0 if it is full, or -errno
 * (-EAGAIN the pool has no thread, -EFAULT a part of them is not there).
 */
int64_t pf_pack_add(struct pf_pack *pack, unsigned region, uint64_t first, const char *addr,
                    size_t pages, struct pf_why *why);

/* Likewise pages that are to be zero; nothing is looked at. */
size_t pf_pack_zeros(struct pf_pack *pack, unsigned region, uint64_t first, size_t pages);

/* Whether there is room for one more run, whatever is in it; and whether nothing has been added. */
bool pf_pack_takes_runs(const struct pf_pack *pack);
bool pf_pack_is_empty(const struct pf_pack *pack);

/* Whether the pool has done its part. */
static inline bool pf_pack_is_ready(const struct pf_pack *pack)
{
    return atomic_load(&pack->under_way) == 0;
}

/*
 * Once it is ready: runs, run_count and bytes say what goes out. -ENOMEM of a library's, -EFAULT.
 */
int pf_pack_end(struct pf_pack *pack);

#endif
