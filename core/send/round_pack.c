/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/round_pack.h"

#include "core/encode/pack.h"
#include "core/send/gather.h"
#include "core/send/round_stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* So many stretches of pages at most are looked at for one filling: the lane wants attention too.
 */
enum { LOOKS_MAX = 64 };

static unsigned base_shift(const struct pf_region *region)
{
    return region->page_shift - (unsigned)__builtin_ctz(PF_ENCODED_PAGE);
}

bool pf_route_packs(const struct pf_mover *mover)
{
    struct pf_encoder *encoder = mover->round.packing.encoder;
    return encoder && pf_encoder_shorter(encoder) != PF_SHORTER_NOT;
}

bool pf_round_packs(const struct pf_mover *mover)
{
    const struct pf_round_packing *packing = &mover->round.packing;
    return packing->count > 0 || packing->left > 0 || pf_route_packs(mover);
}

/* ---- filling --------------------------------------------------------------------------------- */

static bool in_use(const struct pf_round_packing *packing, const struct pf_outgoing *stage)
{
    for (unsigned i = 0; i < packing->count; i++)
        if (packing->stages[(packing->first + i) % PF_PACKS] == stage)
            return true;
    return false;
}

static struct pf_outgoing *free_stage(struct pf_mover *mover)
{
    for (unsigned i = 0; i < mover->stages; i++) {
        struct pf_outgoing *stage = &mover->outgoing[i];
        if (stage->credit && stage->posted == 0 && !in_use(&mover->round.packing, stage))
            return stage;
    }
    return NULL;
}

/* Claim the next pages. 1, 2: there are none, or -EFAULT. */
static int claim(struct pf_mover *mover, struct pf_pack *pack)
{
    struct pf_round_packing *packing = &mover->round.packing;
    struct pf_route route;
    if (atomic_load(&mover->round.halt) || !pf_route_packs(mover) || !pf_route_find(mover, &route))
        return 2;
    if (route.way == PF_WAY_LOST)
        return pf_mover_lost(mover, route.region);
    if (route.way != PF_WAY_NOTHING && route.way != PF_WAY_ZERO && route.way != PF_WAY_PACKED)
        return 2; /* from this moment on they go as they are */
    size_t pages = pf_route_claim(mover, &route);
    unsigned shift = base_shift(mover->memory->regions[route.region].region);
    if (pages > 0 && route.way == PF_WAY_ZERO)
        pf_pack_zeros(pack, route.region, route.run.first << shift, pages << shift);
    if (pages > 0 && route.way == PF_WAY_PACKED) {
        packing->region = route.region;
        packing->next = route.run.first << shift;
        packing->left = pages << shift;
    }
    return 1;
}

/* As many claimed pages as fit. How many, or -errno. */
static int64_t pack_claimed(struct pf_mover *mover, struct pf_pack *pack)
{
    struct pf_round_packing *packing = &mover->round.packing;
    const struct pf_region *region = mover->memory->regions[packing->region].region;
    int64_t pages = pf_pack_add(pack, packing->region, packing->next,
                                region->addr + packing->next * PF_ENCODED_PAGE, packing->left,
                                &mover->worker.why);
    if (pages > 0) {
        packing->next += (size_t)pages;
        packing->left -= (size_t)pages;
    }
    return pages;
}

/* 1: that is enough; 2: there are no more pages; or -errno. */
static int fill(struct pf_mover *mover, struct pf_pack *pack)
{
    struct pf_round_packing *packing = &mover->round.packing;
    for (unsigned looks = 0; looks < LOOKS_MAX && pf_pack_takes_runs(pack); looks++) {
        int64_t pages = 1;
        int claimed = 1;
        if (packing->left > 0)
            pages = pack_claimed(mover, pack);
        else
            claimed = claim(mover, pack);
        if (claimed != 1)
            return claimed;
        if (pages <= 0)
            return pages < 0 ? (int)pages : 1;
    }
    return 1;
}

static int fail(struct pf_mover *mover, const struct pf_pack *pack, int error)
{
    if (error == -EFAULT)
        return pf_mover_lost(mover, pack->lost);
    pf_worker_fail(&mover->worker, error, "pages cannot be compressed");
    return error;
}

/* 1, 0: no stage, 2: nothing to fill it with, or -errno. */
static int begin(struct pf_mover *mover)
{
    struct pf_round_packing *packing = &mover->round.packing;
    unsigned index = (packing->first + packing->count) % PF_PACKS;
    struct pf_outgoing *stage = packing->count < PF_PACKS ? free_stage(mover) : NULL;
    if (!stage)
        return 0;
    struct pf_pack *pack = &packing->packs[index];
    pf_pack_begin(pack, stage->bounce);
    int filled = fill(mover, pack);
    if (filled < 0)
        return fail(mover, pack, filled);
    if (pf_pack_is_empty(pack))
        return filled; /* all of it is unchanged, or zero as it was */
    packing->stages[index] = stage;
    packing->count++;
    return 1;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void into_batch(struct pf_outgoing *stage, const struct pf_pack *pack)
{
    struct pf_batch *batch = &stage->batch;
    pf_batch_begin(batch);
    memcpy(batch->runs, pack->runs, pack->run_count * sizeof *pack->runs);
    batch->run_count = pack->run_count;
    if (pack->bytes == 0)
        return;
    batch->sges[batch->sge_count++] = (struct pf_sge){stage->mover->mr, stage->bounce, pack->bytes};
    batch->bytes = batch->bounced = pack->bytes;
}

/* Send the one that was begun first, if it is ready. 1, 0 or -errno. */
static int send_packed(struct pf_mover *mover)
{
    struct pf_round_packing *packing = &mover->round.packing;
    struct pf_pack *pack = &packing->packs[packing->first];
    struct pf_outgoing *stage = packing->stages[packing->first];
    if (packing->count == 0 || !pf_pack_is_ready(pack))
        return 0;
    int error = pf_pack_end(pack);
    if (error)
        return fail(mover, pack, error);
    packing->first = (packing->first + 1) % PF_PACKS;
    packing->count--;
    into_batch(stage, pack);
    mover->round.posted += pack->bytes; /* for the rate limit */
    pf_encoder_count(packing->encoder);
    error = stage->batch.run_count > 0 ? pf_mover_post(stage) : 0;
    return error ? error : 1;
}

/* Take what the pool has said, so that it can be slept on again. */
static void heed(struct pf_round_packing *packing)
{
    uint64_t count;
    if (atomic_exchange(&packing->ready, false))
        (void)!read(packing->ready_fd, &count, sizeof count);
}

int pf_round_pack(struct pf_mover *mover)
{
    struct pf_round_packing *packing = &mover->round.packing;
    heed(packing);
    int sent = send_packed(mover);
    if (sent != 0)
        return sent;
    int begun = begin(mover);
    if (begun == 2 && packing->count > 0)
        return 0;
    /* Not packed from this moment on: there may be pages that go another way. */
    return begun == 2 && !pf_route_packs(mover) ? 1 : begun;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void on_ready(void *ctx)
{
    struct pf_round_packing *packing = ctx;
    atomic_store(&packing->ready, true);
    ssize_t written = write(packing->ready_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

int pf_round_packing_open(struct pf_mover *mover, struct pf_encoder *encoder)
{
    struct pf_round_packing *packing = &mover->round.packing;
    struct pf_why *why = &mover->session->why;
    *packing = (struct pf_round_packing){.encoder = encoder, .ready_fd = -1};
    packing->packs = calloc(PF_PACKS, sizeof *packing->packs);
    packing->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (packing->ready_fd < 0)
        return pf_why(why, -errno, "cannot make an eventfd: %s", strerror(errno));
    int error = packing->packs ? 0 : -ENOMEM;
    for (unsigned i = 0; i < PF_PACKS && !error; i++)
        error = pf_pack_init(&packing->packs[i], encoder, mover->stage_size, on_ready, packing);
    return error ? pf_why(why, error, "no memory to pack pages into stages") : 0;
}

void pf_round_packing_close(struct pf_mover *mover)
{
    struct pf_round_packing *packing = &mover->round.packing;
    if (!packing->encoder)
        return;
    for (unsigned i = 0; packing->packs && i < PF_PACKS; i++)
        pf_pack_free(&packing->packs[i]);
    free(packing->packs);
    if (packing->ready_fd >= 0)
        close(packing->ready_fd);
    *packing = (struct pf_round_packing){.encoder = NULL};
}
