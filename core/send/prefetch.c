/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/prefetch.h"

#include "core/memory/locked.h"
#include "core/memory/zero.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_RAIL = 0 }; /* whose device the urgent lane is on */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- gathering ------------------------------------------------------------------------------- */

/* Memory of claimed pages as the device can send it: copied if it isn't registered. */
static struct pf_sge sendable(struct pf_tray_send *tray, const struct pf_source_region *source,
                              size_t first, size_t pages)
{
    size_t covered;
    struct pf_mr *mr = pf_source_memory_mr(source, FIRST_RAIL, first, &covered);
    size_t bytes = pages << source->region->page_shift;
    struct pf_sge sge = {mr, pf_region_page(source->region, first), bytes};
    if (mr && covered >= pages)
        return sge;
    uint8_t *copy = tray->bounce + tray->bounced;
    memcpy(copy, sge.addr, bytes);
    tray->bounced += bytes;
    return (struct pf_sge){tray->prefetch->mr, copy, bytes};
}

/*
 * Put it on the gather list. All that comes once only one entry is left on the list is copied, and
 * that entry holds all of the copies.
 */
static void add_to_tray(struct pf_tray_send *tray, struct pf_sge sge)
{
    struct pf_prefetch *prefetch = tray->prefetch;
    struct pf_sge *last = &tray->sges[tray->sge_count - 1];
    bool full = tray->sge_count + 1 >= pf_session_device(prefetch->session)->caps.max_gather;
    if (full && sge.mr != prefetch->mr) {
        uint8_t *copy = tray->bounce + tray->bounced;
        memcpy(copy, sge.addr, sge.len);
        tray->bounced += sge.len;
        sge = (struct pf_sge){prefetch->mr, copy, sge.len};
    }
    if (last->mr == prefetch->mr && last->addr && (char *)last->addr + last->len == sge.addr)
        last->len += sge.len;
    else
        tray->sges[tray->sge_count++] = sge;
}

/* Or write it to its place, before the tray. */
static void add_write(struct pf_tray_send *tray, struct pf_sge sge,
                      const struct pf_landing *landing, size_t at)
{
    struct pf_tray_write *write = &tray->writes[tray->write_count++];
    write->sge = sge;
    write->remote = landing->addr + at;
    write->key = &landing->urgent;
}

static void add_memory(struct pf_tray_send *tray, unsigned region, struct pf_run run)
{
    const struct pf_source_region *source = &tray->prefetch->memory->regions[region];
    const struct pf_landing *landing = &tray->prefetch->landings[region];
    struct pf_sge sge = sendable(tray, source, run.first, run.pages);
    tray->bytes += sge.len;
    if (landing->in_place)
        add_write(tray, sge, landing, run.first << source->region->page_shift);
    else
        add_to_tray(tray, sge);
}

static bool is_full(const struct pf_tray_send *tray)
{
    return tray->run_count == PF_TRAY_RUNS_MAX || tray->write_count == PF_TRAY_WRITES_MAX;
}

/*
 * Claim what is unsent of the pages from `first` up to `end`, and add it. They are looked at before
 * they are claimed: nothing claimed is ever put back.
 */
static void add_pages(struct pf_tray_send *tray, unsigned region, size_t first, size_t end)
{
    struct pf_counters *counters = tray->prefetch->session->counters;
    struct pf_source_region *source = &tray->prefetch->memory->regions[region];
    size_t size = pf_region_page_size(source->region);
    while (first < end && !is_full(tray)) {
        bool zero;
        struct pf_run run = pf_pageset_next_within(
            &source->unsent, (struct pf_run){first, end - first}, end - first);
        if (run.pages == 0)
            return;
        run.pages = pf_same_kind(pf_region_page(source->region, run.first), size, run.pages, &zero);
        run.pages = pf_pageset_claim(&source->unsent, run.first, run.pages);
        first = run.first + (run.pages ? run.pages : 1);
        if (run.pages == 0)
            continue;
        tray->runs[tray->run_count++] = (struct pf_stage_run){
            .region = region,
            .pages = (uint32_t)run.pages,
            .first = run.first,
            .zero = zero,
        };
        if (!zero)
            add_memory(tray, region, run);
        pf_count(zero ? &counters->zero_pages : &counters->normal_pages, run.pages);
    }
}

/* A guess is as long as a tray at most, so all of it fits. */
static void gather(struct pf_tray_send *tray, unsigned region, const struct pf_guess *guess)
{
    tray->run_count = tray->write_count = tray->written = 0;
    tray->sge_count = 1;
    tray->sges[0] = (struct pf_sge){.mr = NULL};
    tray->bytes = tray->bounced = 0;
    if (guess->stride == 1) {
        add_pages(tray, region, guess->first, guess->first + guess->pages);
    } else if (guess->stride == -1) {
        add_pages(tray, region, guess->first + 1 - guess->pages, guess->first + 1);
    } else {
        size_t page = guess->first;
        for (size_t i = 0; i < guess->pages; i++, page += (size_t)guess->stride)
            add_pages(tray, region, page, page + 1);
    }
}

/* ---- posting --------------------------------------------------------------------------------- */

static void finish_header(struct pf_tray_send *tray)
{
    struct pf_counters *counters = tray->prefetch->session->counters;
    size_t length = pf_tray_header_bytes(tray->run_count);
    uint8_t *header = tray->header + PF_STAGE_PAGES - length;
    struct pf_wire wire = pf_wire_over(header, length);
    pf_put_u64(&wire, pf_count_get(&counters->prefetch_useful_pages));
    pf_put_u64(&wire, pf_count_get(&counters->prefetch_useless_pages));
    for (unsigned i = 0; i < tray->run_count; i++)
        pf_stage_run_pack(&tray->runs[i], wire.at + (size_t)i * PF_RUN_BYTES);
    tray->sges[0] = (struct pf_sge){tray->prefetch->mr, header, length};
}

static int post_tray(struct pf_tray_send *tray)
{
    struct pf_prefetch *prefetch = tray->prefetch;
    uint64_t remote = prefetch->trays_addr +
                      tray->index * (uint64_t)(PF_STAGE_PAGES + prefetch->tray_size) +
                      PF_STAGE_PAGES - tray->sges[0].len;
    struct pf_tray_imm imm = {
        .tray = (uint8_t)tray->index,
        .runs = (uint8_t)tray->run_count,
        .generation = tray->generation,
    };
    return pf_write_imm(prefetch->session->urgent.endpoint, tray->sges, tray->sge_count, remote,
                        &prefetch->trays_key, pf_tray_to_imm(imm), &tray->op);
}

/* What goes to its place first, then the tray: regions are in place only where that order holds. */
static void post(struct pf_tray_send *tray)
{
    struct pf_prefetch *prefetch = tray->prefetch;
    int error = 0;
    while (!error && tray->written < tray->write_count) {
        struct pf_tray_write *write = &tray->writes[tray->written];
        error = pf_write(prefetch->session->urgent.endpoint, &write->sge, 1, write->remote,
                         write->key, &write->op);
        tray->written += !error;
    }
    if (!error)
        error = post_tray(tray);
    if (!error)
        tray->generation++;
    else if (error == -EAGAIN)
        pf_list_append(&prefetch->unposted, &tray->link);
    else
        pf_worker_fail(prefetch->worker, error, "cannot send the neighbours of a page");
}

static void settle(struct pf_tray_send *tray, int status)
{
    if (--tray->posted == 0)
        pf_source_memory_leave(tray->prefetch->memory, tray->reader);
    if (status && status != -ECANCELED)
        pf_worker_fail(tray->prefetch->worker, status, "the neighbours of a page were not sent");
}

static void tray_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    settle(pf_container_of(op, struct pf_tray_send, op), status);
}

static void write_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    settle(pf_container_of(op, struct pf_tray_write, op)->tray, status);
}

/* What the guess has unsent goes out in this tray. Returns the number of pages. */
static size_t send_guess(struct pf_tray_send *tray, unsigned region, const struct pf_guess *guess)
{
    struct pf_counters *counters = tray->prefetch->session->counters;
    size_t pages = 0;
    tray->reader = pf_source_memory_enter(tray->prefetch->memory);
    gather(tray, region, guess);
    if (tray->run_count == 0) {
        pf_source_memory_leave(tray->prefetch->memory, tray->reader);
        return 0;
    }
    for (unsigned i = 0; i < tray->run_count; i++)
        pages += tray->runs[i].pages;
    finish_header(tray);
    pf_count(&counters->prefetched_pages, pages);
    pf_count(&counters->sent_bytes, tray->bytes);
    tray->granted = false;
    tray->posted = tray->write_count + 1;
    post(tray);
    return pages;
}

/* ---- learning -------------------------------------------------------------------------------- */

bool pf_prefetch_grant(struct pf_prefetch *prefetch, uint16_t trays)
{
    if (trays >> prefetch->trays)
        return false;
    for (unsigned i = 0; i < prefetch->trays; i++) {
        struct pf_tray_send *tray = &prefetch->sends[i];
        if (!(trays >> i & 1))
            continue;
        if (tray->granted)
            return false;
        tray->granted = true;
    }
    return true;
}

void pf_prefetch_note(struct pf_prefetch *prefetch, const struct pf_page_request *request)
{
    if (!prefetch->predictors || prefetch->predictors[request->region].most == 0)
        return;
    prefetch->notes[prefetch->note_next++ % PF_NOTES_MAX] = *request;
    if (prefetch->note_count < PF_NOTES_MAX)
        prefetch->note_count++;
}

static struct pf_tray_send *free_tray(struct pf_prefetch *prefetch)
{
    for (unsigned i = 0; i < prefetch->trays; i++)
        if (prefetch->sends[i].granted && prefetch->sends[i].posted == 0)
            return &prefetch->sends[i];
    return NULL;
}

static void learn(struct pf_prefetch *prefetch, const struct pf_page_request *request)
{
    struct pf_counters *counters = prefetch->session->counters;
    struct pf_predictor *predictor = &prefetch->predictors[request->region];
    uint64_t useful = predictor->useful;
    uint64_t useless = predictor->useless;
    struct pf_guess guess = pf_predictor_see(predictor, request->page);
    pf_count(&counters->prefetch_useful_pages, predictor->useful - useful);
    pf_count(&counters->prefetch_useless_pages, predictor->useless - useless);
    struct pf_tray_send *tray = guess.pages > 0 ? free_tray(prefetch) : NULL;
    if (tray)
        pf_predictor_sent(predictor, &guess, send_guess(tray, request->region, &guess));
}

unsigned pf_prefetch_advance(struct pf_prefetch *prefetch)
{
    unsigned done = 0;
    if (!pf_list_empty(&prefetch->unposted)) {
        /* In order: a tray that finds the queue full again goes to the end, as the only one. */
        struct pf_list *item = pf_list_pop(&prefetch->unposted);
        post(pf_container_of(item, struct pf_tray_send, link));
    }
    if (prefetch->note_count > 0) {
        unsigned oldest = prefetch->note_next - prefetch->note_count--;
        learn(prefetch, &prefetch->notes[oldest % PF_NOTES_MAX]);
        done++;
    }
    return done;
}

void pf_prefetch_end(struct pf_prefetch *prefetch)
{
    uint64_t useless = 0;
    if (!prefetch->predictors)
        return; /* also if it was never opened */
    for (unsigned i = 0; i < prefetch->memory->count; i++) {
        pf_predictor_end(&prefetch->predictors[i]);
        useless += prefetch->predictors[i].useless;
    }
    pf_count_set(&prefetch->session->counters->prefetch_useless_pages, useless);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void lay_out(struct pf_prefetch *prefetch)
{
    uint8_t *at = prefetch->buffers;
    for (unsigned i = 0; i < prefetch->trays; i++) {
        struct pf_tray_send *tray = &prefetch->sends[i];
        tray->prefetch = prefetch;
        tray->index = i;
        tray->op.done = tray_done;
        for (unsigned write = 0; write < PF_TRAY_WRITES_MAX; write++) {
            tray->writes[write].tray = tray;
            tray->writes[write].op.done = write_done;
        }
        tray->header = at;
        tray->bounce = at + PF_STAGE_PAGES;
        at += PF_STAGE_PAGES + prefetch->tray_size;
    }
}

int pf_prefetch_open(struct pf_prefetch *prefetch, struct pf_session *session,
                     struct pf_worker *worker, unsigned trays, size_t tray_size)
{
    *prefetch = (struct pf_prefetch){
        .session = session,
        .worker = worker,
        .trays = trays,
        .tray_size = tray_size,
    };
    pf_list_init(&prefetch->unposted);
    if (trays == 0)
        return 0;
    prefetch->buffer_bytes = trays * (PF_STAGE_PAGES + tray_size);
    prefetch->sends = calloc(trays, sizeof *prefetch->sends);
    void *buffers = pf_map_near(prefetch->buffer_bytes, pf_session_node(session));
    if (buffers != MAP_FAILED)
        prefetch->buffers = buffers;
    if (!prefetch->sends || !prefetch->buffers)
        return pf_why(&session->why, -ENOMEM, "no memory for %u trays", trays);
    lay_out(prefetch);
    return pf_mr_reg(pf_session_device(session), buffers, prefetch->buffer_bytes, PF_LOCAL_READ,
                     &prefetch->mr, &session->why);
}

void pf_prefetch_aim(struct pf_prefetch *prefetch, uint64_t addr, const struct pf_rkey *key)
{
    prefetch->trays_addr = addr;
    prefetch->trays_key = *key;
}

int pf_prefetch_start(struct pf_prefetch *prefetch, struct pf_source_memory *memory,
                      const struct pf_landing *landings)
{
    const struct pf_options *options = prefetch->session->options;
    if (prefetch->trays == 0 || !options->prefetch)
        return 0;
    size_t most = least(prefetch->tray_size, options->prefetch_window);
    prefetch->memory = memory;
    prefetch->landings = landings;
    prefetch->predictors = calloc(memory->count ? memory->count : 1, sizeof *prefetch->predictors);
    if (!prefetch->predictors)
        return pf_why(&prefetch->session->why, -ENOMEM, "no memory for the request history");
    for (unsigned i = 0; i < memory->count; i++) {
        const struct pf_region *region = memory->regions[i].region;
        pf_predictor_init(&prefetch->predictors[i], pf_region_pages(region),
                          least(most >> region->page_shift, PF_TRAY_RUNS_MAX));
    }
    return 0;
}

void pf_prefetch_close(struct pf_prefetch *prefetch)
{
    if (prefetch->mr)
        pf_mr_dereg(prefetch->mr);
    if (prefetch->buffers)
        munmap(prefetch->buffers, prefetch->buffer_bytes);
    free(prefetch->sends);
    free(prefetch->predictors);
    *prefetch = (struct pf_prefetch){.trays = 0};
}
