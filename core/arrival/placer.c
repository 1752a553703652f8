/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/placer.h"

#include "core/arrival/apply.h"
#include "core/memory/locked.h"
#include "pageferry.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BUDGET = 8,
    RECEIVE_BYTES = 32,
    CREDIT_BYTES = 32,
    PIECE_BYTES = 64 << 10,
    IN_PLACE_PIECE_BYTES = 1 << 20, /* mapping costs less than copying */
};

static void fail(struct pf_placer *placer, int status, const char *what)
{
    pf_worker_fail(&placer->worker, status, what);
}

/* ---- placing a stage ------------------------------------------------------------------------- */

/* The number of events. */
static int move_along(struct pf_placer *placer)
{
    int n = pf_progress(placer->port->lane, BUDGET);
    if (n < 0)
        pf_port_lose(placer->port, n);
    return n;
}

static const struct pf_arriving *region_of(const struct pf_placer *placer,
                                           const struct pf_stage_run *run)
{
    return &placer->arrival->list[run->region];
}

/* Bytes of data that came with a run, in the stage or in place. */
static size_t data_bytes(const struct pf_placer *placer, const struct pf_stage_run *run)
{
    const struct pf_arriving *arriving = region_of(placer, run);
    if (run->zero)
        return 0;
    if (run->in_parts)
        return pf_assembly_run_bytes(&placer->assembly, pf_region_page_size(arriving->region), run);
    return (size_t)run->pages << arriving->region->page_shift;
}

/* Bytes of a run that are in the stage. */
static size_t staged_bytes(const struct pf_placer *placer, const struct pf_stage_run *run)
{
    return region_of(placer, run)->in_place ? 0 : data_bytes(placer, run);
}

/* Check a run against the region it names and against what is left of the stage's data. */
static bool run_fits(const struct pf_placer *placer, const struct pf_stage_run *run, size_t left)
{
    if (!run->in_parts)
        return pf_arrival_fits(placer->arrival, run, left);
    return run->region < placer->arrival->count &&
           run->first < pf_region_pages(region_of(placer, run)->region) &&
           staged_bytes(placer, run) <= left;
}

/*
 * Place one run, moving the lane along between pieces: where the source's writes land only when
 * this thread looks (tcp, shm) it would stand still while a whole stage is being placed.
 */
static int place_run(struct pf_placer *placer, const struct pf_placing *run)
{
    unsigned shift = placer->arrival->list[run->region].region->page_shift;
    bool in_place = placer->arrival->list[run->region].in_place;
    size_t step = (size_t)(in_place ? IN_PLACE_PIECE_BYTES : PIECE_BYTES) >> shift;
    if (step == 0)
        step = 1;
    for (size_t done = 0; done < run->run.pages; done += step) {
        size_t left = run->run.pages - done;
        struct pf_placing piece = {
            .region = run->region,
            .run = {run->run.first + done, left < step ? left : step},
            .from = run->from ? run->from + (done << shift) : NULL,
        };
        if (pf_worker_stopping(&placer->worker))
            return -ECANCELED;
        int error = pf_arrival_place_gated(placer->arrival, &piece);
        if (error)
            return error;
        if (left > step)
            move_along(placer);
    }
    return 0;
}

/* Take a run whose data, if any, is at `data`. */
static int take_run(struct pf_placer *placer, const struct pf_stage_run *run, const char *data)
{
    const struct pf_arriving *arriving = region_of(placer, run);
    struct pf_placing placing = {
        .region = run->region,
        .run = {(size_t)run->first, run->pages},
        .from = run->zero            ? NULL
                : arriving->in_place ? arriving->alias
                                     : data,
    };
    if (run->in_parts) {
        int whole = pf_assembly_take(&placer->assembly, arriving, run, data, &placing);
        if (whole <= 0)
            return whole;
    }
    struct pf_counters *counters = placer->session->counters;
    pf_count(placing.from ? &counters->normal_pages : &counters->zero_pages, placing.run.pages);
    return place_run(placer, &placing);
}

/* Place or apply one run. The bytes of the stage that it took, or -errno. */
static int64_t use_run(struct pf_placer *placer, const struct pf_stage_run *run, const char *data,
                       size_t left)
{
    if (pf_applies(placer->arrival))
        return pf_apply_run(placer->arrival, &placer->unpacker, run, placer->stage_size, data,
                            left);
    if (!run_fits(placer, run, left))
        return -EPROTO;
    size_t staged = staged_bytes(placer, run);
    pf_count(&placer->session->rails[placer->port->rail].bytes, data_bytes(placer, run));
    int error = take_run(placer, run, data);
    return error ? error : (int64_t)staged;
}

static int place_runs(struct pf_incoming *stage)
{
    struct pf_placer *placer = stage->placer;
    const char *pages = (const char *)stage->memory + PF_STAGE_PAGES;
    const uint8_t *header = stage->memory + pf_stage_header_at(stage->imm.runs);
    size_t used = 0;
    for (unsigned i = 0; i < stage->imm.runs; i++) {
        struct pf_stage_run run;
        /* Unpacked into our own memory first: the source could still write to the stage. */
        pf_stage_run_unpack(header + (size_t)i * PF_RUN_BYTES, &run);
        int64_t taken = use_run(placer, &run, pages + used, placer->stage_size - used);
        if (taken < 0)
            return (int)taken;
        used += (size_t)taken;
    }
    return pf_unpacker_wait(&placer->unpacker);
}

/* ---- credits --------------------------------------------------------------------------------- */

static void credit_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_incoming *stage = pf_container_of(op, struct pf_incoming, op);
    stage->sending = false;
    if (status && status != -ECANCELED)
        pf_port_lose(stage->placer->port, status);
}

/* Drive the lane until the credit of the stage's last filling has left and one more fits. */
static int wait_for_room(struct pf_placer *placer)
{
    if (pf_worker_stopping(&placer->worker) || pf_port_lost(placer->port))
        return -ECANCELED;
    int n = pf_progress(placer->port->lane, BUDGET);
    if (n == 0)
        sched_yield();
    return n < 0 ? n : 0;
}

static int send_credit(struct pf_incoming *stage, uint16_t generation)
{
    struct pf_placer *placer = stage->placer;
    while (stage->sending) {
        int error = wait_for_room(placer);
        if (error)
            return error;
    }
    struct pf_wire wire = pf_wire_over(stage->credit, PF_CREDIT_BYTES);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u16(&wire, (uint16_t)stage->index);
    pf_put_u16(&wire, generation);
    struct pf_sge sge = {placer->buffers_mr, stage->credit, PF_CREDIT_BYTES};
    int error;
    while ((error = pf_send(placer->port->endpoint, &sge, 1, &stage->op)) == -EAGAIN) {
        error = wait_for_room(placer);
        if (error)
            return error;
    }
    stage->sending = error == 0;
    return error;
}

/* The filling is placed, whether the source hears it this way or, of a broken rail, another. */
static void give_credit(struct pf_incoming *stage)
{
    uint16_t placed = stage->generation;
    stage->generation = (stage->generation + 1) & PF_STAGE_GENERATION_MASK;
    stage->parts = 0;
    int error = pf_port_lost(stage->placer->port) ? 0 : send_credit(stage, placed);
    if (error && error != -ECANCELED)
        pf_port_lose(stage->placer->port, error);
}

/* ---- what arrives ---------------------------------------------------------------------------- */

static int take_part(struct pf_placer *placer, uint32_t bits)
{
    struct pf_stage_imm imm = pf_stage_from_imm(bits);
    if (imm.stage >= placer->stages || imm.parts == 0 || imm.runs == 0 ||
        imm.runs > PF_STAGE_RUNS_MAX)
        return -EPROTO;
    struct pf_incoming *stage = &placer->incoming[imm.stage];
    if (imm.generation != stage->generation || stage->parts >= imm.parts ||
        (stage->parts > 0 && pf_stage_to_imm(imm) != pf_stage_to_imm(stage->imm)))
        return -EPROTO;
    stage->imm = imm;
    if (++stage->parts == imm.parts)
        pf_list_append(&placer->complete, &stage->link);
    return 0;
}

static int post_receive(struct pf_part_receive *receive)
{
    struct pf_sge sge = {receive->placer->buffers_mr, receive->bytes, RECEIVE_BYTES};
    return pf_recv(receive->placer->port->endpoint, &sge, &receive->op);
}

static void part_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_part_receive *receive = pf_container_of(op, struct pf_part_receive, op);
    struct pf_placer *placer = receive->placer;
    if (status) {
        if (status != -ECANCELED)
            pf_port_lose(placer->port, status);
        return;
    }
    int error = op->has_imm ? take_part(placer, op->imm) : -EPROTO;
    if (error)
        fail(placer, error, "the source filled a stage it has no credit for");
    else if (placer->port->endpoint && (error = post_receive(receive)))
        pf_port_lose(placer->port, error);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* Place one complete stage. 1, 0 if there is none, or -errno. */
static int place_one(struct pf_placer *placer)
{
    struct pf_list *item = pf_list_pop(&placer->complete);
    if (!item)
        return 0;
    struct pf_incoming *stage = pf_container_of(item, struct pf_incoming, link);
    int error = place_runs(stage);
    if (error == -ECANCELED)
        return error; /* asked to stop, or the fault thread has ended and says why */
    if (error) {
        if (error == -EPROTO && pf_applies(placer->arrival))
            pf_why(&placer->worker.why, error,
                   "a stage is spoilt: its pages are not what its header says, or can't be "
                   "decompressed, so they were not used");
        fail(placer, error, "the pages of a stage could not be placed");
        return error;
    }
    give_credit(stage);
    return 1;
}

/*
 * The rail has broken. What is in its stages whole is good. It is the control thread that closes
 * the endpoint, before others carry the rest: it may be making keys for it just now.
 */
static void drain(struct pf_placer *placer)
{
    int placed;
    do
        placed = place_one(placer);
    while (placed > 0);
    atomic_store(&placer->drained, placed == 0);
    pf_session_wake(placer->session);
}

static void *placer_run(void *arg)
{
    struct pf_placer *placer = arg;
    while (!pf_worker_stopping(&placer->worker) && !pf_worker_failed(&placer->worker)) {
        int events = move_along(placer);
        if (pf_port_lost(placer->port)) {
            drain(placer);
            break;
        }
        int placed = place_one(placer);
        if (placed < 0)
            break;
        if (events > 0 || placed > 0)
            pf_busy(&placer->idle);
        else
            pf_idle(&placer->idle, -1);
    }
    return NULL;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void lay_out(struct pf_placer *placer)
{
    uint8_t *at = placer->buffers;
    for (unsigned i = 0; i < placer->stages; i++, at += CREDIT_BYTES) {
        struct pf_incoming *stage = &placer->incoming[i];
        stage->placer = placer;
        stage->index = i;
        stage->op.done = credit_done;
        stage->memory = placer->memory + i * (PF_STAGE_PAGES + placer->stage_size);
        stage->credit = at;
        pf_list_init(&stage->link);
    }
    for (unsigned i = 0; i < placer->receive_count; i++, at += RECEIVE_BYTES) {
        placer->receives[i].placer = placer;
        placer->receives[i].op.done = part_done;
        placer->receives[i].bytes = at;
    }
}

static size_t stage_size(const struct pf_placer *placer, const struct pf_caps *caps)
{
    size_t wanted =
        pf_options_stage_size(placer->session->options, pf_arrival_largest_copied(placer->arrival));
    size_t longest = (caps->max_message - PF_STAGE_PAGES) & ~(size_t)(PF_PAGE_SIZE - 1);
    return wanted < longest ? wanted : longest;
}

int pf_placer_open(struct pf_placer *placer, struct pf_session *session, unsigned rail,
                   struct pf_arrival *arrival, struct pf_squeeze_pool *pool)
{
    struct pf_device *device = session->rails[rail].device;
    const struct pf_caps *caps = &device->caps;
    memset(placer, 0, sizeof *placer);
    placer->session = session;
    placer->port = &session->rails[rail].bulk;
    placer->arrival = arrival;
    placer->stages = session->options->stages;
    placer->stage_size = stage_size(placer, caps);
    pf_list_init(&placer->complete);
    pf_unpacker_init(&placer->unpacker, pool);
    int error = pf_worker_init(&placer->worker, session, rail);
    if (error)
        return error;
    /* Where each part has an immediate, each needs a receive. */
    placer->receive_count = placer->stages * (caps->ordered_writes ? 1 : PF_STAGE_PARTS_MAX);
    placer->memory_bytes = placer->stages * (PF_STAGE_PAGES + placer->stage_size);
    placer->buffer_bytes =
        placer->stages * (size_t)CREDIT_BYTES + placer->receive_count * (size_t)RECEIVE_BYTES;
    placer->incoming = calloc(placer->stages, sizeof *placer->incoming);
    placer->receives = calloc(placer->receive_count, sizeof *placer->receives);
    placer->memory = pf_map_locked(placer->memory_bytes, session->rails[rail].placement.node);
    placer->buffers = pf_map_locked(placer->buffer_bytes, session->rails[rail].placement.node);
    if (!placer->incoming || !placer->receives || !placer->memory || !placer->buffers ||
        pf_assembly_open(&placer->assembly, pf_arrival_largest_copied(arrival), placer->stage_size))
        return pf_why(&session->why, -ENOMEM, "no memory for %u stages", placer->stages);
    lay_out(placer);
    error = pf_mr_reg(device, placer->memory, placer->memory_bytes, PF_REMOTE_WRITE,
                      &placer->memory_mr, &session->why);
    return error ? error
                 : pf_mr_reg(device, placer->buffers, placer->buffer_bytes, PF_LOCAL_WRITE,
                             &placer->buffers_mr, &session->why);
}

int pf_placer_post_receives(struct pf_placer *placer)
{
    for (unsigned i = 0; i < placer->receive_count; i++) {
        int error = post_receive(&placer->receives[i]);
        if (error)
            return pf_why(&placer->session->why, error, "cannot post receives for stages: %s",
                          ferry_strerror(error));
    }
    return 0;
}

int pf_placer_start(struct pf_placer *placer)
{
    const struct pf_options *options = placer->session->options;
    placer->idle = (struct pf_idle){
        .lanes = {placer->port->lane},
        .lane_count = 1,
        .fds = {placer->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
        .nap_most_ns = PF_IDLE_LONG_NAP_NS,
    };
    return pf_worker_start(&placer->worker, "pf-placer", placer_run, placer);
}

void pf_placer_report(const struct pf_placer *placer, struct pf_wire *due)
{
    for (unsigned i = 0; i < placer->stages; i++)
        pf_put_u16(due, placer->incoming[i].generation);
}

void pf_placer_close(struct pf_placer *placer)
{
    pf_worker_stop(&placer->worker);
    pf_unpacker_close(&placer->unpacker);
    if (placer->memory_mr)
        pf_mr_dereg(placer->memory_mr);
    if (placer->buffers_mr)
        pf_mr_dereg(placer->buffers_mr);
    if (placer->memory)
        munmap(placer->memory, placer->memory_bytes);
    if (placer->buffers)
        munmap(placer->buffers, placer->buffer_bytes);
    pf_assembly_close(&placer->assembly);
    free(placer->incoming);
    free(placer->receives);
    memset(placer, 0, sizeof *placer);
}
