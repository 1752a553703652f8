/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/economy.h"

#include "base/clock.h"
#include "core/encode/squeeze.h"
#include "core/encode/xbzrle.h"
#include "core/memory/guarded.h"
#include "core/memory/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE = PF_XBZRLE_PAGE };

/* Compressing takes CPU time from the job: it has to be worth it. */
static const double worth = 1.3;
/*
 * Differences need pages to go by the stages, with a copy at either end and the CPU of the
 * destination: not where the link is nearly as fast as the copies.
 */
static const double copies = 4;

static const char *const names[PF_ECONOMY_WAYS] = {"nothing", "zstd", "lz4"};

/* ---- measuring ------------------------------------------------------------------------------- */

struct desk {
    struct pf_squeezer squeezer;
    _Alignas(64) char in[PF_SQUEEZE_MAX], out[PF_SQUEEZE_MAX];
};

/* Bytes before and after, of one way, and the time it took. */
struct sum {
    double before, after, ns;
};

static int squeeze_piece(struct desk *desk, unsigned how, unsigned level,
                         const struct pf_economy_piece *piece, struct sum *sum)
{
    uint64_t began = pf_now_ns();
    if (pf_guarded_copy(desk->in, piece->addr, piece->bytes))
        return -EFAULT;
    int length = pf_squeeze(&desk->squeezer, how, level, desk->in, piece->bytes, desk->out);
    sum->ns += (double)(pf_now_ns() - began);
    sum->before += (double)piece->bytes;
    sum->after += length > 0 ? length : (double)piece->bytes;
    return length == -ENOMEM ? length : 0;
}

/* A page against another: as dear as against what it was. */
static int compare_piece(struct desk *desk, const struct pf_economy_piece *piece, struct sum *sum)
{
    uint64_t began = pf_now_ns();
    for (size_t at = 0; at < piece->bytes; at += PAGE) {
        if (pf_guarded_copy(desk->in + at, piece->addr + at, PAGE))
            return -EFAULT;
        pf_snapshot(desk->out + PAGE, desk->in + at, PAGE);
        pf_xbzrle_encode(desk->in + at, desk->out + PAGE, (uint8_t *)desk->out);
    }
    sum->ns += (double)(pf_now_ns() - began);
    sum->before += (double)piece->bytes;
    return 0;
}

static double per_second(const struct sum *sum)
{
    return sum->ns > 0 ? sum->before / sum->ns * 1e9 : 0;
}

static int measure_way(struct pf_economy_facts *facts, struct desk *desk, unsigned how,
                       unsigned level, const struct pf_economy_piece *pieces, unsigned count)
{
    struct sum first = {0, 0, 0};
    struct sum sum = {0, 0, 0};
    int error = squeeze_piece(desk, how, level, &pieces[0], &first); /* warms up */
    for (unsigned i = 0; i < count && !error; i++)
        error = squeeze_piece(desk, how, level, &pieces[i], &sum);
    facts->speed[how] = per_second(&sum);
    facts->ratio[how] = sum.before / sum.after;
    return error;
}

int pf_economy_measure(struct pf_economy_facts *facts, unsigned level,
                       const struct pf_economy_piece *pieces, unsigned count)
{
    struct sum compared = {0, 0, 0};
    int error = 0;
    for (unsigned how = 0; how < PF_ECONOMY_WAYS; how++)
        facts->speed[how] = facts->ratio[how] = 0;
    facts->differ = 0;
    if (count == 0)
        return 0;
    struct desk *desk = aligned_alloc(64, sizeof *desk);
    if (!desk)
        return -ENOMEM;
    desk->squeezer = (struct pf_squeezer){NULL, NULL, NULL};
    for (unsigned how = PF_COMPRESS_ZSTD; how < PF_ECONOMY_WAYS && !error; how++)
        if (pf_squeeze_built() & 1u << how)
            error = measure_way(facts, desk, how, level, pieces, count);
    for (unsigned i = 0; i < count && !error; i++)
        error = compare_piece(desk, &pieces[i], &compared);
    facts->differ = per_second(&compared);
    pf_squeezer_free(&desk->squeezer);
    free(desk);
    return error;
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Bytes of pages a second when they are compressed: the slower of the CPU and the link. */
static double rate_of(const struct pf_economy_facts *facts, unsigned how)
{
    if (how == PF_COMPRESS_OFF || facts->speed[how] <= 0)
        return 0;
    double cpu = facts->speed[how] * facts->threads;
    double link = facts->link * facts->ratio[how];
    return cpu < link ? cpu : link;
}

void pf_economy_choose(const struct pf_economy_facts *facts, struct pf_economy *choice)
{
    unsigned best = PF_COMPRESS_ZSTD;
    for (unsigned how = best; how < PF_ECONOMY_WAYS; how++)
        if (rate_of(facts, how) > rate_of(facts, best))
            best = how;
    double rate = rate_of(facts, best);
    choice->compress = rate > worth * facts->link ? best : PF_COMPRESS_OFF;
    choice->xbzrle = facts->differ > copies * facts->link;
    snprintf(choice->why, sizeof choice->why,
             "the link takes %.0f MB/s as they are; %s would be %.0f MB/s of them (%.1f times "
             "shorter, %u threads), comparing %.0f MB/s",
             facts->link / 1e6, names[best], rate / 1e6, facts->ratio[best], facts->threads,
             facts->differ / 1e6);
}
