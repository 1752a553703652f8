/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compression of pages by libzstd and liblz4, whichever were built in. A squeezer belongs to one
 * thread at a time and keeps what the libraries want to keep between two calls.
 */
#ifndef PF_CORE_ENCODE_SQUEEZE_H
#define PF_CORE_ENCODE_SQUEEZE_H

#include "base/why.h"
#include "core/options.h"

#include <stddef.h>
#include <stdint.h>

enum { PF_SQUEEZE_MAX = 64 << 10 }; /* the most that is compressed at once */

struct pf_squeezer {
    void *zstd_in, *zstd_out, *lz4;
};

/* Whether this build can: a mask of 1 << enum pf_compress. */
unsigned pf_squeeze_built(void);

/* -ENOTSUP and the sentence if it can't; peer: of the other side, which said what it can. */
int pf_squeeze_check(unsigned how, unsigned built, bool peer, struct pf_why *why);

/*
 * Compress at most PF_SQUEEZE_MAX bytes that nobody writes to meanwhile, for which `to` has room as
 * well. The length, -E2BIG if that would be no shorter, -ENOTSUP, or -ENOMEM. lz4 takes its
 * slower compressor from level 3 on, and nothing more beyond 12.
 */
int pf_squeeze(struct pf_squeezer *squeezer, unsigned how, unsigned level, const void *from,
               size_t bytes, void *to);

/*
 * Undo it: into exactly so many bytes. -EPROTO if that is not what the input says (it may be
 * anything), -ENOTSUP, or -ENOMEM; `to` may have been written to then. Nobody writes to the input.
 */
int pf_unsqueeze(struct pf_squeezer *squeezer, unsigned how, const void *from, size_t length,
                 void *to, size_t bytes);

/* Harmless for one that is all zero, as it begins. */
void pf_squeezer_free(struct pf_squeezer *squeezer);

#endif
