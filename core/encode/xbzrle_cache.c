/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/xbzrle_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_BITS = 40, ROUNDS_YOUNG = 2 };

static uint64_t key_of(unsigned region, size_t page)
{
    return (uint64_t)region << PAGE_BITS | page;
}

/*
 * Pages side by side have places side by side, so that a stretch that is no larger than the cache
 * never collides with itself; each region begins somewhere else.
 */
static size_t place_of(const struct pf_xbzrle_cache *cache, uint64_t key)
{
    uint64_t region = key >> PAGE_BITS, page = key & ((1ull << PAGE_BITS) - 1);
    return (size_t)(page + (region * 0x9e3779b97f4a7c15ull >> 20)) & (cache->places - 1);
}

static char *page_at(const struct pf_xbzrle_cache *cache, size_t place)
{
    return cache->pages + place * PF_XBZRLE_PAGE;
}

/* ---- size ------------------------------------------------------------------------------------ */

static int make_places(struct pf_xbzrle_cache *cache, size_t bytes, struct pf_why *why)
{
    if (bytes < PF_XBZRLE_PAGE)
        return pf_why(why, -EINVAL,
                      "a cache of %zu bytes holds no page of %d bytes: give --xbzrle-cache a size "
                      "such as 64M, or turn XBZRLE off with --fewer-bytes off",
                      bytes, PF_XBZRLE_PAGE);
    size_t most = bytes / PF_XBZRLE_PAGE;
    cache->places = (size_t)1 << (63 - __builtin_clzll(most));
    cache->asked = bytes;
    cache->list = calloc(cache->places, sizeof *cache->list);
    cache->pages = mmap(NULL, cache->places * PF_XBZRLE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->pages == MAP_FAILED)
        cache->pages = NULL;
    if (cache->list && cache->pages)
        return 0;
    return pf_why(why, -ENOMEM,
                  "no memory for an XBZRLE cache of %zu MiB: give --xbzrle-cache less",
                  bytes >> 20);
}

static void drop_places(struct pf_xbzrle_cache *cache)
{
    free(cache->list);
    if (cache->pages)
        munmap(cache->pages, cache->places * PF_XBZRLE_PAGE);
    cache->list = NULL;
    cache->pages = NULL;
}

int pf_xbzrle_cache_open(struct pf_xbzrle_cache *cache, size_t bytes, struct pf_why *why)
{
    *cache = (struct pf_xbzrle_cache){.round = 1};
    int error = make_places(cache, bytes, why);
    if (error)
        drop_places(cache);
    else
        pthread_mutex_init(&cache->lock, NULL);
    return error;
}

/* Of two pages that want one place in the new size the one that was sent later gets it. */
static void move_pages(const struct pf_xbzrle_cache *from, struct pf_xbzrle_cache *to)
{
    for (size_t i = 0; i < from->places; i++) {
        const struct pf_xbzrle_place *old = &from->list[i];
        size_t place = place_of(to, old->key);
        if (old->round <= to->list[place].round)
            continue;
        to->list[place] = *old;
        memcpy(page_at(to, place), page_at(from, i), PF_XBZRLE_PAGE);
    }
}

int pf_xbzrle_cache_resize(struct pf_xbzrle_cache *cache, size_t bytes, struct pf_why *why)
{
    struct pf_xbzrle_cache other = {.places = 0};
    int error = make_places(&other, bytes, why);
    pthread_mutex_lock(&cache->lock);
    if (!error && other.list) {
        struct pf_xbzrle_cache old = *cache;
        move_pages(cache, &other);
        cache->asked = other.asked;
        cache->places = other.places;
        cache->list = other.list;
        cache->pages = other.pages;
        other = old;
    }
    pthread_mutex_unlock(&cache->lock);
    drop_places(&other);
    return error;
}

void pf_xbzrle_cache_close(struct pf_xbzrle_cache *cache)
{
    if (!cache->list)
        return;
    drop_places(cache);
    pthread_mutex_destroy(&cache->lock);
}

/* ---- pages ----------------------------------------------------------------------------------- */

static bool young(const struct pf_xbzrle_cache *cache, const struct pf_xbzrle_place *place)
{
    return place->round > 0 && place->round + ROUNDS_YOUNG > cache->round;
}

/* Nothing is known of the page: it gets the place, unless who is there has more right to it. */
static void insert(struct pf_xbzrle_cache *cache, uint64_t key, size_t index, const void *copy)
{
    struct pf_xbzrle_place *place = &cache->list[index];
    cache->counts.misses++;
    if (young(cache, place))
        return;
    *place = (struct pf_xbzrle_place){key, cache->round};
    memcpy(page_at(cache, index), copy, PF_XBZRLE_PAGE);
}

static bool holds(const struct pf_xbzrle_cache *cache, size_t index, uint64_t key)
{
    return cache->list[index].round > 0 && cache->list[index].key == key;
}

static enum pf_change compare(struct pf_xbzrle_cache *cache, size_t index, const void *copy,
                              uint8_t *out, size_t *length)
{
    char *before = page_at(cache, index);
    int encoded = pf_xbzrle_encode(before, copy, out);
    cache->list[index].round = cache->round;
    if (encoded < 0) {
        cache->counts.overflows++;
        memcpy(before, copy, PF_XBZRLE_PAGE);
        return PF_CHANGE_WHOLE;
    }
    cache->counts.pages++;
    cache->counts.bytes += (size_t)encoded;
    *length = (size_t)encoded;
    if (encoded == 0)
        return PF_CHANGE_NONE;
    memcpy(before, copy, PF_XBZRLE_PAGE);
    return PF_CHANGE_DIFFERENCE;
}

enum pf_change pf_xbzrle_cache_take(struct pf_xbzrle_cache *cache, unsigned region, size_t page,
                                    const void *copy, uint8_t out[PF_XBZRLE_MAX], size_t *length)
{
    uint64_t key = key_of(region, page);
    enum pf_change change = PF_CHANGE_WHOLE;
    pthread_mutex_lock(&cache->lock);
    size_t index = place_of(cache, key);
    if (holds(cache, index, key))
        change = compare(cache, index, copy, out, length);
    else
        insert(cache, key, index, copy);
    pthread_mutex_unlock(&cache->lock);
    return change;
}

void pf_xbzrle_cache_zero(struct pf_xbzrle_cache *cache, unsigned region, size_t page, size_t pages)
{
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < pages; i++) {
        uint64_t key = key_of(region, page + i);
        size_t index = place_of(cache, key);
        if (!holds(cache, index, key))
            continue;
        memset(page_at(cache, index), 0, PF_XBZRLE_PAGE);
        cache->list[index].round = cache->round;
    }
    pthread_mutex_unlock(&cache->lock);
}

/* ---- rounds and counters --------------------------------------------------------------------- */

void pf_xbzrle_cache_next_round(struct pf_xbzrle_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->round++;
    cache->before_round = cache->counts;
    pthread_mutex_unlock(&cache->lock);
}

void pf_xbzrle_cache_counts(struct pf_xbzrle_cache *cache, struct pf_xbzrle_counts *counts)
{
    pthread_mutex_lock(&cache->lock);
    *counts = cache->counts;
    pthread_mutex_unlock(&cache->lock);
}

double pf_xbzrle_cache_miss_rate(struct pf_xbzrle_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    const struct pf_xbzrle_counts *now = &cache->counts, *then = &cache->before_round;
    uint64_t misses = now->misses - then->misses;
    uint64_t others = now->pages - then->pages + now->overflows - then->overflows;
    pthread_mutex_unlock(&cache->lock);
    return misses ? (double)misses / (double)(misses + others) : 0;
}
