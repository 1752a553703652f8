/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/responder.h"

#include "core/memory/locked.h"
#include "core/memory/zero.h"
#include "pageferry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BUDGET = 32,
    RECEIVE_BYTES = 32,
    MESSAGE_BYTES = 32,
    NOTES_MANY = PF_NOTES_MAX / 2,
    FIRST_RAIL = 0, /* whose device the urgent lane is on */
};

/* ---- answers --------------------------------------------------------------------------------- */

static struct pf_answer answer_fields(const struct pf_answer_send *send)
{
    return (struct pf_answer){
        .slot = send->request.slot,
        .generation = send->request.generation,
        .status = send->status,
    };
}

static int post_mark(struct pf_answer_send *send)
{
    struct pf_responder *responder = send->responder;
    struct pf_wire wire = pf_wire_over(send->message, PF_ANSWER_BYTES);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u32(&wire, pf_answer_to_imm(answer_fields(send)));
    struct pf_sge sge = {responder->mr, send->message, PF_ANSWER_BYTES};
    return pf_send(responder->session->urgent.endpoint, &sge, 1, &send->op);
}

/* The page straight from the job's memory, or through the bounce page while it isn't registered. */
static struct pf_sge page_memory(const struct pf_answer_send *send)
{
    struct pf_responder *responder = send->responder;
    const struct pf_source_region *source = &responder->memory->regions[send->request.region];
    size_t page_size = pf_region_page_size(source->region);
    size_t covered;
    struct pf_sge sge = {
        .mr = pf_source_memory_mr(source, FIRST_RAIL, send->request.page, &covered),
        .addr = pf_region_page(source->region, send->request.page),
        .len = page_size,
    };
    if (!sge.mr) {
        memcpy(send->bounce, sge.addr, page_size);
        sge.mr = responder->mr;
        sge.addr = send->bounce;
    }
    return sge;
}

/* Into the slot, or into the region itself. */
static uint64_t page_target(const struct pf_answer_send *send, const struct pf_rkey **key)
{
    const struct pf_responder *responder = send->responder;
    const struct pf_page_request *request = &send->request;
    const struct pf_landing *landing = &responder->landings[request->region];
    *key = landing->in_place ? &landing->urgent : &responder->slots_key;
    if (!landing->in_place)
        return responder->slots_addr + request->slot * (uint64_t)responder->slot_size;
    return landing->addr +
           (request->page << responder->memory->regions[request->region].region->page_shift);
}

/* What is left of the page, or as much of it as one message holds. */
static int post_page(struct pf_answer_send *send)
{
    const struct pf_responder *responder = send->responder;
    const struct pf_caps *caps = &pf_session_device(responder->session)->caps;
    struct pf_endpoint *endpoint = responder->session->urgent.endpoint;
    const struct pf_rkey *key;
    struct pf_sge sge = page_memory(send);
    uint64_t remote = page_target(send, &key) + send->sent;
    sge.addr = (char *)sge.addr + send->sent;
    sge.len -= send->sent;
    if (sge.len > caps->max_message) {
        sge.len = caps->max_message;
        return pf_write(endpoint, &sge, 1, remote, key, &send->op);
    }
    /* The immediate speaks for the writes before it only where these are ordered. */
    if (send->sent > 0 && !caps->ordered_writes && !send->flushed)
        return pf_flush(endpoint, &send->op);
    return pf_write_imm(endpoint, &sge, 1, remote, key, pf_answer_to_imm(answer_fields(send)),
                        &send->op);
}

/* One operation of a large page is done; true if more are to come. */
static bool has_more(struct pf_answer_send *send)
{
    const struct pf_responder *responder = send->responder;
    const struct pf_caps *caps = &pf_session_device(responder->session)->caps;
    if (send->status != PF_ANSWER_DATA)
        return false;
    size_t left =
        pf_region_page_size(responder->memory->regions[send->request.region].region) - send->sent;
    if (left > caps->max_message)
        send->sent += caps->max_message;
    else if (send->sent > 0 && !caps->ordered_writes && !send->flushed)
        send->flushed = true;
    else
        return false;
    return true;
}

static void post_answer(struct pf_answer_send *send)
{
    struct pf_responder *responder = send->responder;
    int error = send->status == PF_ANSWER_DATA ? post_page(send) : post_mark(send);
    if (error == -EAGAIN) {
        pf_list_append(&responder->unposted, &send->link);
    } else if (error) {
        pf_worker_fail(&responder->worker, error, "cannot answer page requests");
    }
}

static void post_waiting(struct pf_responder *responder)
{
    struct pf_list waiting;
    if (pf_list_empty(&responder->unposted))
        return;
    waiting = responder->unposted;
    waiting.next->prev = waiting.prev->next = &waiting;
    pf_list_init(&responder->unposted);
    struct pf_list *item;
    while ((item = pf_list_pop(&waiting)))
        post_answer(pf_container_of(item, struct pf_answer_send, link));
}

static void answer_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_answer_send *send = pf_container_of(op, struct pf_answer_send, op);
    if (status == 0 && send->responder->session->urgent.endpoint && has_more(send)) {
        post_answer(send);
        return;
    }
    pf_source_memory_leave(send->responder->memory, send->reader);
    pf_list_append(&send->responder->free, &send->link);
    if (status && status != -ECANCELED)
        pf_worker_fail(&send->responder->worker, status, "an answer to a page request failed");
}

/* ---- requests -------------------------------------------------------------------------------- */

static int post_receive(struct pf_request_receive *receive)
{
    struct pf_sge sge = {receive->responder->mr, receive->bytes, RECEIVE_BYTES};
    return pf_recv(receive->responder->session->urgent.endpoint, &sge, &receive->op);
}

static bool request_fits(const struct pf_responder *responder,
                         const struct pf_page_request *request)
{
    return request->slot < responder->slots && request->region < responder->memory->count &&
           request->page < responder->memory->regions[request->region].unsent.pages;
}

/* The mover whose stripe it is goes on behind the page, and all of them are careful. */
static void give_hints(struct pf_responder *responder, unsigned region, size_t page)
{
    const struct pf_source_region *source = &responder->memory->regions[region];
    unsigned own = pf_stripes_rail(&source->stripes, page < source->unsent.pages ? page : 0);
    for (unsigned i = 0; i < responder->session->rail_count; i++)
        if (i == own)
            pf_hint_give(&responder->hints[i], region, page);
        else
            pf_hint_warn(&responder->hints[i]);
}

/* Can the page be sent from here? A huge page has no bounce buffer: it has to be registered. */
static bool is_sendable(struct pf_responder *responder, const struct pf_page_request *request)
{
    const struct pf_source_region *source = &responder->memory->regions[request->region];
    size_t covered;
    if (!pf_region_huge(source->region))
        return true;
    pf_source_memory_prepare(responder->memory, request->region, FIRST_RAIL, request->page);
    return pf_source_memory_mr(source, FIRST_RAIL, request->page, &covered) != NULL;
}

/*
 * The page leaves `unsent` here or it was taken before, by the mover: then it is on its way on the
 * bulk lane. Either way exactly one lane carries it.
 */
static uint8_t claim(struct pf_responder *responder, const struct pf_page_request *request)
{
    struct pf_source_region *source = &responder->memory->regions[request->region];
    struct pf_counters *counters = responder->session->counters;
    pf_count(&counters->requests, 1);
    if (!is_sendable(responder, request)) {
        if (!responder->session->options->background)
            pf_worker_fail(&responder->worker, -ENOMEM,
                           "a huge page could not be registered, and nothing goes in the "
                           "background (--background off)");
        /* The mover's bounce buffer takes it, part by part: it is next there. */
        give_hints(responder, request->region, (size_t)request->page - 1);
        pf_count(&counters->elsewhere, 1);
        return PF_ANSWER_ELSEWHERE;
    }
    if (!pf_pageset_remove(&source->unsent, request->page)) {
        pf_count(&counters->elsewhere, 1);
        return PF_ANSWER_ELSEWHERE;
    }
    give_hints(responder, request->region, (size_t)request->page);
    if (pf_all_zero(pf_region_page(source->region, request->page),
                    pf_region_page_size(source->region))) {
        pf_count(&counters->zero_pages, 1);
        return PF_ANSWER_ZERO;
    }
    pf_count(&counters->normal_pages, 1);
    pf_count(&counters->sent_bytes, pf_region_page_size(source->region));
    return PF_ANSWER_DATA;
}

static int serve(struct pf_responder *responder, const struct pf_page_request *request)
{
    if (!request_fits(responder, request))
        return pf_why(
            &responder->worker.why, -EPROTO,
            "the destination asked for page %llu of region %u into slot %u: no such thing",
            (unsigned long long)request->page, request->region, request->slot);
    if (!pf_prefetch_grant(&responder->prefetch, request->extra))
        return pf_why(&responder->worker.why, -EPROTO,
                      "the destination granted trays (%#x) that were not its to grant",
                      request->extra);
    struct pf_list *item = pf_list_pop(&responder->free);
    if (!item)
        return pf_why(&responder->worker.why, -EPROTO,
                      "the destination has more requests open than slots");
    struct pf_answer_send *send = pf_container_of(item, struct pf_answer_send, link);
    send->request = *request;
    send->sent = 0;
    send->flushed = false;
    send->reader = pf_source_memory_enter(responder->memory);
    send->status = claim(responder, request);
    post_answer(send);
    pf_prefetch_note(&responder->prefetch, request);
    return 0;
}

static void request_done(struct pf_op *op, int status, size_t bytes)
{
    struct pf_request_receive *receive = pf_container_of(op, struct pf_request_receive, op);
    struct pf_responder *responder = receive->responder;
    struct pf_page_request request;
    if (status) {
        if (status != -ECANCELED)
            pf_worker_fail(&responder->worker, status, "no page requests can be received");
        return;
    }
    if (pf_worker_failed(&responder->worker) || !responder->session->urgent.endpoint)
        return;
    int error = op->has_imm ? -EPROTO : pf_request_unpack(receive->bytes, bytes, &request);
    /* Before the job is given away there is nothing that could be asked for. */
    if (!error && !responder->memory)
        error = -EPROTO;
    if (error) {
        pf_worker_fail(&responder->worker, error,
                       "the destination sent a malformed or untimely page request");
        return;
    }
    /* The answer gives the destination its slot back, and with it the right to a request more. */
    error = post_receive(receive);
    if (!error)
        error = serve(responder, &request);
    if (error)
        pf_worker_fail(&responder->worker, error, "cannot take page requests");
}

/* ---- the thread ------------------------------------------------------------------------------ */

/*
 * One look at everything. Neighbours are thought of when there is nothing else to do, so that no
 * answer waits for them; but not never.
 */
static int look(struct pf_responder *responder)
{
    int n = pf_progress(responder->session->urgent.lane, BUDGET);
    if (n < 0)
        return n;
    post_waiting(responder);
    if (n == 0 || responder->prefetch.note_count >= NOTES_MANY)
        n += (int)pf_prefetch_advance(&responder->prefetch);
    return n;
}

static void *responder_run(void *arg)
{
    struct pf_responder *responder = arg;
    pf_worker_be_quick();
    while (!pf_worker_stopping(&responder->worker)) {
        int n = look(responder);
        if (n < 0) {
            pf_worker_fail(&responder->worker, n, "the urgent lane broke");
            break;
        }
        if (n > 0)
            pf_busy(&responder->idle);
        else
            pf_idle(&responder->idle, -1);
    }
    return NULL;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void lay_out(struct pf_responder *responder)
{
    /* Answers complete locally after the slot's next request may have come: twice as many. */
    unsigned answers = 2 * responder->slots;
    uint8_t *at = responder->buffers;
    for (unsigned i = 0; i < answers; i++, at += PF_PAGE_SIZE)
        responder->answers[i].bounce = at;
    for (unsigned i = 0; i < answers; i++, at += MESSAGE_BYTES) {
        struct pf_answer_send *send = &responder->answers[i];
        send->message = at;
        send->responder = responder;
        send->op.done = answer_done;
        pf_list_append(&responder->free, &send->link);
    }
    for (unsigned i = 0; i < responder->slots; i++, at += RECEIVE_BYTES) {
        responder->receives[i].bytes = at;
        responder->receives[i].responder = responder;
        responder->receives[i].op.done = request_done;
    }
}

int pf_responder_open(struct pf_responder *responder, struct pf_session *session, unsigned slots)
{
    *responder = (struct pf_responder){.session = session, .slots = slots};
    pf_list_init(&responder->free);
    pf_list_init(&responder->unposted);
    int error = pf_worker_init(&responder->worker, session, 0);
    if (error)
        return error;
    responder->buffer_bytes = (size_t)slots * (2 * (PF_PAGE_SIZE + MESSAGE_BYTES) + RECEIVE_BYTES);
    responder->receives = calloc(slots, sizeof *responder->receives);
    responder->answers = calloc(2 * (size_t)slots, sizeof *responder->answers);
    void *buffers = pf_map_near(responder->buffer_bytes, pf_session_node(session));
    if (!responder->receives || !responder->answers || !buffers)
        return pf_why(&session->why, -ENOMEM, "no memory for the urgent lane's buffers");
    responder->buffers = buffers;
    lay_out(responder);
    return pf_mr_reg(pf_session_device(session), buffers, responder->buffer_bytes, PF_LOCAL_WRITE,
                     &responder->mr, &session->why);
}

int pf_responder_post_receives(struct pf_responder *responder)
{
    for (unsigned i = 0; i < responder->slots; i++) {
        int error = post_receive(&responder->receives[i]);
        if (error)
            return pf_why(&responder->session->why, error,
                          "cannot post receives for page requests: %s", ferry_strerror(error));
    }
    return 0;
}

void pf_responder_aim(struct pf_responder *responder, uint64_t addr, const struct pf_rkey *key,
                      size_t slot_size, const struct pf_landing *landings)
{
    responder->landings = landings;
    responder->slots_addr = addr;
    responder->slots_key = *key;
    responder->slot_size = slot_size;
}

int pf_responder_start(struct pf_responder *responder, struct pf_source_memory *memory)
{
    const struct pf_options *options = responder->session->options;
    responder->memory = memory;
    responder->idle = (struct pf_idle){
        .lanes = {responder->session->urgent.lane},
        .lane_count = 1,
        .fds = {responder->worker.stop_fd},
        .fd_count = 1,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
    };
    int error = pf_prefetch_start(&responder->prefetch, memory, responder->landings);
    if (error)
        return error;
    return pf_worker_start(&responder->worker, "pf-responder", responder_run, responder);
}

void pf_responder_close(struct pf_responder *responder)
{
    pf_worker_stop(&responder->worker);
    pf_prefetch_close(&responder->prefetch);
    if (responder->mr)
        pf_mr_dereg(responder->mr);
    if (responder->buffers)
        munmap(responder->buffers, responder->buffer_bytes);
    free(responder->receives);
    free(responder->answers);
    *responder = (struct pf_responder){.worker = {.stop_fd = -1}};
}
