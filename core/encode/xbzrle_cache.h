/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the destination has of pages that were sent before, so that next time only the difference
 * need be sent. Pages count as 4 KiB whatever the region's page size. Each page has one place; of
 * two that want the same the one there stays as long as it was sent in this round or the one
 * before: pages that are written again and again keep their places against those that are not.
 *
 * Any thread may call; a lock that no thread of the job ever takes is held for about a page's copy.
 */
#ifndef PF_CORE_ENCODE_XBZRLE_CACHE_H
#define PF_CORE_ENCODE_XBZRLE_CACHE_H

#include "base/why.h"
#include "core/encode/xbzrle.h"

#include <pthread.h>
#include <stdbool.h>

/* All of the migration. */
struct pf_xbzrle_counts {
    uint64_t pages;     /* sent as differences, unchanged ones among them */
    uint64_t bytes;     /* of these differences */
    uint64_t misses;    /* sent whole since nothing is known of them */
    uint64_t overflows; /* sent whole since the difference is no shorter */
};

struct pf_xbzrle_place {
    uint64_t key;
    uint32_t round; /* when it was last sent; 0: nothing is here */
};

struct pf_xbzrle_cache {
    pthread_mutex_t lock;
    size_t asked;  /* bytes, as they were given */
    size_t places; /* a power of two */
    struct pf_xbzrle_place *list;
    char *pages;
    uint32_t round;
    struct pf_xbzrle_counts counts, before_round;
};

enum pf_change {
    PF_CHANGE_NONE,       /* the destination has it: nothing need be sent */
    PF_CHANGE_DIFFERENCE, /* that goes */
    PF_CHANGE_WHOLE,      /* the page goes as it is */
};

/*
 * bytes is rounded down to a power of two of pages. -EINVAL (not even a page), -ENOMEM. Close it in
 * any case; that is harmless for one that is all zero.
 */
int pf_xbzrle_cache_open(struct pf_xbzrle_cache *cache, size_t bytes, struct pf_why *why);
/* What still fits stays. On an error all is as before. */
int pf_xbzrle_cache_resize(struct pf_xbzrle_cache *cache, size_t bytes, struct pf_why *why);
void pf_xbzrle_cache_close(struct pf_xbzrle_cache *cache);

/* The pages in the cache are a round older, and the miss rate begins anew. */
void pf_xbzrle_cache_next_round(struct pf_xbzrle_cache *cache);

/*
 * `copy` is a page as it is going to be sent now: a copy of the job's, which may go on writing to
 * its own. The cache keeps what the destination will have. *length is set for PF_CHANGE_DIFFERENCE.
 */
enum pf_change pf_xbzrle_cache_take(struct pf_xbzrle_cache *cache, unsigned region, size_t page,
                                    const void *copy, uint8_t out[PF_XBZRLE_MAX], size_t *length);
/* The pages are sent as zeros. */
void pf_xbzrle_cache_zero(struct pf_xbzrle_cache *cache, unsigned region, size_t page,
                          size_t pages);

void pf_xbzrle_cache_counts(struct pf_xbzrle_cache *cache, struct pf_xbzrle_counts *counts);
/* The share of this round's pages that were not in the cache, 0 to 1. */
double pf_xbzrle_cache_miss_rate(struct pf_xbzrle_cache *cache);

#endif
