/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/requests.h"

#include "base/clock.h"
#include "core/memory/locked.h"
#include "core/memory/zero.h"
#include "pageferry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    RECEIVE_BYTES = 32,
    MESSAGE_BYTES = 32,
    /* Slots are locked memory: no more than this where host pages are large, but two of them, or
     * one that is larger than this by itself. */
    SLOT_MEMORY = 64 << 20,
};

static void fail(struct pf_requests *requests, int status)
{
    if (!requests->status)
        requests->status = status;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void free_if_idle(struct pf_slot *slot)
{
    if (slot->state == PF_SLOT_FREE && !slot->sending)
        pf_list_append(&slot->requests->free, &slot->link);
}

static void release(struct pf_slot *slot)
{
    slot->state = PF_SLOT_FREE;
    slot->generation++;
    slot->requests->busy--;
    free_if_idle(slot);
}

static size_t page_size(const struct pf_slot *slot)
{
    return pf_region_page_size(slot->requests->arrival->list[slot->placing.region].region);
}

static bool in_place(const struct pf_slot *slot)
{
    return slot->requests->arrival->list[slot->placing.region].in_place;
}

/* Pull mode: where a page is read to, its slot or the place in its file. */
static struct pf_sge read_to(const struct pf_slot *slot)
{
    const struct pf_requests *requests = slot->requests;
    const struct pf_arriving *arriving = &requests->arrival->list[slot->placing.region];
    size_t size = page_size(slot);
    if (in_place(slot))
        return (struct pf_sge){arriving->alias_mrs[0],
                               arriving->alias + slot->placing.run.first * size, size};
    return (struct pf_sge){requests->pages_mr, slot->page, size};
}

/* Pull mode: the page itself, straight from this thread. */
static int post_read(struct pf_slot *slot)
{
    struct pf_requests *requests = slot->requests;
    struct pf_remote_place place =
        pf_fetch_place(requests->fetch, slot->placing.region, slot->placing.run.first);
    struct pf_sge sge = read_to(slot);
    return pf_read(requests->session->urgent.endpoint, &sge, 1, place.address,
                   &place.extent->urgent, &slot->op);
}

static int post_request(struct pf_slot *slot)
{
    struct pf_requests *requests = slot->requests;
    struct pf_page_request request = {
        .kind = PF_REQUEST_PAGE,
        .slot = slot->index,
        .generation = slot->generation,
        .extra = requests->trays.free_bits,
        .region = slot->placing.region,
        .page = slot->placing.run.first,
    };
    pf_request_pack(&request, slot->message);
    struct pf_sge sge = {requests->buffers_mr, slot->message, PF_REQUEST_BYTES};
    return pf_send(requests->session->urgent.endpoint, &sge, 1, &slot->op);
}

static void request_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_slot *slot = pf_container_of(op, struct pf_slot, op);
    slot->sending = false;
    free_if_idle(slot);
    if (status && status != -ECANCELED)
        fail(slot->requests,
             pf_why(&slot->requests->why, status, "a page request could not be sent: %s",
                    ferry_strerror(status)));
}

/* Pull mode: false if the puller has the page already; it wakes who waits. */
static bool claim(struct pf_requests *requests, struct pf_wish *wish)
{
    if (wish->claimed)
        return true;
    wish->claimed = pf_fetch_claim(requests->fetch, wish->region, wish->page);
    if (wish->claimed)
        pf_hint_give(&requests->fetch->hint, wish->region, wish->page);
    else
        pf_count(&requests->session->counters->elsewhere, 1);
    return wish->claimed;
}

/* False when no slot is free or the queue is full: the wish has to wait. */
static bool ask(struct pf_requests *requests, struct pf_wish *wish)
{
    if (pf_list_empty(&requests->free))
        return false;
    if (requests->fetch && !claim(requests, wish))
        return true;
    struct pf_list *item = pf_list_pop(&requests->free);
    struct pf_slot *slot = pf_container_of(item, struct pf_slot, link);
    slot->placing = (struct pf_placing){
        .region = wish->region,
        .run = {wish->page, 1},
        .from = slot->page,
    };
    slot->read_ns = wish->read_ns;
    if (requests->fetch)
        pf_knock(&requests->knock, slot->read_ns);
    int error = requests->fetch ? post_read(slot) : post_request(slot);
    if (error) {
        pf_list_append(&requests->free, &slot->link);
        if (error != -EAGAIN)
            fail(requests,
                 pf_why(&requests->why, error, "cannot ask for pages: %s", ferry_strerror(error)));
        return false;
    }
    pf_trays_granted(&requests->trays);
    slot->state = PF_SLOT_ASKED;
    slot->sending = true;
    requests->busy++;
    slot->asked_ns = pf_now_ns();
    pf_histogram_add(&requests->request, slot->asked_ns - slot->read_ns);
    pf_count(&requests->session->counters->requests, 1);
    return true;
}

void pf_requests_wish(struct pf_requests *requests, const struct pf_wish *wish)
{
    unsigned at = (requests->wish_head + requests->wish_count) % PF_WISHES_MAX;
    requests->wishes[at] = *wish;
    if (requests->wish_count > 0 || !ask(requests, &requests->wishes[at]))
        requests->wish_count++;
}

static unsigned ask_waiting(struct pf_requests *requests)
{
    unsigned asked = 0;
    while (requests->wish_count > 0 && ask(requests, &requests->wishes[requests->wish_head])) {
        requests->wish_head = (requests->wish_head + 1) % PF_WISHES_MAX;
        requests->wish_count--;
        asked++;
    }
    return asked;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Place the page of a slot and free it; keep it on `filled` while an event is in the way. */
static void place(struct pf_slot *slot)
{
    struct pf_requests *requests = slot->requests;
    int error = pf_arrival_place(requests->arrival, &slot->placing);
    if (error == -EAGAIN) {
        slot->state = PF_SLOT_FILLED;
        pf_list_append(&requests->filled, &slot->link);
        return;
    }
    uint64_t now = pf_now_ns();
    pf_histogram_add(&requests->place, now - slot->answered_ns);
    pf_histogram_add(&requests->service, now - slot->read_ns);
    release(slot);
    if (error)
        fail(requests,
             pf_why(&requests->why, error, "a page could not be placed: %s", strerror(-error)));
}

static void page_here(struct pf_slot *slot, bool zero)
{
    struct pf_requests *requests = slot->requests;
    struct pf_counters *counters = requests->session->counters;
    slot->answered_ns = pf_now_ns();
    pf_histogram_add(&requests->answer, slot->answered_ns - slot->asked_ns);
    pf_count(zero ? &counters->zero_pages : &counters->normal_pages, 1);
    if (zero)
        slot->placing.from = NULL;
    place(slot);
}

static void page_read(struct pf_op *op, int status, size_t bytes)
{
    struct pf_slot *slot = pf_container_of(op, struct pf_slot, op);
    slot->sending = false;
    if (!slot->requests->session->urgent.endpoint)
        return;
    if (status == 0) {
        pf_count(&slot->requests->session->counters->sent_bytes, bytes);
        page_here(slot, !in_place(slot) && pf_all_zero(slot->page, bytes));
    } else if (status != -ECANCELED)
        fail(slot->requests,
             pf_why(&slot->requests->why, status, "a page could not be read from the source: %s",
                    ferry_strerror(status)));
}

static int take_answer(struct pf_requests *requests, struct pf_answer answer)
{
    if (answer.slot >= requests->count)
        return -EPROTO;
    struct pf_slot *slot = &requests->slots[answer.slot];
    if (slot->state != PF_SLOT_ASKED || answer.generation != slot->generation)
        return -EPROTO;
    switch (answer.status) {
    case PF_ANSWER_DATA:
    case PF_ANSWER_ZERO:
        page_here(slot, answer.status == PF_ANSWER_ZERO);
        return 0;
    case PF_ANSWER_ELSEWHERE:
        /* The placer that gets it wakes who waits; the page stays marked as requested. */
        pf_histogram_add(&requests->answer, pf_now_ns() - slot->asked_ns);
        pf_count(&requests->session->counters->elsewhere, 1);
        release(slot);
        return 0;
    default:
        return -EPROTO;
    }
}

/* A page in its slot, or neighbours in a tray. */
static int take_immediate(struct pf_requests *requests, uint32_t imm)
{
    struct pf_answer answer = pf_answer_from_imm(imm);
    if (answer.status == PF_ANSWER_NEIGHBOURS)
        return pf_trays_take(&requests->trays, imm);
    return answer.status == PF_ANSWER_DATA ? take_answer(requests, answer) : -EPROTO;
}

static int take_message(struct pf_requests *requests, const uint8_t *bytes, size_t length)
{
    uint8_t copy[PF_ANSWER_BYTES];
    if (length != sizeof copy)
        return -EPROTO;
    memcpy(copy, bytes, sizeof copy);
    struct pf_wire wire = pf_wire_over(copy, sizeof copy);
    if (pf_get_u32(&wire) != PF_PROTOCOL_MAGIC)
        return -EPROTO;
    struct pf_answer answer = pf_answer_from_imm(pf_get_u32(&wire));
    return answer.status == PF_ANSWER_DATA ? -EPROTO : take_answer(requests, answer);
}

static int post_receive(struct pf_answer_receive *receive)
{
    struct pf_requests *requests = receive->requests;
    struct pf_sge sge = {requests->buffers_mr, receive->bytes, RECEIVE_BYTES};
    return pf_recv(requests->session->urgent.endpoint, &sge, &receive->op);
}

static void answer_done(struct pf_op *op, int status, size_t bytes)
{
    struct pf_answer_receive *receive = pf_container_of(op, struct pf_answer_receive, op);
    struct pf_requests *requests = receive->requests;
    if (status) {
        if (status != -ECANCELED)
            fail(requests, pf_why(&requests->why, status, "no answers can be received: %s",
                                  ferry_strerror(status)));
        return;
    }
    if (!requests->session->urgent.endpoint)
        return; /* it came before we hung up, and is of no use any more */
    int error = op->has_imm ? take_immediate(requests, op->imm)
                            : take_message(requests, receive->bytes, bytes);
    if (error)
        pf_why(&requests->why, error, "the source sent an answer that nobody asked for");
    else if ((error = post_receive(receive)))
        pf_why(&requests->why, error, "cannot post a receive for answers: %s",
               ferry_strerror(error));
    if (error)
        fail(requests, error);
}

unsigned pf_requests_advance(struct pf_requests *requests)
{
    unsigned settled = 0;
    struct pf_list waiting;
    pf_list_init(&waiting);
    struct pf_list *item;
    while ((item = pf_list_pop(&requests->filled)))
        pf_list_append(&waiting, item);
    while ((item = pf_list_pop(&waiting))) {
        place(pf_container_of(item, struct pf_slot, link));
        settled++;
    }
    settled += ask_waiting(requests);
    int placed = pf_trays_advance(&requests->trays);
    if (placed < 0)
        fail(requests,
             pf_why(&requests->why, placed, "the neighbours of a page could not be placed"));
    return settled + (placed > 0);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void lay_out(struct pf_requests *requests)
{
    uint8_t *at = requests->buffers;
    for (unsigned i = 0; i < requests->count; i++) {
        struct pf_slot *slot = &requests->slots[i];
        slot->requests = requests;
        slot->index = (uint16_t)i;
        slot->op.done = requests->session->pull ? page_read : request_done;
        slot->page = requests->pages + i * requests->slot_size;
        slot->message = at;
        at += MESSAGE_BYTES;
        pf_list_append(&requests->free, &slot->link);
    }
    for (unsigned i = 0; i < requests->receive_count; i++, at += RECEIVE_BYTES) {
        requests->receives[i].requests = requests;
        requests->receives[i].op.done = answer_done;
        requests->receives[i].bytes = at;
    }
}

static size_t slot_bytes(const struct pf_requests *requests)
{
    return requests->count * requests->slot_size;
}

static void choose_slots(struct pf_requests *requests)
{
    /* In pull mode one is to knock. */
    unsigned depth = pf_session_device(requests->session)->caps.max_depth - requests->session->pull;
    requests->slot_size = pf_arrival_largest_copied(requests->arrival);
    size_t room = (size_t)SLOT_MEMORY / requests->slot_size;
    if (room < 2)
        room = requests->slot_size > SLOT_MEMORY ? 1 : 2;
    requests->count = requests->session->options->slots;
    /* Each slot and each tray needs a receive. */
    if (requests->count + requests->trays.count > depth)
        requests->count = depth - requests->trays.count;
    if (requests->count > room)
        requests->count = (unsigned)room;
    requests->receive_count = requests->count + requests->trays.count;
}

int pf_requests_open(struct pf_requests *requests, struct pf_session *session,
                     struct pf_arrival *arrival)
{
    memset(requests, 0, sizeof *requests);
    requests->session = session;
    requests->arrival = arrival;
    requests->wish_room = PF_WISHES_MAX;
    int error = pf_trays_open(&requests->trays, session, arrival);
    if (error)
        return error;
    choose_slots(requests);
    pf_list_init(&requests->free);
    pf_list_init(&requests->filled);
    requests->buffer_bytes =
        (size_t)requests->count * MESSAGE_BYTES + (size_t)requests->receive_count * RECEIVE_BYTES;
    requests->slots = calloc(requests->count, sizeof *requests->slots);
    requests->receives = calloc(requests->receive_count, sizeof *requests->receives);
    requests->pages = pf_map_locked(slot_bytes(requests), pf_session_node(session));
    requests->buffers = pf_map_locked(requests->buffer_bytes, pf_session_node(session));
    if (!requests->slots || !requests->receives || !requests->pages || !requests->buffers)
        return pf_why(&session->why, -ENOMEM, "no memory for %u slots of %zu bytes",
                      requests->count, requests->slot_size);
    lay_out(requests);
    error = pf_mr_reg(pf_session_device(session), requests->pages, slot_bytes(requests),
                      session->pull ? PF_LOCAL_WRITE : PF_REMOTE_WRITE, &requests->pages_mr,
                      &session->why);
    return error ? error
                 : pf_mr_reg(pf_session_device(session), requests->buffers, requests->buffer_bytes,
                             PF_LOCAL_WRITE, &requests->buffers_mr, &session->why);
}

int pf_requests_post_receives(struct pf_requests *requests)
{
    for (unsigned i = 0; i < requests->receive_count; i++) {
        int error = post_receive(&requests->receives[i]);
        if (error)
            return pf_why(&requests->session->why, error, "cannot post receives for answers: %s",
                          ferry_strerror(error));
    }
    return 0;
}

void pf_requests_close(struct pf_requests *requests)
{
    pf_trays_close(&requests->trays);
    if (requests->pages_mr)
        pf_mr_dereg(requests->pages_mr);
    if (requests->buffers_mr)
        pf_mr_dereg(requests->buffers_mr);
    if (requests->pages)
        munmap(requests->pages, slot_bytes(requests));
    if (requests->buffers)
        munmap(requests->buffers, requests->buffer_bytes);
    free(requests->slots);
    free(requests->receives);
    memset(requests, 0, sizeof *requests);
}
