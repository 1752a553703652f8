/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/pack.h"

#include "core/memory/guarded.h"
#include "core/memory/snapshot.h"
#include "core/memory/zero.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PAGE = PF_ENCODED_PAGE,
    PIECE_PAGES = PF_SQUEEZE_MAX / PAGE,
    LENGTH_BYTES = 2, /* of a difference, in front of it */
    SUM = PF_ENCODED_SUM_BYTES,
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

static void put_sum(const struct pf_encoded_run *run, uint8_t *data)
{
    struct pf_wire wire = pf_wire_over(data, SUM);
    pf_put_u32(&wire, pf_encoded_sum(run, data + SUM));
}

static void close_run(struct pf_pack *pack)
{
    const struct pf_encoded_run *open = &pack->open;
    if (open->pages > 0)
        pack->runs[pack->run_count++] = pf_encoded_to_run(*open);
    if (open->pages > 0 && open->encoding == PF_ENCODING_XBZRLE)
        put_sum(open, pack->out + pack->bytes - open->length);
    pack->open.pages = 0;
}

/* Pieces become runs in the end. */
bool pf_pack_takes_runs(const struct pf_pack *pack)
{
    return pack->run_count + (pack->open.pages > 0) + pack->piece_count < PF_STAGE_RUNS_MAX;
}

static bool joins(const struct pf_encoded_run *open, const struct pf_encoded_run *run)
{
    return open->pages > 0 && open->encoding == run->encoding && open->region == run->region &&
           open->first + open->pages == run->first &&
           open->pages + run->pages <= PF_ENCODED_PAGES_MAX &&
           open->length + run->length <= PF_ENCODED_LENGTH_MAX;
}

/* Open another run unless the page continues the latest. There is room for one. */
static void open_run(struct pf_pack *pack, struct pf_encoded_run run)
{
    if (joins(&pack->open, &run))
        return;
    close_run(pack);
    pack->open = run;
    pack->open.pages = pack->open.length = 0;
    if (run.encoding == PF_ENCODING_XBZRLE) {
        pack->open.length = SUM;
        pack->bytes += SUM;
    }
}

static void extend_run(struct pf_pack *pack, struct pf_encoded_run run)
{
    pack->open.pages += run.pages;
    pack->open.length += run.length;
    pack->bytes += run.length;
}

size_t pf_pack_zeros(struct pf_pack *pack, unsigned region, uint64_t first, size_t pages)
{
    size_t most = pages < PF_ENCODED_PAGES_MAX ? pages : PF_ENCODED_PAGES_MAX;
    struct pf_encoded_run run = {region, PF_ENCODING_ZEROS, (uint32_t)most, first, 0};
    if (!pf_pack_takes_runs(pack))
        return 0;
    open_run(pack, run);
    extend_run(pack, run);
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

static void add_copy(struct pf_pack *pack, struct pf_encoded_run run, const uint8_t *copy)
{
    uint8_t difference[PF_XBZRLE_MAX];
    size_t length = 0;
    switch (pf_xbzrle_cache_take(&pack->encoder->cache, run.region, run.first, copy, difference,
                                 &length)) {
    case PF_CHANGE_NONE:
        break;
    case PF_CHANGE_DIFFERENCE:
        run.encoding = PF_ENCODING_XBZRLE;
        open_run(pack, run);
        run.length = (uint32_t)put_difference(pack->out + pack->bytes, difference, length);
        extend_run(pack, run);
        break;
    default:
        open_run(pack, run);
        memcpy(pack->out + pack->bytes, copy, PAGE);
        extend_run(pack, run);
    }
}

static int lose(struct pf_pack *pack, unsigned region)
{
    pack->lost = region;
    return -EFAULT;
}

/* False: it is full. */
static bool add_page(struct pf_pack *pack, unsigned region, uint64_t page, const char *addr)
{
    _Alignas(64) uint8_t copy[PAGE];
    struct pf_encoded_run run = {region, PF_ENCODING_PLAIN, 1, page, PAGE};
    if (pack->room - pack->bytes < SUM + LENGTH_BYTES + PAGE || !pf_pack_takes_runs(pack))
        return false;
    pf_snapshot(copy, addr, PAGE);
    if (pf_all_zero(copy, PAGE))
        return pf_pack_zeros(pack, region, page, 1) > 0;
    pack->before += PAGE;
    add_copy(pack, run, copy);
    return true;
}

struct differences {
    struct pf_pack *pack;
    unsigned region;
    uint64_t first;
    const char *addr;
    size_t pages, done;
};

/* Reads the job's memory in pf_snapshot() alone, and holds nothing there. */
static void add_pages(void *ctx)
{
    struct differences *asked = ctx;
    while (asked->done < asked->pages &&
           add_page(asked->pack, asked->region, asked->first + asked->done,
                    asked->addr + asked->done * PAGE))
        asked->done++;
}

static int64_t add_differences(struct pf_pack *pack, unsigned region, uint64_t first,
                               const char *addr, size_t pages)
{
    struct differences asked = {pack, region, first, addr, pages, 0};
    if (pf_guarded(addr, pages * PAGE, add_pages, &asked))
        return lose(pack, region);
    return (int64_t)asked.done;
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
    while (n < pages && pf_pack_takes_runs(pack)) {
        bool zero;
        size_t left = pages - n < PIECE_PAGES ? pages - n : PIECE_PAGES;
        size_t same = pf_guarded_same_kind(addr + n * PAGE, PAGE, left, &zero);
        if (same == 0)
            return lose(pack, region);
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
    if (task->result == -EFAULT)
        return lose(pack, piece->run.region);
    if (task->result < 0 && task->result != -E2BIG)
        return task->result;
    if (task->result > 0 && (size_t)task->result + SUM < task->bytes) {
        memcpy(out + SUM, task->to, (size_t)task->result);
        piece->run.length = SUM + (uint32_t)task->result;
        put_sum(&piece->run, out);
        pf_count(&pack->encoder->counters->compressed_pages, piece->run.pages);
        pf_count(&pack->encoder->counters->compressed_bytes, piece->run.length);
    } else {
        if (pf_guarded_copy(out, task->from, task->bytes))
            return lose(pack, piece->run.region);
        piece->run.length = (uint32_t)task->bytes;
        piece->run.encoding = PF_ENCODING_PLAIN;
    }
    pack->runs[pack->run_count++] = pf_encoded_to_run(piece->run);
    pack->bytes += piece->run.length;
    return 0;
}

bool pf_pack_is_empty(const struct pf_pack *pack)
{
    return pack->run_count + pack->piece_count == 0 && pack->open.pages == 0;
}

/* ---- either ---------------------------------------------------------------------------------- */

/* Pages that were claimed to be made shorter when that was still wanted. */
static int64_t add_plain(struct pf_pack *pack, unsigned region, uint64_t first, const char *addr,
                         size_t pages)
{
    size_t fits = (pack->room - pack->bytes) / PAGE;
    size_t n = pages < fits ? pages : fits;
    struct pf_encoded_run run = {region, PF_ENCODING_PLAIN, (uint32_t)n, first,
                                 (uint32_t)(n * PAGE)};
    if (n == 0 || !pf_pack_takes_runs(pack))
        return 0;
    open_run(pack, run);
    if (pf_guarded_copy(pack->out + pack->bytes, addr, n * PAGE))
        return lose(pack, region);
    extend_run(pack, run);
    pack->before += n * PAGE;
    return (int64_t)n;
}

int64_t pf_pack_add(struct pf_pack *pack, unsigned region, uint64_t first, const char *addr,
                    size_t pages, struct pf_why *why)
{
    if (pack->shorter == PF_SHORTER_NOT)
        return add_plain(pack, region, first, addr, pages);
    if (pack->shorter == PF_SHORTER_XBZRLE)
        return add_differences(pack, region, first, addr, pages);
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
