/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/unpack.h"

#include "core/encode/xbzrle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void pf_unpacker_init(struct pf_unpacker *unpacker, struct pf_squeeze_pool *pool)
{
    *unpacker = (struct pf_unpacker){.pool = pool};
    pthread_mutex_init(&unpacker->lock, NULL);
    pthread_cond_init(&unpacker->all_done, NULL);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* What follows the sum, if there is anything and it is as it was sent. */
static bool take_sum(struct pf_encoded_run *run, const char **data)
{
    uint8_t bytes[PF_ENCODED_SUM_BYTES];
    if (run->length <= sizeof bytes)
        return false;
    memcpy(bytes, *data, sizeof bytes);
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    *data += sizeof bytes;
    bool right = pf_get_u32(&wire) == pf_encoded_sum(run, *data);
    run->length -= (uint32_t)sizeof bytes;
    return right;
}

/* ---- differences ----------------------------------------------------------------------------- */

/* A page's length: one byte or two. What it took, or 0 if there is none. */
static size_t take_length(const uint8_t *at, size_t left, size_t *length)
{
    enum { MORE = 0x80, BITS = 7 };
    if (left == 0)
        return 0;
    *length = at[0];
    if (!(*length & MORE))
        return 1;
    if (left == 1)
        return 0;
    uint8_t high = at[1];
    *length = (*length & (MORE - 1)) | (size_t)high << BITS;
    return high < MORE && high > 0 && *length <= PF_XBZRLE_MAX ? 2 : 0;
}

static int unpack_differences(const struct pf_encoded_run *run, const char *data, char *page)
{
    uint8_t copy[PF_XBZRLE_MAX]; /* the source could still write to the stage */
    size_t used = 0, length = 0;
    for (uint32_t i = 0; i < run->pages; i++, page += PF_ENCODED_PAGE) {
        size_t taken = take_length((const uint8_t *)data + used, run->length - used, &length);
        used += taken;
        if (taken == 0 || length > run->length - used)
            return -EPROTO;
        memcpy(copy, data + used, length);
        used += length;
        if (pf_xbzrle_decode(copy, length, page))
            return -EPROTO;
    }
    return used == run->length ? 0 : -EPROTO;
}

/* ---- compressed pages ------------------------------------------------------------------------ */

static void task_done(struct pf_squeeze_task *task)
{
    struct pf_unpacker *unpacker = task->ctx;
    pthread_mutex_lock(&unpacker->lock);
    if (task->result && !unpacker->status)
        unpacker->status = task->result;
    if (--unpacker->under_way == 0)
        pthread_cond_signal(&unpacker->all_done);
    pthread_mutex_unlock(&unpacker->lock);
}

static int give(struct pf_unpacker *unpacker, struct pf_squeeze_task task)
{
    if (!unpacker->tasks)
        unpacker->tasks = calloc(PF_STAGE_RUNS_MAX, sizeof *unpacker->tasks);
    if (!unpacker->tasks)
        return -ENOMEM;
    if (unpacker->given == PF_STAGE_RUNS_MAX)
        return -EPROTO;
    struct pf_squeeze_task *own = &unpacker->tasks[unpacker->given++];
    *own = task;
    own->done = task_done;
    own->ctx = unpacker;
    pthread_mutex_lock(&unpacker->lock);
    unpacker->under_way++;
    pthread_mutex_unlock(&unpacker->lock);
    int error = pf_squeeze_pool_add(unpacker->pool, own, NULL);
    if (!error)
        return 0;
    pthread_mutex_lock(&unpacker->lock);
    unpacker->under_way--;
    pthread_mutex_unlock(&unpacker->lock);
    return error;
}

static int unpack_compressed(struct pf_unpacker *unpacker, const struct pf_encoded_run *run,
                             const char *data, char *page)
{
    size_t bytes = (size_t)run->pages * PF_ENCODED_PAGE;
    unsigned how = run->encoding == PF_ENCODING_ZSTD ? PF_COMPRESS_ZSTD : PF_COMPRESS_LZ4;
    if (bytes > PF_SQUEEZE_MAX || run->length >= bytes)
        return -EPROTO;
    if (!(pf_squeeze_built() & 1u << how))
        return -ENOTSUP;
    return give(unpacker,
                (struct pf_squeeze_task){
                    .how = how, .from = data, .bytes = run->length, .to = page, .to_bytes = bytes});
}

/* ---- from outside ---------------------------------------------------------------------------- */

static int unpack_summed(struct pf_unpacker *unpacker, struct pf_encoded_run run, const char *data,
                         char *page)
{
    if (!take_sum(&run, &data))
        return -EPROTO;
    return run.encoding == PF_ENCODING_XBZRLE ? unpack_differences(&run, data, page)
                                              : unpack_compressed(unpacker, &run, data, page);
}

static int unpack_run(struct pf_unpacker *unpacker, const struct pf_encoded_run *run,
                      const char *data, char *page)
{
    size_t bytes = (size_t)run->pages * PF_ENCODED_PAGE;
    switch (run->encoding) {
    case PF_ENCODING_XBZRLE:
    case PF_ENCODING_ZSTD:
    case PF_ENCODING_LZ4:
        return unpack_summed(unpacker, *run, data, page);
    case PF_ENCODING_PLAIN:
        if (run->length != bytes)
            return -EPROTO;
        memcpy(page, data, bytes);
        return 0;
    case PF_ENCODING_ZEROS:
        if (run->length != 0)
            return -EPROTO;
        memset(page, 0, bytes);
        return 0;
    default:
        return -EPROTO;
    }
}

int64_t pf_unpack(struct pf_unpacker *unpacker, const struct pf_region *region,
                  const struct pf_encoded_run *run, const char *data, size_t left)
{
    size_t pages = region->bytes / PF_ENCODED_PAGE;
    if (region->foreign || run->pages == 0 || run->first >= pages ||
        run->pages > pages - run->first || run->length > left)
        return -EPROTO;
    int error = unpack_run(unpacker, run, data, region->addr + run->first * PF_ENCODED_PAGE);
    return error ? error : (int64_t)run->length;
}

int pf_unpacker_wait(struct pf_unpacker *unpacker)
{
    pthread_mutex_lock(&unpacker->lock);
    while (unpacker->under_way > 0)
        pthread_cond_wait(&unpacker->all_done, &unpacker->lock);
    int status = unpacker->status;
    pthread_mutex_unlock(&unpacker->lock);
    unpacker->given = 0;
    return status;
}

void pf_unpacker_close(struct pf_unpacker *unpacker)
{
    if (!unpacker->pool)
        return;
    pf_unpacker_wait(unpacker);
    free(unpacker->tasks);
    pthread_cond_destroy(&unpacker->all_done);
    pthread_mutex_destroy(&unpacker->lock);
    *unpacker = (struct pf_unpacker){.pool = NULL};
}
