/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encoder.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

bool pf_encoder_wanted(const struct pf_options *options)
{
    return options->mode != PF_MODE_POSTCOPY && options->fetch != PF_FETCH_READ &&
           (options->fewer_bytes == PF_FEWER_BYTES_AUTO || options->xbzrle ||
            options->compress != PF_COMPRESS_OFF);
}

int pf_encoder_open(struct pf_encoder *encoder, const struct pf_options *options,
                    const struct pf_knobs *knobs, struct pf_counters *counters, struct pf_why *why)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->knobs = knobs;
    encoder->counters = counters;
    encoder->open = true;
    pf_squeeze_pool_init(&encoder->pool, options->compress_threads);
    atomic_store(&encoder->undecided, options->fewer_bytes == PF_FEWER_BYTES_AUTO);
    if (atomic_load(&encoder->undecided))
        return 0;
    return pf_encoder_set(encoder, options->compress, options->xbzrle, why);
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

void pf_encoder_round(struct pf_encoder *encoder, unsigned number)
{
    struct pf_xbzrle_cache *cache = &encoder->cache;
    size_t wanted = pf_knob(&encoder->knobs->xbzrle_cache);
    atomic_store(&encoder->round, number);
    if (!cache->list)
        return;
    pf_xbzrle_cache_next_round(cache);
    if (cache->asked != wanted)
        resize(cache, wanted);
}

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
    struct pf_xbzrle_counts counts;
    struct pf_counters *counters = encoder->counters;
    if (!atomic_load(&encoder->xbzrle))
        return;
    pf_xbzrle_cache_counts(&encoder->cache, &counts);
    pf_count_set(&counters->xbzrle_pages, counts.pages);
    pf_count_set(&counters->xbzrle_bytes, counts.bytes);
    pf_count_set(&counters->xbzrle_misses, counts.misses);
    pf_count_set(&counters->xbzrle_overflows, counts.overflows);
    pf_count_set(&counters->xbzrle_miss_percent,
                 (uint64_t)(pf_xbzrle_cache_miss_rate(&encoder->cache) * 100));
}
