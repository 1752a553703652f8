/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --fewer-bytes auto: whether it pays to make pages shorter on this link, with this CPU, of this
 * job. Measuring takes some milliseconds of the caller's thread; deciding is numbers only.
 */
#ifndef PF_CORE_ENCODE_ECONOMY_H
#define PF_CORE_ENCODE_ECONOMY_H

#include "core/options.h"

#include <stddef.h>

enum { PF_ECONOMY_WAYS = 3, PF_ECONOMY_PIECES_MAX = 16 };

struct pf_economy_facts {
    double link;      /* bytes of pages a second that the link takes as they are */
    unsigned threads; /* that may compress, and have a CPU to do it on */
    double
        speed[PF_ECONOMY_WAYS]; /* by enum pf_compress, of one thread, bytes/s; 0: not built in */
    double ratio[PF_ECONOMY_WAYS]; /* bytes before / bytes after */
    double differ;                 /* bytes/s of pages that one thread compares and copies */
};

/* Some pages of the job, which may be written to meanwhile. */
struct pf_economy_piece {
    const char *addr;
    size_t bytes; /* a multiple of 4 KiB, at most PF_SQUEEZE_MAX */
};

/*
 * All of the facts but link and threads. -ENOMEM, -EFAULT: a piece is not there any more. Without
 * any piece nothing is worth it.
 */
int pf_economy_measure(struct pf_economy_facts *facts, unsigned level,
                       const struct pf_economy_piece *pieces, unsigned count);

struct pf_economy {
    unsigned compress; /* enum pf_compress */
    bool xbzrle;
    char why[200]; /* "the link takes 118 MB/s; zstd makes ..." */
};

void pf_economy_choose(const struct pf_economy_facts *facts, struct pf_economy *choice);

#endif
