/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/trays.h"

#include "core/memory/locked.h"

#include <string.h>
#include <sys/mman.h>

/* One step of placing: full UFFDIO_COPY bandwidth, and about 11 us. */
enum { STEP_BYTES = 64 * 1024 };

/* ---- granting and taking --------------------------------------------------------------------- */

void pf_trays_granted(struct pf_trays *trays)
{
    for (unsigned i = 0; i < trays->count && trays->free_bits; i++)
        if (trays->free_bits >> i & 1)
            trays->list[i].state = PF_TRAY_GRANTED;
    trays->free_bits = 0;
}

int pf_trays_take(struct pf_trays *trays, uint32_t bits)
{
    struct pf_tray_imm imm = pf_tray_from_imm(bits);
    if (imm.tray >= trays->count || imm.runs == 0)
        return -EPROTO;
    struct pf_tray *tray = &trays->list[imm.tray];
    if (tray->state != PF_TRAY_GRANTED || imm.generation != tray->generation)
        return -EPROTO;
    tray->state = PF_TRAY_FULL;
    tray->generation++;
    tray->imm = imm;
    tray->runs_done = 0;
    tray->used = 0;
    tray->placing.run.pages = 0;
    pf_list_append(&trays->full, &tray->link);
    return 0;
}

/* ---- placing --------------------------------------------------------------------------------- */

static const uint8_t *header_of(const struct pf_tray *tray)
{
    return tray->memory + PF_STAGE_PAGES - pf_tray_header_bytes(tray->imm.runs);
}

/* What the source says of the usefulness of all it has sent so far. */
static void take_verdict(struct pf_trays *trays, const struct pf_tray *tray)
{
    uint8_t copy[PF_TRAY_VERDICT_BYTES];
    struct pf_counters *counters = trays->session->counters;
    memcpy(copy, header_of(tray), sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    pf_count_set(&counters->prefetch_useful_pages, pf_get_u64(&wire));
    pf_count_set(&counters->prefetch_useless_pages, pf_get_u64(&wire));
}

static int next_run(struct pf_trays *trays, struct pf_tray *tray)
{
    struct pf_counters *counters = trays->session->counters;
    struct pf_stage_run run;
    const uint8_t *runs = header_of(tray) + PF_TRAY_VERDICT_BYTES;
    /* Unpacked into our own memory first: the source could still write to the tray. */
    pf_stage_run_unpack(runs + (size_t)tray->runs_done++ * PF_RUN_BYTES, &run);
    if (!pf_arrival_fits(trays->arrival, &run, trays->size - tray->used))
        return -EPROTO;
    const struct pf_arriving *arriving = &trays->arrival->list[run.region];
    tray->placing = (struct pf_placing){
        .region = run.region,
        .run = {run.first, run.pages},
        .from = run.zero             ? NULL
                : arriving->in_place ? arriving->alias
                                     : (const char *)tray->memory + PF_STAGE_PAGES + tray->used,
    };
    if (!run.zero && !arriving->in_place)
        tray->used += (size_t)run.pages << arriving->region->page_shift;
    pf_count(run.zero ? &counters->zero_pages : &counters->normal_pages, run.pages);
    pf_count(&counters->prefetched_pages, run.pages);
    return 0;
}

/* Place at most so many bytes of the run at hand; *bytes gets what is left of the step. */
static int place_piece(struct pf_trays *trays, struct pf_tray *tray, size_t *bytes)
{
    unsigned shift = trays->arrival->list[tray->placing.region].region->page_shift;
    size_t most = *bytes >> shift ? *bytes >> shift : 1;
    struct pf_placing piece = tray->placing;
    if (piece.run.pages > most)
        piece.run.pages = most;
    size_t before = piece.run.first;
    int error = pf_arrival_place(trays->arrival, &piece);
    size_t done = piece.run.first - before;
    tray->placing.run.first += done;
    tray->placing.run.pages -= done;
    tray->placing.from = tray->placing.from ? tray->placing.from + (done << shift) : NULL;
    *bytes -= done << shift < *bytes ? done << shift : *bytes;
    return error;
}

static int place_step(struct pf_trays *trays, struct pf_tray *tray)
{
    size_t bytes = STEP_BYTES;
    while (bytes > 0 && (tray->placing.run.pages > 0 || tray->runs_done < tray->imm.runs)) {
        int error = tray->placing.run.pages > 0 ? 0 : next_run(trays, tray);
        if (!error)
            error = place_piece(trays, tray, &bytes);
        if (error)
            return error;
    }
    return 0;
}

int pf_trays_advance(struct pf_trays *trays)
{
    if (pf_list_empty(&trays->full))
        return 0;
    struct pf_tray *tray = pf_container_of(trays->full.next, struct pf_tray, link);
    if (tray->runs_done == 0)
        take_verdict(trays, tray);
    int error = place_step(trays, tray);
    /* The event may have been read and its thread not have gone on yet: nothing tells of that. */
    if (error)
        return error == -EAGAIN ? 1 : error;
    if (tray->placing.run.pages == 0 && tray->runs_done == tray->imm.runs) {
        pf_list_remove(&tray->link);
        tray->state = PF_TRAY_FREE;
        trays->free_bits |= (uint16_t)(1u << tray->imm.tray);
    }
    return 1;
}

/* ---- setting up ------------------------------------------------------------------------------ */

int pf_trays_open(struct pf_trays *trays, struct pf_session *session, struct pf_arrival *arrival)
{
    memset(trays, 0, sizeof *trays);
    trays->session = session;
    trays->arrival = arrival;
    pf_list_init(&trays->full);
    if (!session->options->prefetch || session->pull)
        return 0;
    trays->size = session->options->prefetch_window;
    trays->memory_bytes = PF_TRAYS * (PF_STAGE_PAGES + trays->size);
    trays->memory = pf_map_locked(trays->memory_bytes, pf_session_node(session));
    if (!trays->memory)
        return pf_why(&session->why, -ENOMEM, "no memory for %d trays", PF_TRAYS);
    trays->count = PF_TRAYS;
    for (unsigned i = 0; i < trays->count; i++) {
        trays->list[i].memory = trays->memory + i * (PF_STAGE_PAGES + trays->size);
        trays->free_bits |= (uint16_t)(1u << i);
    }
    return pf_mr_reg(pf_session_device(session), trays->memory, trays->memory_bytes,
                     PF_REMOTE_WRITE, &trays->mr, &session->why);
}

void pf_trays_close(struct pf_trays *trays)
{
    if (trays->mr)
        pf_mr_dereg(trays->mr);
    if (trays->memory)
        munmap(trays->memory, trays->memory_bytes);
    memset(trays, 0, sizeof *trays);
}
