/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/pack.h"

#include "core/snapshot.h"
#include "core/zero.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PAGE = PF_ENCODED_PAGE,
    PIECE_PAGES = PF_SQUEEZE_MAX / PAGE,
    LENGTH_BYTES = 2, /* of a difference, in front of it */
};

int pf_pack_init(struct pf_pack *pack, struct pf_encoder *encoder, size_t room,
                 void (*ready)(void *ctx), void *ctx)
{
    *pack = (struct pf_pack){.encoder = encoder, .ready = ready, .ctx = ctx, .room = room};
    pack->scratch = malloc(room);
    return pack->scratch ? 0 : -ENOMEM;
}

void pf_pack_free(struct pf_pack *pack)
{
    free(pack->scratch);
    pack->scratch = NULL;
}

void pf_pack_begin(struct pf_pack *pack, uint8_t *out)
{
    pack->shorter = pf_encoder_shorter(pack->encoder);
    pack->compress = atomic_load(&pack->encoder->compress);
    pack->out = out;
    pack->bytes = pack->before = pack->given = 0;
    pack->run_count = pack->piece_count = 0;
    pack->open = (struct pf_encoded_run){.pages = 0};
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void close_run(struct pf_pack *pack)
{
    if (pack->open.pages > 0)
        pack->runs[pack->run_count++] = pf_encoded_to_run(pack->open);
    pack->open.pages = 0;
}

/* Pieces become runs in the end. */
static bool has_room_for_a_run(const struct pf_pack *pack)
{
    return pack->run_count + (pack->open.pages > 0) + pack->piece_count < PF_STAGE_RUNS_MAX;
}

/* False: it would be one run too many. */
static bool append(struct pf_pack *pack, struct pf_encoded_run run)
{
    struct pf_encoded_run *open = &pack->open;
    bool joins = open->pages > 0 && open->encoding == run.encoding && open->region == run.region &&
                 open->first + open->pages == run.first &&
                 open->pages + run.pages <= PF_ENCODED_PAGES_MAX &&
                 open->length + run.length <= PF_ENCODED_LENGTH_MAX;
    if (!joins && !has_room_for_a_run(pack))
        return false;
    if (joins) {
        open->pages += run.pages;
        open->length += run.length;
    } else {
        close_run(pack);
        *open = run;
    }
    return true;
}

size_t pf_pack_zeros(struct pf_pack *pack, unsigned region, uint64_t first, size_t pages)
{
    size_t most = pages < PF_ENCODED_PAGES_MAX ? pages : PF_ENCODED_PAGES_MAX;
    struct pf_encoded_run run = {region, PF_ENCODING_ZEROS, (uint32_t)most, first, 0};
    if (!append(pack, run))
        return 0;
    if (pack->shorter == PF_SHORTER_XBZRLE)
        pf_xbzrle_cache_zero(&pack->encoder->cache, region, first, most);
    return most;
}

/* ---- differences ----------------------------------------------------------------------------- */

/* A page's difference and its length in front of it; how long that is together. */
static size_t put_difference(uint8_t *out, const uint8_t *difference, size_t length)
{
    enum { MORE = 0x80, BITS = 7 };
    size_t used = 0;
    if (length >= MORE)
        out[used++] = (uint8_t)(length | MORE);
    out[used++] = (uint8_t)(length >= MORE ? length >> BITS : length);
    memcpy(out + used, difference, length);
    return used + length;
}

/* False: it is full. */
static bool add_page(struct pf_pack *pack, unsigned region, uint64_t page, const char *addr)
{
    _Alignas(64) uint8_t copy[PAGE];
    uint8_t difference[PF_XBZRLE_MAX];
    struct pf_encoded_run run = {region, PF_ENCODING_PLAIN, 1, page, PAGE};
    uint8_t *out = pack->out + pack->bytes;
    size_t length = 0;
    if (pack->room - pack->bytes < PAGE + LENGTH_BYTES || !has_room_for_a_run(pack))
        return false;
    pf_snapshot(copy, addr, PAGE);
    if (pf_all_zero(copy, PAGE))
        return pf_pack_zeros(pack, region, page, 1) > 0;
    pack->before += PAGE;
    switch (pf_xbzrle_cache_take(&pack->encoder->cache, region, page, copy, difference, &length)) {
    case PF_CHANGE_NONE:
        return true;
    case PF_CHANGE_DIFFERENCE:
        run.encoding = PF_ENCODING_XBZRLE;
        run.length = (uint32_t)put_difference(out, difference, length);
        break;
    default:
        memcpy(out, copy, PAGE);
    }
    pack->bytes += run.length;
    return append(pack, run);
}

static size_t add_differences(struct pf_pack *pack, unsigned region, uint64_t first,
                              const char *addr, size_t pages)
{
    size_t n = 0;
    while (n < pages && add_page(pack, region, first + n, addr + n * PAGE))
        n++;
    return n;
}

/* ---- compression ----------------------------------------------------------------------------- */

static void piece_done(struct pf_squeeze_task *task)
{
    struct pf_pack *pack = task->ctx;
    if (atomic_fetch_sub(&pack->under_way, 1) == 1)
        pack->ready(pack->ctx);
}

static int give(struct pf_pack *pack, struct pf_encoded_run run, const char *addr,
                struct pf_why *why)
{
    struct pf_pack_piece *piece = &pack->pieces[pack->piece_count];
    size_t bytes = (size_t)run.pages * PAGE;
    piece->run = run;
    piece->run.encoding = pf_encoding_of(pack->compress);
    piece->task = (struct pf_squeeze_task){
        .how = pack->compress,
        .level = (unsigned)pf_knob(&pack->encoder->knobs->compress_level),
        .from = addr,
        .bytes = bytes,
        .to = pack->scratch + pack->given,
        .done = piece_done,
        .ctx = pack,
    };
    atomic_fetch_add(&pack->under_way, 1);
    int error = pf_squeeze_pool_add(&pack->encoder->pool, &piece->task, why);
    if (error) {
        atomic_fetch_sub(&pack->under_way, 1);
        return error;
    }
    pack->piece_count++;
    pack->given += bytes;
    pack->before += bytes;
    return 0;
}

static int64_t add_compressed(struct pf_pack *pack, unsigned region, uint64_t first,
                              const char *addr, size_t pages, struct pf_why *why)
{
    size_t n = 0;
    while (n < pages && has_room_for_a_run(pack)) {
        bool zero;
        size_t left = pages - n < PIECE_PAGES ? pages - n : PIECE_PAGES;
        size_t same = pf_same_kind(addr + n * PAGE, PAGE, left, &zero);
        if (zero) {
            n += pf_pack_zeros(pack, region, first + n, same);
            continue;
        }
        size_t fits = (pack->room - pack->given) / PAGE;
        same = same < fits ? same : fits;
        if (same == 0)
            break;
        struct pf_encoded_run run = {region, 0, (uint32_t)same, first + n, 0};
        int error = give(pack, run, addr + n * PAGE, why);
        if (error)
            return error;
        n += same;
    }
    return (int64_t)n;
}

/* What a library made, or the pages as they are by now if that would not be shorter. */
static int end_piece(struct pf_pack *pack, struct pf_pack_piece *piece)
{
    struct pf_squeeze_task *task = &piece->task;
    uint8_t *out = pack->out + pack->bytes;
    if (task->result < 0 && task->result != -E2BIG)
        return task->result;
    if (task->result > 0) {
        memcpy(out, task->to, (size_t)task->result);
        piece->run.length = (uint32_t)task->result;
        pf_count(&pack->encoder->counters->compressed_pages, piece->run.pages);
        pf_count(&pack->encoder->counters->compressed_bytes, piece->run.length);
    } else {
        pf_snapshot(out, task->from, task->bytes);
        piece->run.length = (uint32_t)task->bytes;
        piece->run.encoding = PF_ENCODING_PLAIN;
    }
    pack->runs[pack->run_count++] = pf_encoded_to_run(piece->run);
    pack->bytes += piece->run.length;
    return 0;
}

/* ---- either ---------------------------------------------------------------------------------- */

int64_t pf_pack_add(struct pf_pack *pack, unsigned region, uint64_t first, const char *addr,
                    size_t pages, struct pf_why *why)
{
    if (pack->shorter == PF_SHORTER_XBZRLE)
        return (int64_t)add_differences(pack, region, first, addr, pages);
    return add_compressed(pack, region, first, addr, pages, why);
}

int pf_pack_end(struct pf_pack *pack)
{
    close_run(pack);
    for (unsigned i = 0; i < pack->piece_count; i++) {
        int error = end_piece(pack, &pack->pieces[i]);
        if (error)
            return error;
    }
    pack->piece_count = 0;
    if (pack->bytes < pack->before)
        pf_count(&pack->encoder->counters->saved_bytes, pack->before - pack->bytes);
    return 0;
}
