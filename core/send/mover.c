/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/mover.h"

#include "base/clock.h"
#include "core/memory/locked.h"
#include "core/send/gather.h"
#include "pageferry.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BUDGET = 32,
    CREDIT_RECEIVE_BYTES = 32,
};

/* ---- posting --------------------------------------------------------------------------------- */

static void finish_header(struct pf_outgoing *stage)
{
    struct pf_batch *batch = &stage->batch;
    uint8_t *header = stage->header + pf_stage_header_at(batch->run_count);
    for (unsigned i = 0; i < batch->run_count; i++)
        pf_stage_run_pack(&batch->runs[i], header + (size_t)i * PF_RUN_BYTES);
    batch->sges[0] = (struct pf_sge){
        .mr = stage->mover->mr,
        .addr = header,
        .len = (size_t)batch->run_count * PF_RUN_BYTES,
    };
}

/* Once placed, and no part of it is under way: its pages are not read here any more. */
static void settle(struct pf_outgoing *stage)
{
    if (!stage->reading || !stage->credit || stage->posted > 0)
        return;
    stage->reading = false;
    pf_source_memory_leave(stage->mover->memory, stage->reader);
}

static void part_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_part *part = pf_container_of(op, struct pf_part, op);
    part->stage->posted--;
    settle(part->stage);
    if (status && status != -ECANCELED)
        pf_port_lose(part->stage->mover->port, status);
}

static int post_part(struct pf_outgoing *stage, unsigned part, unsigned parts, unsigned count,
                     uint64_t remote)
{
    struct pf_mover *mover = stage->mover;
    struct pf_endpoint *endpoint = mover->port->endpoint;
    const struct pf_sge *sges = &stage->batch.sges[(size_t)part * mover->gather];
    bool ordered = mover->port->lane->device->caps.ordered_writes;
    struct pf_stage_imm imm = {
        .stage = (uint8_t)stage->index,
        .parts = (uint8_t)(ordered ? 1 : parts),
        .generation = stage->generation,
        .runs = (uint16_t)stage->batch.run_count,
    };
    struct pf_op *op = &stage->parts[part].op;
    if (ordered && part + 1 < parts)
        return pf_write(endpoint, sges, count, remote, &mover->stages_key, op);
    return pf_write_imm(endpoint, sges, count, remote, &mover->stages_key, pf_stage_to_imm(imm),
                        op);
}

/* Drive the lane until the queue takes one more. */
static int wait_for_room(struct pf_mover *mover)
{
    if (pf_worker_stopping(&mover->worker) || pf_port_lost(mover->port))
        return -ECANCELED;
    int n = pf_progress(mover->port->lane, BUDGET);
    if (n == 0)
        sched_yield();
    return n < 0 ? n : 0;
}

static int post_direct(struct pf_outgoing *stage, unsigned index)
{
    const struct pf_direct *direct = &stage->batch.directs[index];
    return pf_write(stage->mover->port->endpoint, &direct->sge, 1, direct->remote, direct->key,
                    &stage->direct_parts[index].op);
}

/* The pages that go to their places come first: the header that lists them follows. */
static int post_directs(struct pf_outgoing *stage)
{
    for (unsigned i = 0; i < stage->batch.direct_count; i++) {
        int error;
        while ((error = post_direct(stage, i)) == -EAGAIN) {
            error = wait_for_room(stage->mover);
            if (error)
                return error;
        }
        if (error)
            return error;
        stage->posted++;
    }
    return 0;
}

/* The header and the pages behind it, as few writes as the gather limit allows. */
static int post_stage(struct pf_outgoing *stage)
{
    struct pf_mover *mover = stage->mover;
    struct pf_batch *batch = &stage->batch;
    unsigned parts = (batch->sge_count + mover->gather - 1) / mover->gather;
    uint64_t remote = mover->stages_addr +
                      stage->index * (uint64_t)(PF_STAGE_PAGES + mover->stage_size) +
                      pf_stage_header_at(batch->run_count);
    finish_header(stage);
    for (unsigned part = 0; part < parts; part++) {
        unsigned from = part * mover->gather;
        unsigned left = batch->sge_count - from;
        unsigned count = left < mover->gather ? left : mover->gather;
        int error;
        while ((error = post_part(stage, part, parts, count, remote)) == -EAGAIN) {
            error = wait_for_room(mover);
            if (error)
                return error;
        }
        if (error)
            return error;
        stage->posted++;
        for (unsigned i = 0; i < count; i++)
            remote += batch->sges[from + i].len;
    }
    return 0;
}

int pf_mover_post(struct pf_outgoing *stage)
{
    struct pf_mover *mover = stage->mover;
    stage->credit = false;
    if (mover->under_way++ == 0)
        atomic_store(&mover->waits_since, pf_now_ns());
    int error = post_directs(stage);
    if (!error)
        error = post_stage(stage);
    if (error)
        return error;
    size_t bytes = stage->batch.bytes + stage->batch.direct_bytes;
    pf_count(&mover->session->counters->sent_bytes, bytes);
    pf_count(&mover->session->rails[mover->port->rail].bytes, bytes);
    return 0;
}

int pf_mover_lost(struct pf_mover *mover, unsigned region)
{
    if (pf_worker_failed(&mover->worker))
        return -EFAULT;
    pf_why(&mover->worker.why, -EFAULT,
           "region \"%s\": a part of it could not be read while it was being sent: it was "
           "unmapped, protected or cut off its file; a job gives memory back by madvise()",
           mover->memory->regions[region].region->name);
    pf_worker_fail(&mover->worker, -EFAULT, "");
    return -EFAULT;
}

/* ---- credits --------------------------------------------------------------------------------- */

static int post_credit_receive(struct pf_credit_receive *receive)
{
    struct pf_sge sge = {receive->mover->mr, receive->bytes, CREDIT_RECEIVE_BYTES};
    return pf_recv(receive->mover->port->endpoint, &sge, &receive->op);
}

static int take_credit(struct pf_mover *mover, const uint8_t *bytes, size_t length)
{
    uint8_t copy[PF_CREDIT_BYTES];
    if (length != sizeof copy)
        return -EPROTO;
    memcpy(copy, bytes, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    uint32_t magic = pf_get_u32(&wire);
    uint16_t index = pf_get_u16(&wire);
    uint16_t generation = pf_get_u16(&wire);
    if (magic != PF_PROTOCOL_MAGIC || index >= mover->stages)
        return -EPROTO;
    struct pf_outgoing *stage = &mover->outgoing[index];
    if (stage->credit || generation != stage->generation)
        return -EPROTO;
    stage->generation = (stage->generation + 1) & PF_STAGE_GENERATION_MASK;
    stage->credit = true;
    mover->under_way--;
    atomic_store(&mover->waits_since, mover->under_way > 0 ? pf_now_ns() : 0);
    settle(stage);
    return 0;
}

static void credit_done(struct pf_op *op, int status, size_t bytes)
{
    struct pf_credit_receive *receive = pf_container_of(op, struct pf_credit_receive, op);
    struct pf_mover *mover = receive->mover;
    if (status) {
        if (status != -ECANCELED)
            pf_port_lose(mover->port, status);
        return;
    }
    int error = op->has_imm ? -EPROTO : take_credit(mover, receive->bytes, bytes);
    if (error)
        pf_worker_fail(&mover->worker, error, "the destination sent a credit that was not due");
    else if (mover->port->endpoint && (error = post_credit_receive(receive)))
        pf_port_lose(mover->port, error);
}

/* ---- the thread ------------------------------------------------------------------------------ */

struct pf_outgoing *pf_mover_free_stage(struct pf_mover *mover)
{
    for (unsigned i = 0; i < mover->stages; i++)
        if (mover->outgoing[i].credit && mover->outgoing[i].posted == 0)
            return &mover->outgoing[i];
    return NULL;
}

/* Fill and post one stage if there is a credit and something to send. 1, 0 or -errno. */
static int send_one(struct pf_mover *mover)
{
    if (!mover->session->options->background || atomic_load(&mover->worker.status))
        return 0;
    if (pf_background_follow(&mover->background))
        pf_supply_follow(&mover->supply);
    struct pf_outgoing *stage = pf_mover_free_stage(mover);
    if (!stage || !pf_background_may_add(&mover->background, mover->under_way))
        return 0;
    mover->allowed = pf_rate_ask(&mover->rate, pf_gather_most(mover), mover->under_way == 0);
    if (mover->allowed == 0)
        return 0;
    stage->reader = pf_source_memory_enter(mover->memory);
    stage->reading = true;
    pf_gather(stage);
    pf_rate_used(&mover->rate, stage->batch.bytes + stage->batch.direct_bytes);
    if (stage->batch.run_count == 0) {
        settle(stage);
        return 0;
    }
    if (stage->batch.lost)
        return pf_mover_lost(mover, stage->batch.runs[0].region);
    int error = pf_mover_post(stage);
    return error ? error : 1;
}

static void *mover_run(void *arg)
{
    struct pf_mover *mover = arg;
    while (!pf_worker_stopping(&mover->worker) && !pf_port_lost(mover->port)) {
        pf_worker_heed(&mover->worker);
        int events = pf_progress(mover->port->lane, BUDGET);
        int sent = events;
        if (events >= 0)
            sent = atomic_load(&mover->follows) ? send_one(mover) : pf_round_send(mover);
        if (sent < 0) {
            if (!pf_worker_stopping(&mover->worker))
                pf_port_lose(mover->port, sent);
            break;
        }
        if (events > 0 || sent > 0)
            pf_busy(&mover->idle);
        else
            pf_idle(&mover->idle, pf_rate_wait_ms(&mover->rate));
    }
    return NULL;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void lay_out(struct pf_mover *mover, bool bounces)
{
    uint8_t *at = mover->buffers;
    for (unsigned i = 0; i < mover->stages; i++) {
        struct pf_outgoing *stage = &mover->outgoing[i];
        stage->mover = mover;
        stage->index = i;
        stage->credit = true;
        stage->header = at;
        at += PF_STAGE_PAGES;
        if (bounces) {
            stage->bounce = at;
            at += mover->stage_size;
        }
        for (unsigned part = 0; part < PF_STAGE_PARTS_MAX; part++) {
            stage->parts[part].op.done = part_done;
            stage->parts[part].stage = stage;
        }
        for (unsigned part = 0; part < PF_DIRECTS_MAX; part++) {
            stage->direct_parts[part].op.done = part_done;
            stage->direct_parts[part].stage = stage;
        }
    }
    for (unsigned i = 0; i < mover->stages; i++, at += CREDIT_RECEIVE_BYTES) {
        mover->credits[i].bytes = at;
        mover->credits[i].mover = mover;
        mover->credits[i].op.done = credit_done;
    }
}

int pf_mover_open(struct pf_mover *mover, struct pf_session *session, unsigned rail,
                  struct pf_responder *responder, unsigned stages, size_t stage_size)
{
    struct pf_device *device = session->rails[rail].device;
    const struct pf_caps *caps = &device->caps;
    *mover = (struct pf_mover){
        .session = session,
        .port = &session->rails[rail].bulk,
        .background = {.hint = &responder->hints[rail]},
        .rate = {.rate = &session->rate, .limit = session->bandwidth},
        .stages = stages,
        .stage_size = stage_size,
        .gather = caps->max_gather,
        .parts_max = PF_STAGE_PARTS_MAX,
    };
    int error = pf_worker_init(&mover->worker, session, rail);
    if (error)
        return error;
    bool bounces = caps->needs_pinning || session->rounds; /* pages may be made shorter there */
    size_t each = PF_STAGE_PAGES + (bounces ? mover->stage_size : 0);
    mover->buffer_bytes = mover->stages * (each + CREDIT_RECEIVE_BYTES);
    mover->outgoing = calloc(mover->stages, sizeof *mover->outgoing);
    mover->credits = calloc(mover->stages, sizeof *mover->credits);
    void *buffers = pf_map_near(mover->buffer_bytes, session->rails[rail].placement.node);
    if (!mover->outgoing || !mover->credits || !buffers)
        return pf_why(&session->why, -ENOMEM, "no memory for the bulk lane's buffers");
    mover->buffers = buffers;
    lay_out(mover, bounces);
    return pf_mr_reg(device, buffers, mover->buffer_bytes, PF_LOCAL_WRITE, &mover->mr,
                     &session->why);
}

int pf_mover_post_receives(struct pf_mover *mover)
{
    for (unsigned i = 0; i < mover->stages; i++) {
        int error = post_credit_receive(&mover->credits[i]);
        if (error)
            return pf_why(&mover->session->why, error, "cannot post receives for credits: %s",
                          ferry_strerror(error));
    }
    return 0;
}

void pf_mover_aim(struct pf_mover *mover, uint64_t addr, const struct pf_rkey *key,
                  const struct pf_landing *landings)
{
    mover->landings = landings;
    mover->stages_addr = addr;
    mover->stages_key = *key;
}

int pf_mover_start(struct pf_mover *mover, struct pf_source_memory *memory)
{
    const struct pf_options *options = mover->session->options;
    mover->memory = memory;
    pf_supply_init(&mover->supply, memory, mover->port->rail);
    mover->idle = (struct pf_idle){
        .lanes = {mover->port->lane},
        .lane_count = 1,
        .fds = {mover->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
        .nap_most_ns = PF_IDLE_LONG_NAP_NS,
    };
    if (mover->round.packing.encoder)
        mover->idle.fds[mover->idle.fd_count++] = mover->round.packing.ready_fd;
    return pf_worker_start(&mover->worker, "pf-mover", mover_run, mover);
}

void pf_mover_follow(struct pf_mover *mover)
{
    atomic_store(&mover->follows, true);
    pf_worker_nudge(&mover->worker);
}

/* They will be counted again. */
static void give_back(struct pf_mover *mover, unsigned region, struct pf_run run, bool zero)
{
    struct pf_counters *counters = mover->session->counters;
    size_t pages = pf_source_memory_return(mover->memory, region, run);
    pf_count(zero ? &counters->zero_pages : &counters->normal_pages, -(uint64_t)pages);
}

/* The pages of a filling that was not placed are the others' to send; of one in parts, all of it.
 */
static void take_back(struct pf_outgoing *stage)
{
    for (unsigned i = 0; i < stage->batch.run_count; i++) {
        const struct pf_stage_run *run = &stage->batch.runs[i];
        struct pf_run pages = {run->first, run->in_parts ? 1 : run->pages};
        give_back(stage->mover, run->region, pages, run->zero && !run->in_parts);
    }
}

int pf_mover_settle(struct pf_mover *mover, struct pf_wire *due)
{
    /* The endpoint is closed: what was posted on it comes back now. */
    while (pf_progress(mover->port->lane, BUDGET) > 0)
        continue;
    for (unsigned i = 0; i < mover->stages; i++) {
        struct pf_outgoing *stage = &mover->outgoing[i];
        uint16_t next = pf_get_u16(due);
        bool placed = next == ((stage->generation + 1) & PF_STAGE_GENERATION_MASK);
        if (due->bad || (next != stage->generation && (stage->credit || !placed)))
            return -EPROTO;
        if (!stage->credit && !placed)
            take_back(stage);
        stage->credit = true;
        settle(stage);
    }
    if (mover->large.begun)
        give_back(mover, mover->large.region, (struct pf_run){mover->large.page, 1}, false);
    return 0;
}

void pf_mover_close(struct pf_mover *mover)
{
    pf_worker_stop(&mover->worker);
    if (mover->mr)
        pf_mr_dereg(mover->mr);
    if (mover->buffers)
        munmap(mover->buffers, mover->buffer_bytes);
    pf_round_packing_close(mover);
    free(mover->outgoing);
    free(mover->credits);
    *mover = (struct pf_mover){.worker = {.stop_fd = -1}};
}
