/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs of a stage whose pages are encoded, in pre-copy only: docs/protocol.md, "Encoded runs". They
 * count base pages of 4 KiB whatever the region's page size is.
 */
#ifndef PF_CORE_ENCODE_ENCODING_H
#define PF_CORE_ENCODE_ENCODING_H

#include "core/options.h"
#include "core/session/protocol.h"

#include <endian.h>
#include <string.h>

enum pf_encoding {
    /* A sum, and for each page a length in LEB128 and core/encode/xbzrle.h; length 0: unchanged. */
    PF_ENCODING_XBZRLE = 1,
    PF_ENCODING_ZSTD = 2, /* a sum, and the pages, at most 64 KiB of them, as one */
    PF_ENCODING_LZ4 = 3,
    PF_ENCODING_PLAIN = 4, /* as they are */
    PF_ENCODING_ZEROS = 5, /* all zero: no data */
};

enum {
    PF_ENCODED_PAGE = 4096,
    PF_ENCODED_PAGES_MAX = (1 << 26) - 1,
    PF_ENCODED_LENGTH_MAX = (1 << 24) - 1,
};

struct pf_encoded_run {
    uint32_t region;
    unsigned encoding; /* enum pf_encoding, or anything if a peer says so */
    uint32_t pages;    /* of 4 KiB; up to PF_ENCODED_PAGES_MAX */
    uint64_t first;    /* of them */
    uint32_t length;   /* bytes in the stage; up to PF_ENCODED_LENGTH_MAX */
};

enum { PF_ENCODING_SHIFT = 26 };

static inline struct pf_stage_run pf_encoded_to_run(struct pf_encoded_run run)
{
    return (struct pf_stage_run){
        .region = run.region,
        .pages = run.pages | (uint32_t)run.encoding << PF_ENCODING_SHIFT,
        .first = run.first,
        .part = run.length,
        .in_parts = true,
        .zero = true,
    };
}

/* Of pre-copy; after the switch such a run is one of parts that are all zero. */
static inline bool pf_run_is_encoded(const struct pf_stage_run *run)
{
    return run->in_parts && run->zero;
}

static inline struct pf_encoded_run pf_encoded_from_run(const struct pf_stage_run *run)
{
    return (struct pf_encoded_run){
        .region = run->region,
        .encoding = run->pages >> PF_ENCODING_SHIFT,
        .pages = run->pages & PF_ENCODED_PAGES_MAX,
        .first = run->first,
        .length = run->part,
    };
}

enum { PF_ENCODED_SUM_BYTES = 4 };

static inline uint64_t pf_encoded_mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0xff51afd7ed558ccdull;
    return sum ^ sum >> 32;
}

/*
 * The sum that differences and compressed pages begin with, of what follows it and of where it is
 * to go: a spoilt difference would be applied to a page like any other, and a spoilt frame is not
 * always noticed. run->length counts the sum itself, too.
 */
static inline uint32_t pf_encoded_sum(const struct pf_encoded_run *run, const void *data)
{
    const char *at = data;
    uint64_t sum = pf_encoded_mix(0x9e3779b97f4a7c15ull, (uint64_t)run->region << 32 | run->pages);
    sum = pf_encoded_mix(sum, run->first << 4 | run->encoding);
    for (size_t left = run->length - PF_ENCODED_SUM_BYTES; left > 0;) {
        uint64_t word = 0;
        size_t part = left < sizeof word ? left : sizeof word;
        memcpy(&word, at, part);
        sum = pf_encoded_mix(sum, le64toh(word));
        at += part;
        left -= part;
    }
    return (uint32_t)sum;
}

static inline unsigned pf_encoding_of(unsigned compress)
{
    return compress == PF_COMPRESS_ZSTD ? PF_ENCODING_ZSTD : PF_ENCODING_LZ4;
}

#endif
