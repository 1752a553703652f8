/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/encoder.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

static struct pf_encoder_wish wish_of(const struct pf_knobs *knobs)
{
    if (pf_knob(&knobs->fewer_bytes) == PF_FEWER_BYTES_AUTO)
        return (struct pf_encoder_wish){.automatic = true};
    return (struct pf_encoder_wish){
        .xbzrle = pf_knob(&knobs->xbzrle),
        .compress = (unsigned)pf_knob(&knobs->compress),
    };
}

static int grant(struct pf_encoder *encoder, struct pf_encoder_wish wish, struct pf_why *why)
{
    int error = pf_encoder_set(encoder, wish.compress, wish.xbzrle, why);
    encoder->wish = wish;
    atomic_store(&encoder->undecided, !error && wish.automatic);
    return error;
}

int pf_encoder_open(struct pf_encoder *encoder, const struct pf_knobs *knobs,
                    struct pf_counters *counters, struct pf_why *why)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->knobs = knobs;
    encoder->counters = counters;
    encoder->open = true;
    pf_squeeze_pool_init(&encoder->pool, (unsigned)pf_knob(&knobs->compress_threads));
    return grant(encoder, wish_of(knobs), why);
}

void pf_encoder_close(struct pf_encoder *encoder)
{
    if (!encoder->open)
        return;
    pf_squeeze_pool_close(&encoder->pool);
    pf_xbzrle_cache_close(&encoder->cache);
    encoder->open = false;
}

int pf_encoder_set(struct pf_encoder *encoder, unsigned compress, bool xbzrle, struct pf_why *why)
{
    int error = pf_squeeze_check(compress, pf_squeeze_built(), false, why);
    if (!error && xbzrle && !encoder->cache.list)
        error = pf_xbzrle_cache_open(&encoder->cache, pf_knob(&encoder->knobs->xbzrle_cache), why);
    if (error)
        return error;
    atomic_store(&encoder->xbzrle, xbzrle);
    atomic_store(&encoder->compress, compress);
    atomic_store(&encoder->undecided, false);
    return 0;
}

/* ---- between two rounds ---------------------------------------------------------------------- */

/* Without memory for a cache the rest of the wish still holds. */
static bool heed_wish(struct pf_encoder *encoder)
{
    struct pf_why why = {""};
    struct pf_encoder_wish wish = wish_of(encoder->knobs);
    const struct pf_encoder_wish *last = &encoder->wish;
    if (wish.automatic == last->automatic && wish.xbzrle == last->xbzrle &&
        wish.compress == last->compress)
        return false;
    if (grant(encoder, wish, &why)) {
        pf_warn("%s. Pages go without XBZRLE", why.text);
        pf_encoder_set(encoder, wish.compress, false, NULL);
    }
    return true;
}

/* The pool has nothing to do now: another takes its place. */
static void heed_threads(struct pf_encoder *encoder)
{
    unsigned threads = (unsigned)pf_knob(&encoder->knobs->compress_threads);
    if (threads == encoder->pool.asked)
        return;
    pf_squeeze_pool_close(&encoder->pool);
    pf_squeeze_pool_init(&encoder->pool, threads);
}

static struct pf_xbzrle_counts count_all(struct pf_encoder *encoder)
{
    struct pf_xbzrle_counts counts;
    const struct pf_xbzrle_counts *past = &encoder->counted;
    pf_xbzrle_cache_counts(&encoder->cache, &counts);
    return (struct pf_xbzrle_counts){
        .pages = past->pages + counts.pages,
        .bytes = past->bytes + counts.bytes,
        .misses = past->misses + counts.misses,
        .overflows = past->overflows + counts.overflows,
    };
}

/* What is in it gets old as soon as pages go another way. */
static void give_up_cache(struct pf_encoder *encoder)
{
    encoder->counted = count_all(encoder);
    pf_xbzrle_cache_close(&encoder->cache);
}

/* A size that there is no memory for changes nothing, and is not tried again. */
static void resize(struct pf_xbzrle_cache *cache, size_t wanted)
{
    struct pf_why why = {""};
    if (pf_xbzrle_cache_resize(cache, wanted, &why)) {
        pf_warn("%s", why.text);
        cache->asked = wanted;
    } else {
        pf_info("the XBZRLE cache holds %zu pages from now on", cache->places);
    }
}

bool pf_encoder_round(struct pf_encoder *encoder, unsigned number)
{
    struct pf_xbzrle_cache *cache = &encoder->cache;
    size_t wanted = pf_knob(&encoder->knobs->xbzrle_cache);
    bool changed = heed_wish(encoder);
    heed_threads(encoder);
    atomic_store(&encoder->round, number);
    if (cache->list && !atomic_load(&encoder->xbzrle))
        give_up_cache(encoder);
    if (!cache->list)
        return changed;
    pf_xbzrle_cache_next_round(cache);
    if (cache->asked != wanted)
        resize(cache, wanted);
    return changed;
}

/* ---- for the movers -------------------------------------------------------------------------- */

/* The first round has no page twice: there is nothing to be different from. */
enum pf_shorter pf_encoder_shorter(struct pf_encoder *encoder)
{
    if (atomic_load(&encoder->xbzrle) && atomic_load(&encoder->round) > 1)
        return PF_SHORTER_XBZRLE;
    return atomic_load(&encoder->compress) != PF_COMPRESS_OFF ? PF_SHORTER_COMPRESSED
                                                              : PF_SHORTER_NOT;
}

void pf_encoder_count(struct pf_encoder *encoder)
{
    struct pf_counters *counters = encoder->counters;
    if (!atomic_load(&encoder->xbzrle))
        return;
    struct pf_xbzrle_counts counts = count_all(encoder);
    pf_count_set(&counters->xbzrle_pages, counts.pages);
    pf_count_set(&counters->xbzrle_bytes, counts.bytes);
    pf_count_set(&counters->xbzrle_misses, counts.misses);
    pf_count_set(&counters->xbzrle_overflows, counts.overflows);
    pf_count_set(&counters->xbzrle_miss_percent,
                 (uint64_t)(pf_xbzrle_cache_miss_rate(&encoder->cache) * 100));
}
