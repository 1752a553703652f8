/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/puller.h"

#include "base/clock.h"
#include "core/memory/locked.h"
#include "core/memory/zero.h"
#include "pageferry.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * 64 KiB a read: UFFDIO_COPY is at full rate with it, and what is under way while the job is
 * faulting is one of them.
 */
enum { BUDGET = 8, PIECE_BYTES = 64 * 1024 };

/* ---- reading --------------------------------------------------------------------------------- */

static void piece_read(struct pf_op *op, int status, size_t bytes)
{
    struct pf_pull *piece = pf_container_of(op, struct pf_pull, op);
    struct pf_puller *puller = piece->puller;
    piece->posted = status != 0;
    puller->reading--;
    atomic_store(&puller->waits_since, puller->reading > 0 ? pf_now_ns() : 0);
    if (status == 0) {
        struct pf_session *session = piece->puller->session;
        pf_count(&session->counters->sent_bytes, bytes);
        pf_count(&session->rails[piece->puller->port->rail].bytes, bytes);
        pf_list_append(&piece->puller->arrived, &piece->link);
    } else if (status != -ECANCELED) {
        pf_port_lose(piece->puller->port, status);
    }
}

/* Drive the lane until the queue takes one more. */
static int wait_for_room(struct pf_puller *puller)
{
    if (pf_worker_stopping(&puller->worker) || pf_port_lost(puller->port))
        return -ECANCELED;
    int n = pf_progress(puller->port->lane, BUDGET);
    if (n == 0)
        sched_yield();
    return n < 0 ? n : 0;
}

static int post(struct pf_pull *piece)
{
    struct pf_puller *puller = piece->puller;
    const struct pf_arriving *arriving = &puller->arrival->list[piece->region];
    unsigned shift = arriving->region->page_shift;
    struct pf_remote_place place = pf_fetch_place(puller->fetch, piece->region, piece->run.first);
    struct pf_sge sge = {puller->mr, piece->memory, piece->run.pages << shift};
    int error;
    if (arriving->in_place) {
        sge.mr = arriving->alias_mrs[puller->port->rail];
        sge.addr = arriving->alias + (piece->run.first << shift);
    }
    puller->under_way++;
    piece->posted = true;
    if (puller->reading++ == 0)
        atomic_store(&puller->waits_since, pf_now_ns());
    pf_knock(&puller->knock, pf_now_ns());
    while ((error = pf_read(puller->port->endpoint, &sge, 1, place.address,
                            &place.extent->bulk[puller->port->rail], &piece->op)) == -EAGAIN) {
        error = wait_for_room(puller);
        if (error)
            return error;
    }
    return error;
}

/* Claim the next run, of one piece and one registration at most; 0 pages if there is none. */
static struct pf_run claim_next(struct pf_puller *puller)
{
    struct pf_background *cursor = &puller->background;
    size_t bytes = puller->allowed;
    for (unsigned tried = 0; puller->fetch->count && tried <= puller->fetch->count;) {
        struct pf_pageset *unsent = &puller->fetch->regions[cursor->region].unsent;
        unsigned shift = puller->arrival->list[cursor->region].region->page_shift;
        size_t most = bytes >> shift ? bytes >> shift : 1;
        struct pf_run run = pf_pageset_next_upto(unsent, cursor->page, most);
        if (run.pages == 0) {
            pf_background_next_region(cursor, puller->fetch->count);
            tried++;
            continue;
        }
        size_t covered = pf_fetch_place(puller->fetch, cursor->region, run.first).pages;
        run.pages = pf_pageset_claim(unsent, run.first, covered < most ? covered : most);
        cursor->page = run.first + (run.pages ? run.pages : 1);
        if (run.pages > 0)
            return run;
    }
    return (struct pf_run){0, 0};
}

/* Of the cursor's region, or nothing. */
static size_t bytes_of(const struct pf_puller *puller, struct pf_run run)
{
    if (run.pages == 0)
        return 0;
    return run.pages << puller->arrival->list[puller->background.region].region->page_shift;
}

/* Put one more read under way if the policy allows and something is left. 1, 0 or -errno. */
static int read_one(struct pf_puller *puller)
{
    struct pf_background *cursor = &puller->background;
    if (!puller->wanted || atomic_load(&puller->worker.status))
        return 0;
    pf_background_follow(cursor);
    if (pf_list_empty(&puller->free) || !pf_background_may_add(cursor, puller->under_way))
        return 0;
    puller->allowed = pf_rate_ask(&puller->rate, pf_background_bytes(cursor, puller->piece_bytes),
                                  puller->under_way == 0);
    if (puller->allowed == 0)
        return 0;
    struct pf_run run = claim_next(puller);
    pf_rate_used(&puller->rate, bytes_of(puller, run));
    if (run.pages == 0)
        return 0;
    struct pf_pull *piece = pf_container_of(pf_list_pop(&puller->free), struct pf_pull, link);
    piece->region = cursor->region;
    piece->run = run;
    int error = post(piece);
    return error ? error : 1;
}

static int read_all(struct pf_puller *puller)
{
    int posted = 0;
    int result;
    while ((result = read_one(puller)) > 0)
        posted++;
    return result < 0 ? result : posted;
}

/* ---- placing --------------------------------------------------------------------------------- */

static int place_piece(struct pf_pull *piece)
{
    struct pf_puller *puller = piece->puller;
    struct pf_counters *counters = puller->session->counters;
    const struct pf_arriving *arriving = &puller->arrival->list[piece->region];
    size_t page_size = pf_region_page_size(arriving->region);
    for (size_t done = 0; done < piece->run.pages;) {
        const char *from = piece->memory + done * page_size;
        bool zero = false;
        size_t pages = piece->run.pages;
        /* What lies in its file already is not looked at. */
        if (!arriving->in_place)
            pages = pf_same_kind(from, page_size, piece->run.pages - done, &zero);
        struct pf_placing placing = {
            .region = piece->region,
            .run = {piece->run.first + done, pages},
            .from = zero ? NULL : from,
        };
        int error = pf_arrival_place_gated(puller->arrival, &placing);
        if (error)
            return error;
        pf_count(zero ? &counters->zero_pages : &counters->normal_pages, pages);
        done += pages;
    }
    return 0;
}

/* Place one piece that is here. 1, 0 if there is none, or -errno. */
static int place_one(struct pf_puller *puller)
{
    struct pf_list *item = pf_list_pop(&puller->arrived);
    if (!item)
        return 0;
    int error = place_piece(pf_container_of(item, struct pf_pull, link));
    if (error)
        return error;
    pf_list_append(&puller->free, item);
    puller->under_way--;
    return 1;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* Reads go out before what is here is placed: the wire works meanwhile. */
static int look(struct pf_puller *puller)
{
    int events = pf_progress(puller->port->lane, BUDGET);
    int posted = events < 0 ? events : read_all(puller);
    if (posted < 0) {
        if (!pf_worker_stopping(&puller->worker))
            pf_port_lose(puller->port, posted);
        return 0;
    }
    int placed = place_one(puller);
    return placed < 0 ? placed : events + posted + placed;
}

/* The rail has broken: what was read is good, the others read what was not. */
static void drain(struct pf_puller *puller)
{
    pf_port_hang_up(puller->port);
    int placed;
    do
        placed = place_one(puller);
    while (placed > 0);
    /* Else the rail would never settle, and the pages of that piece never come. */
    if (placed < 0 && placed != -ECANCELED)
        pf_worker_fail(&puller->worker, placed, "pages could not be pulled");
    for (unsigned i = 0; i < puller->count; i++) {
        const struct pf_pull *piece = &puller->pulls[i];
        if (piece->posted)
            pf_pageset_add_run(&puller->fetch->regions[piece->region].unsent, piece->run);
    }
    atomic_store(&puller->drained, placed == 0);
    pf_session_wake(puller->session);
}

static void *puller_run(void *arg)
{
    struct pf_puller *puller = arg;
    while (!pf_worker_stopping(&puller->worker) && !pf_worker_failed(&puller->worker)) {
        pf_worker_heed(&puller->worker);
        int done = look(puller);
        if (pf_port_lost(puller->port)) {
            drain(puller);
            break;
        }
        if (done == -ECANCELED)
            break; /* asked to stop, or the fault thread has ended and says why */
        if (done < 0)
            pf_worker_fail(&puller->worker, done, "pages could not be pulled");
        else if (done > 0)
            pf_busy(&puller->idle);
        else
            pf_idle(&puller->idle, pf_rate_wait_ms(&puller->rate));
    }
    return NULL;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void measure(struct pf_puller *puller)
{
    const struct pf_options *options = puller->session->options;
    const struct pf_caps *caps = &puller->port->lane->device->caps;
    /* A host page is read whole. */
    size_t largest = pf_arrival_largest_copied(puller->arrival);
    size_t stage_size = pf_options_stage_size(options, largest);
    puller->piece_bytes = stage_size < PIECE_BYTES ? stage_size : PIECE_BYTES;
    if (puller->piece_bytes < largest)
        puller->piece_bytes = largest;
    size_t count = options->stages * stage_size / puller->piece_bytes;
    if (count > PF_PULLS_MAX)
        count = PF_PULLS_MAX;
    if (count < 2)
        count = 2;
    unsigned depth = caps->max_depth - 1; /* one is to knock */
    puller->count = count < depth ? (unsigned)count : depth;
    puller->memory_bytes = puller->count * puller->piece_bytes;
}

static void lay_out(struct pf_puller *puller)
{
    for (unsigned i = 0; i < puller->count; i++) {
        struct pf_pull *piece = &puller->pulls[i];
        piece->puller = puller;
        piece->op.done = piece_read;
        piece->memory = puller->memory + i * puller->piece_bytes;
        pf_list_append(&puller->free, &piece->link);
    }
}

int pf_puller_open(struct pf_puller *puller, struct pf_session *session, unsigned rail,
                   struct pf_fetch *fetch, bool wanted)
{
    *puller = (struct pf_puller){
        .session = session,
        .port = &session->rails[rail].bulk,
        .arrival = fetch->arrival,
        .fetch = fetch,
        .background = {.hint = &fetch->hint},
        .rate = {.rate = &session->rate, .limit = session->bandwidth},
        .wanted = wanted,
    };
    pf_list_init(&puller->free);
    pf_list_init(&puller->arrived);
    int error = pf_worker_init(&puller->worker, session, rail);
    if (error)
        return error;
    measure(puller);
    puller->pulls = calloc(puller->count, sizeof *puller->pulls);
    puller->memory = pf_map_locked(puller->memory_bytes, session->rails[rail].placement.node);
    if (!puller->pulls || !puller->memory)
        return pf_why(&session->why, -ENOMEM, "no memory for %u reads of %zu bytes", puller->count,
                      puller->piece_bytes);
    lay_out(puller);
    return pf_mr_reg(puller->port->lane->device, puller->memory, puller->memory_bytes,
                     PF_LOCAL_WRITE, &puller->mr, &session->why);
}

int pf_puller_start(struct pf_puller *puller)
{
    const struct pf_options *options = puller->session->options;
    pf_knock_init(&puller->knock, puller->port->endpoint);
    puller->idle = (struct pf_idle){
        .lanes = {puller->port->lane},
        .lane_count = 1,
        .fds = {puller->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
        .nap_most_ns = PF_IDLE_LONG_NAP_NS,
    };
    return pf_worker_start(&puller->worker, "pf-puller", puller_run, puller);
}

void pf_puller_close(struct pf_puller *puller)
{
    pf_worker_stop(&puller->worker);
    if (puller->mr)
        pf_mr_dereg(puller->mr);
    if (puller->memory)
        munmap(puller->memory, puller->memory_bytes);
    free(puller->pulls);
    memset(puller, 0, sizeof *puller);
}
