/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers with large pages over inproc: the test is the destination, with a device at the source
 * that is told how long its messages may be. Host pages of 64 KiB, which no mapping here has: the
 * responder does not look.
 */
#include "core/send/responder.h"

#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SHIFT = 16, PAGES = 4, SLOTS = 2, RECEIVES = 8, BYTES = 64 };
#define PAGE ((size_t)1 << SHIFT)

struct stand {
    struct pf_options options;
    struct pf_counters counters;
    struct pf_regions regions;
    struct pf_session near, far;
    struct pf_source_memory memory;
    struct pf_responder responder;
    struct pf_landing landing;
    struct pf_listener *listener;
    struct pf_op receives[RECEIVES], send;
    uint8_t message[PF_REQUEST_BYTES];
    uint8_t answer[BYTES];
    struct pf_mr *message_mr, *slots_mr;
    char *slots; /* or the region, where it is in place */
    uint32_t imm;
    unsigned answers, marks;
};

static struct stand *stand; /* CUnit's tests and the operations' callbacks take no argument */

static void answered(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    if (status)
        return;
    stand->answers++;
    if (op->has_imm)
        stand->imm = op->imm;
    else
        stand->marks++;
}

static void sent(struct pf_op *op, int status, size_t bytes)
{
    (void)op;
    (void)status;
    (void)bytes;
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct pf_port *port = &stand->near.urgent;
    struct pf_endpoint_attr attr = pf_port_attr(port, 2 * SLOTS, SLOTS, BYTES);
    (void)ctx;
    (void)data;
    (void)len;
    CU_ASSERT_EQUAL_FATAL(pf_accept(request, port->lane, &attr, NULL, 0, &port->endpoint, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_responder_post_receives(&stand->responder), 0);
}

static void drive(void)
{
    for (int i = 0; i < 40; i++) {
        pf_progress(stand->near.control.lane, 16);
        pf_progress(stand->near.urgent.lane, 16);
        pf_progress(stand->far.urgent.lane, 16);
    }
}

static void connect_far(void)
{
    static const struct pf_listener_events events = {.request = on_request};
    struct pf_port *port = &stand->far.urgent;
    struct pf_device *device = pf_session_device(&stand->far);
    struct pf_endpoint_attr attr = pf_port_attr(port, 4, RECEIVES, BYTES);
    CU_ASSERT_EQUAL_FATAL(pf_listen(stand->near.control.lane, "inproc://responder", &events, NULL,
                                    &stand->listener, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(
        pf_connect(port->lane, "inproc://responder", &attr, NULL, 0, &port->endpoint, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_mr_reg(device, stand, sizeof *stand, PF_LOCAL_WRITE, &stand->message_mr, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_mr_reg(device, stand->slots, PAGES * PAGE, PF_REMOTE_WRITE, &stand->slots_mr, NULL), 0);
    for (int i = 0; i < RECEIVES; i++) {
        struct pf_sge sge = {stand->message_mr, stand->answer, BYTES};
        stand->receives[i].done = answered;
        CU_ASSERT_EQUAL_FATAL(pf_recv(port->endpoint, &sge, &stand->receives[i]), 0);
    }
    while (!port->connected || !stand->near.urgent.connected)
        drive();
}

static void aim(bool in_place)
{
    uint8_t packed[PF_RKEY_BYTES];
    struct pf_rkey key;
    CU_ASSERT_EQUAL_FATAL(pf_rkey_pack(stand->slots_mr, stand->far.urgent.endpoint, packed), 0);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_unpack(stand->near.urgent.endpoint, packed, &key), 0);
    stand->landing =
        (struct pf_landing){.in_place = in_place, .addr = (uintptr_t)stand->slots, .urgent = key};
    pf_responder_aim(&stand->responder, (uintptr_t)stand->slots, &key, PAGE, &stand->landing);
    stand->responder.memory = &stand->memory;
}

static void set_up(size_t max_message, bool ordered, bool in_place)
{
    stand = calloc(1, sizeof *stand);
    pf_options_init(&stand->options);
    stand->options.prefetch = false;
    stand->near = stand->far = (struct pf_session){
        .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
    stand->send.done = sent;
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->near, "inproc://responder", true), 0);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->far, "inproc://responder", false), 0);
    char *memory = aligned_alloc(PAGE, PAGES * PAGE);
    for (size_t i = 0; i < PAGES * PAGE; i++)
        memory[i] = (char)(i / 64 + i);
    stand->slots = calloc(PAGES, PAGE);
    CU_ASSERT_EQUAL_FATAL(pf_regions_add(&stand->regions, "r", memory, PAGES * PAGE, SHIFT, NULL),
                          0);
    struct pf_device *device = pf_session_device(&stand->near);
    struct pf_source_rails rails = {.count = 1, .devices = {device}};
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand->memory, &rails, &stand->regions, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand->memory, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_responder_open(&stand->responder, &stand->near, SLOTS), 0);
    connect_far();
    device->caps.max_message = max_message;
    device->caps.ordered_writes = ordered;
    aim(in_place);
}

static void take_down(void)
{
    pf_listener_close(stand->listener);
    pf_session_hang_up(&stand->far);
    pf_session_hang_up(&stand->near);
    pf_responder_close(&stand->responder);
    pf_source_memory_close(&stand->memory);
    pf_mr_dereg(stand->slots_mr);
    pf_mr_dereg(stand->message_mr);
    pf_session_close(&stand->far);
    pf_session_close(&stand->near);
    free(stand->regions.list[0].addr);
    free(stand->slots);
    free(stand);
}

static void ask(uint16_t slot, uint64_t page)
{
    struct pf_page_request request = {
        .kind = PF_REQUEST_PAGE, .slot = slot, .generation = 7, .page = page};
    pf_request_pack(&request, stand->message);
    struct pf_sge sge = {stand->message_mr, stand->message, PF_REQUEST_BYTES};
    CU_ASSERT_EQUAL(pf_send(stand->far.urgent.endpoint, &sge, 1, &stand->send), 0);
    drive();
}

/* One answer whose immediate comes when all of the page is there, however it was cut. */
static void check(size_t max_message, bool ordered, bool in_place)
{
    set_up(max_message, ordered, in_place);
    const char *memory = stand->regions.list[0].addr;
    for (unsigned i = 0; i < 3; i++) {
        size_t page = 3 - i;
        uint16_t slot = (uint16_t)(i % SLOTS);
        ask(slot, page);
        struct pf_answer answer = pf_answer_from_imm(stand->imm);
        CU_ASSERT_EQUAL(stand->answers, i + 1);
        CU_ASSERT_EQUAL(stand->marks, 0);
        CU_ASSERT_EQUAL(answer.slot, slot);
        CU_ASSERT_EQUAL(answer.generation, 7);
        CU_ASSERT_EQUAL(answer.status, PF_ANSWER_DATA);
        const char *at = stand->slots + (in_place ? page : slot) * PAGE;
        CU_ASSERT_EQUAL(memcmp(at, memory + page * PAGE, PAGE), 0);
    }
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.sent_bytes), 3 * PAGE);
    CU_ASSERT_EQUAL(stand->responder.worker.status, 0);
    take_down();
}

static void page_goes_in_one_write(void)
{
    check(PAGE, true, false);
    check(PAGE, false, false);
    check(PAGE, true, true);
}

static void page_goes_in_several_writes(void)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        check(PAGE / 2, true, in_place);
        check(20000, true, in_place);
        check(4096, true, in_place);
    }
}

static void page_goes_in_several_writes_and_a_flush(void)
{
    check(PAGE / 2, false, false);
    check(20000, false, false);
}

static void page_is_sent_once(void)
{
    set_up(PAGE, true, false);
    ask(0, 2);
    ask(0, 2);
    CU_ASSERT_EQUAL(stand->answers, 2);
    CU_ASSERT_EQUAL(stand->marks, 1); /* elsewhere */
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.sent_bytes), PAGE);
    take_down();
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"page_goes_in_one_write", page_goes_in_one_write},
        {"page_goes_in_several_writes", page_goes_in_several_writes},
        {"page_goes_in_several_writes_and_a_flush", page_goes_in_several_writes_and_a_flush},
        {"page_is_sent_once", page_is_sent_once},
        {NULL, NULL},
    };
    return pf_suite_run("responder", tests, argc > 1 ? argv[1] : NULL);
}
