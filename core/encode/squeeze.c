/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/squeeze.h"

#include <errno.h>
#include <stdlib.h>

#ifdef PAGEFERRY_HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef PAGEFERRY_HAVE_LZ4
#include <lz4.h>
#include <lz4hc.h>
#endif

/* ---- zstd ------------------------------------------------------------------------------------ */

#ifdef PAGEFERRY_HAVE_ZSTD
static int squeeze_zstd(struct pf_squeezer *squeezer, unsigned level, const void *from,
                        size_t bytes, void *to)
{
    if (!squeezer->zstd_in)
        squeezer->zstd_in = ZSTD_createCCtx();
    if (!squeezer->zstd_in)
        return -ENOMEM;
    size_t length = ZSTD_compressCCtx(squeezer->zstd_in, to, bytes - 1, from, bytes, (int)level);
    /* The only thing that can go wrong is that it does not fit. */
    return ZSTD_isError(length) ? -E2BIG : (int)length;
}

static int unsqueeze_zstd(struct pf_squeezer *squeezer, const void *from, size_t length, void *to,
                          size_t bytes)
{
    if (!squeezer->zstd_out)
        squeezer->zstd_out = ZSTD_createDCtx();
    if (!squeezer->zstd_out)
        return -ENOMEM;
    return ZSTD_decompressDCtx(squeezer->zstd_out, to, bytes, from, length) == bytes ? 0 : -EPROTO;
}

static void free_zstd(struct pf_squeezer *squeezer)
{
    ZSTD_freeCCtx(squeezer->zstd_in);
    ZSTD_freeDCtx(squeezer->zstd_out);
}
#else
static int squeeze_zstd(struct pf_squeezer *squeezer, unsigned level, const void *from,
                        size_t bytes, void *to)
{
    (void)squeezer, (void)level, (void)from, (void)bytes, (void)to;
    return -ENOTSUP;
}

static int unsqueeze_zstd(struct pf_squeezer *squeezer, const void *from, size_t length, void *to,
                          size_t bytes)
{
    (void)squeezer, (void)from, (void)length, (void)to, (void)bytes;
    return -ENOTSUP;
}

static void free_zstd(struct pf_squeezer *squeezer)
{
    (void)squeezer;
}
#endif

/* ---- lz4 ------------------------------------------------------------------------------------- */

#ifdef PAGEFERRY_HAVE_LZ4
enum { LZ4_SLOW_FROM = LZ4HC_CLEVEL_MIN };

/* One memory serves both compressors. */
static size_t lz4_state_bytes(void)
{
    size_t fast = (size_t)LZ4_sizeofState(), slow = (size_t)LZ4_sizeofStateHC();
    return fast > slow ? fast : slow;
}

static int squeeze_lz4(struct pf_squeezer *squeezer, unsigned level, const void *from, size_t bytes,
                       void *to)
{
    if (!squeezer->lz4)
        squeezer->lz4 = malloc(lz4_state_bytes());
    if (!squeezer->lz4)
        return -ENOMEM;
    int length =
        level < LZ4_SLOW_FROM
            ? LZ4_compress_fast_extState(squeezer->lz4, from, to, (int)bytes, (int)bytes - 1, 1)
            : LZ4_compress_HC_extStateHC(squeezer->lz4, from, to, (int)bytes, (int)bytes - 1,
                                         (int)level);
    return length > 0 ? length : -E2BIG;
}

static int unsqueeze_lz4(const void *from, size_t length, void *to, size_t bytes)
{
    return LZ4_decompress_safe(from, to, (int)length, (int)bytes) == (int)bytes ? 0 : -EPROTO;
}
#else
static int squeeze_lz4(struct pf_squeezer *squeezer, unsigned level, const void *from, size_t bytes,
                       void *to)
{
    (void)squeezer, (void)level, (void)from, (void)bytes, (void)to;
    return -ENOTSUP;
}

static int unsqueeze_lz4(const void *from, size_t length, void *to, size_t bytes)
{
    (void)from, (void)length, (void)to, (void)bytes;
    return -ENOTSUP;
}
#endif

/* ---- either ---------------------------------------------------------------------------------- */

unsigned pf_squeeze_built(void)
{
    unsigned built = 0;
#ifdef PAGEFERRY_HAVE_ZSTD
    built |= 1u << PF_COMPRESS_ZSTD;
#endif
#ifdef PAGEFERRY_HAVE_LZ4
    built |= 1u << PF_COMPRESS_LZ4;
#endif
    return built;
}

int pf_squeeze_check(unsigned how, unsigned built, bool peer, struct pf_why *why)
{
    const char *name = how == PF_COMPRESS_ZSTD ? "zstd" : "lz4";
    if (how == PF_COMPRESS_OFF || built & 1u << how)
        return 0;
    return pf_why(
        why, -ENOTSUP,
        "%s was built without %s: leave --compress %s out, or install lib%s-dev there and "
        "build it again",
        peer ? "the destination's pageferry" : "this pageferry", name, name, name);
}

int pf_squeeze(struct pf_squeezer *squeezer, unsigned how, unsigned level, const void *from,
               size_t bytes, void *to)
{
    if (bytes < 2 || bytes > PF_SQUEEZE_MAX)
        return -E2BIG;
    if (how == PF_COMPRESS_ZSTD)
        return squeeze_zstd(squeezer, level, from, bytes, to);
    return how == PF_COMPRESS_LZ4 ? squeeze_lz4(squeezer, level, from, bytes, to) : -ENOTSUP;
}

int pf_unsqueeze(struct pf_squeezer *squeezer, unsigned how, const void *from, size_t length,
                 void *to, size_t bytes)
{
    if (length == 0 || length >= bytes || bytes > PF_SQUEEZE_MAX)
        return -EPROTO;
    if (how == PF_COMPRESS_ZSTD)
        return unsqueeze_zstd(squeezer, from, length, to, bytes);
    return how == PF_COMPRESS_LZ4 ? unsqueeze_lz4(from, length, to, bytes) : -ENOTSUP;
}

void pf_squeezer_free(struct pf_squeezer *squeezer)
{
    free_zstd(squeezer);
    free(squeezer->lz4);
    *squeezer = (struct pf_squeezer){NULL, NULL, NULL};
}
