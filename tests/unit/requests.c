/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's requests over inproc: the far end of the urgent lane is the test's own, so it
 * sees what is asked, in which order, and answers as it likes. The fault thread runs in the last
 * test.
 */
#include "core/arrival/faults.h"

#include "core/session/protocol.h"
#include "tests/suite.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 16, SLOTS = 2, RECEIVES = 64, BYTES = 64 };

struct far_receive {
    struct pf_op op;
    struct stand *stand;
    uint8_t bytes[BYTES];
};

struct stand {
    struct pf_options options;
    struct pf_counters counters;
    struct pf_regions regions;
    struct pf_session near, far;
    struct pf_arrival arrival;
    struct pf_fault_thread faults;
    struct pf_listener *listener;
    struct far_receive receives[RECEIVES];
    struct pf_mr *far_mr;
    struct pf_page_request asked[RECEIVES];
    unsigned asked_count, answered;
    struct pf_op send;
    bool sending;
    uint8_t message[PF_ANSWER_BYTES];
    int done_fd;
};

static void far_received(struct pf_op *op, int status, size_t bytes)
{
    struct far_receive *receive = pf_container_of(op, struct far_receive, op);
    struct stand *stand = receive->stand;
    if (status == 0 &&
        pf_request_unpack(receive->bytes, bytes, &stand->asked[stand->asked_count]) == 0)
        stand->asked_count++;
}

static void far_sent(struct pf_op *op, int status, size_t bytes)
{
    (void)status;
    (void)bytes;
    pf_container_of(op, struct stand, send)->sending = false;
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct stand *stand = ctx;
    struct pf_port *port = &stand->near.urgent;
    struct pf_endpoint_attr attr =
        pf_port_attr(port, SLOTS, stand->faults.requests.receive_count, BYTES);
    (void)data;
    (void)len;
    CU_ASSERT_EQUAL_FATAL(pf_accept(request, port->lane, &attr, NULL, 0, &port->endpoint, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_requests_post_receives(&stand->faults.requests), 0);
}

static void drive(struct stand *stand)
{
    for (int i = 0; i < 20; i++) {
        pf_progress(stand->near.urgent.lane, 16);
        pf_progress(stand->near.control.lane, 16);
        pf_progress(stand->far.urgent.lane, 16);
    }
}

static void connect_far(struct stand *stand)
{
    static const struct pf_listener_events events = {.request = on_request};
    struct pf_port *port = &stand->far.urgent;
    struct pf_endpoint_attr attr = pf_port_attr(port, 16, RECEIVES, BYTES);
    CU_ASSERT_EQUAL_FATAL(pf_listen(stand->near.control.lane, "inproc://requests", &events, stand,
                                    &stand->listener, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(
        pf_connect(port->lane, "inproc://requests", &attr, NULL, 0, &port->endpoint, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_mr_reg(pf_session_device(&stand->far), stand, sizeof *stand,
                                    PF_LOCAL_WRITE, &stand->far_mr, NULL),
                          0);
    for (int i = 0; i < RECEIVES; i++) {
        struct far_receive *receive = &stand->receives[i];
        receive->op.done = far_received;
        receive->stand = stand;
        struct pf_sge sge = {stand->far_mr, receive->bytes, BYTES};
        CU_ASSERT_EQUAL_FATAL(pf_recv(port->endpoint, &sge, &receive->op), 0);
    }
    while (!port->connected || !stand->near.urgent.connected)
        drive(stand);
}

static struct stand *set_up(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_region *region;
    pf_options_init(&stand->options);
    stand->options.slots = SLOTS;
    stand->near = stand->far = (struct pf_session){
        .options = &stand->options, .counters = &stand->counters, .wake_fd = -1};
    stand->send.done = far_sent;
    stand->done_fd = eventfd(0, EFD_NONBLOCK);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->near, "inproc://requests", true), 0);
    CU_ASSERT_EQUAL_FATAL(pf_session_open(&stand->far, "inproc://requests", false), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(&stand->regions, "r", PAGES * PF_PAGE_SIZE, 0, 0, &region, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_arrival_open(&stand->arrival, &stand->regions, &stand->counters, stand->done_fd, NULL),
        0);
    pf_arrival_expect(&stand->arrival, 0, (struct pf_run){0, PAGES});
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_open(&stand->faults, &stand->near, &stand->arrival), 0);
    connect_far(stand);
    CU_ASSERT_EQUAL_FATAL(pf_arrival_arm(&stand->arrival, NULL), 0);
    return stand;
}

static void take_down(struct stand *stand)
{
    pf_arrival_disarm(&stand->arrival);
    pf_listener_close(stand->listener);
    pf_session_hang_up(&stand->far);
    pf_session_hang_up(&stand->near);
    pf_fault_thread_close(&stand->faults);
    pf_mr_dereg(stand->far_mr);
    pf_session_close(&stand->far);
    pf_session_close(&stand->near);
    pf_arrival_close(&stand->arrival);
    pf_regions_unmap(&stand->regions);
    close(stand->done_fd);
    free(stand);
}

static void wish(struct stand *stand, size_t page)
{
    struct pf_wish fields = {.page = page};
    pf_requests_wish(&stand->faults.requests, &fields);
}

static void post_answer(struct stand *stand, const struct pf_page_request *asked, uint8_t status)
{
    struct pf_wire wire = pf_wire_over(stand->message, sizeof stand->message);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u32(&wire, pf_answer_to_imm((struct pf_answer){asked->slot, asked->generation, status}));
    struct pf_sge sge = {stand->far_mr, stand->message, sizeof stand->message};
    stand->sending = pf_send(stand->far.urgent.endpoint, &sge, 1, &stand->send) == 0;
}

static void answer(struct stand *stand, uint16_t slot, uint16_t generation, uint8_t status)
{
    while (stand->sending)
        drive(stand);
    post_answer(stand, &(struct pf_page_request){.slot = slot, .generation = generation}, status);
    drive(stand);
    pf_requests_advance(&stand->faults.requests);
    drive(stand);
}

/* The oldest first, however many had to wait. */
static void waiting_list_keeps_its_order(void)
{
    struct stand *stand = set_up();
    for (size_t page = 0; page < PAGES; page++)
        wish(stand, (page * 5) % PAGES);
    drive(stand);
    CU_ASSERT_EQUAL(stand->asked_count, SLOTS);
    CU_ASSERT_EQUAL(stand->faults.requests.wish_count, PAGES - SLOTS);
    for (unsigned i = 0; i < PAGES; i++) {
        CU_ASSERT_EQUAL_FATAL(stand->asked_count, i + SLOTS < PAGES ? i + SLOTS : PAGES);
        CU_ASSERT_EQUAL(stand->asked[i].page, (i * 5) % PAGES);
        answer(stand, stand->asked[i].slot, stand->asked[i].generation, PF_ANSWER_ZERO);
    }
    CU_ASSERT_EQUAL(stand->faults.requests.status, 0);
    CU_ASSERT_EQUAL(stand->faults.requests.busy, 0);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), 0);
    take_down(stand);
}

static void slot_comes_back_with_a_new_generation(void)
{
    struct stand *stand = set_up();
    for (unsigned i = 0; i < 6; i++) {
        wish(stand, i);
        drive(stand);
        CU_ASSERT_EQUAL_FATAL(stand->asked_count, i + 1);
        answer(stand, stand->asked[i].slot, stand->asked[i].generation, PF_ANSWER_ZERO);
    }
    for (unsigned i = 0; i < 6; i++)
        for (unsigned j = 0; j < i; j++)
            CU_ASSERT_FALSE(stand->asked[i].slot == stand->asked[j].slot &&
                            stand->asked[i].generation == stand->asked[j].generation);
    CU_ASSERT_EQUAL(stand->faults.requests.status, 0);
    take_down(stand);
}

static void assert_refused(struct stand *stand)
{
    CU_ASSERT_EQUAL(stand->faults.requests.status, -EPROTO);
    CU_ASSERT_PTR_NOT_NULL(strstr(stand->faults.requests.why.text, "nobody asked for"));
    take_down(stand);
}

static void answer_of_an_old_generation_is_refused(void)
{
    struct stand *stand = set_up();
    wish(stand, 0);
    drive(stand);
    struct pf_page_request first = stand->asked[0];
    answer(stand, first.slot, first.generation, PF_ANSWER_ZERO);
    wish(stand, 1);
    wish(stand, 2);
    drive(stand);
    CU_ASSERT_EQUAL(stand->faults.requests.busy, SLOTS);
    answer(stand, first.slot, first.generation, PF_ANSWER_ZERO);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), (PAGES - 1) * PF_PAGE_SIZE);
    assert_refused(stand);
}

static void answer_for_a_free_slot_is_refused(void)
{
    struct stand *stand = set_up();
    answer(stand, 0, 0, PF_ANSWER_ZERO);
    assert_refused(stand);
}

static void answer_for_no_slot_is_refused(void)
{
    struct stand *stand = set_up();
    answer(stand, SLOTS, 0, PF_ANSWER_ZERO);
    assert_refused(stand);
}

static void answer_of_no_kind_is_refused(void)
{
    struct stand *stand = set_up();
    wish(stand, 0);
    drive(stand);
    answer(stand, stand->asked[0].slot, stand->asked[0].generation, 7);
    assert_refused(stand);
}

/* Data that comes without data: a send can't bring a page. */
static void data_by_message_is_refused(void)
{
    struct stand *stand = set_up();
    wish(stand, 0);
    drive(stand);
    answer(stand, stand->asked[0].slot, stand->asked[0].generation, PF_ANSWER_DATA);
    assert_refused(stand);
}

/* The page comes on the bulk lane: the slot is free, the page is still missing. */
static void elsewhere_gives_the_slot_back(void)
{
    struct stand *stand = set_up();
    wish(stand, 3);
    drive(stand);
    answer(stand, stand->asked[0].slot, stand->asked[0].generation, PF_ANSWER_ELSEWHERE);
    CU_ASSERT_EQUAL(stand->faults.requests.status, 0);
    CU_ASSERT_EQUAL(stand->faults.requests.busy, 0);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), PAGES * PF_PAGE_SIZE);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.elsewhere), 1);
    take_down(stand);
}

/* ---- with the fault thread ------------------------------------------------------------------- */

enum { LATE = 8, GIVEN_BACK = 9 };

struct touch {
    pthread_t thread;
    volatile char *at;
};

static void *touch(void *arg)
{
    struct touch *self = arg;
    (void)*self->at;
    return NULL;
}

static void *give_back(void *arg)
{
    struct touch *self = arg;
    madvise((char *)self->at, PF_PAGE_SIZE, MADV_DONTNEED);
    return NULL;
}

static void start(struct stand *stand, struct touch *self, size_t page, void *(*run)(void *))
{
    self->at = pf_region_page(&stand->regions.list[0], page);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&self->thread, NULL, run, self), 0);
}

/* Drives the far end alone until it is so; false if it is not in half a minute. */
static bool comes_true(struct stand *stand, bool (*is_so)(struct stand *stand))
{
    for (int i = 0; i < 30000; i++) {
        pf_progress(stand->far.urgent.lane, 16);
        if (is_so(stand))
            return true;
        usleep(1000);
    }
    return false;
}

/* The slots are taken, and one more fault was read: no other will be before it is on the list. */
static bool list_is_full(struct stand *stand)
{
    return stand->asked_count == SLOTS && pf_count_get(&stand->counters.faults) == SLOTS + 1;
}

static bool fault_is_unread(struct stand *stand)
{
    struct pollfd kernel = {.fd = stand->arrival.uffd.fd, .events = POLLIN};
    return poll(&kernel, 1, 0) == 1;
}

static bool event_was_read(struct stand *stand)
{
    return pf_count_get(&stand->counters.given_back_pages) == 1;
}

static bool next_is_asked(struct stand *stand)
{
    return stand->asked_count > stand->answered && !stand->sending;
}

static bool answer_was_sent(struct stand *stand)
{
    return !stand->sending;
}

/* As many threads wait as the list is long, and one more; then an event comes, and the answers. */
static void event_is_read_behind_a_full_list(void)
{
    struct stand *stand = set_up();
    struct touch touches[SLOTS + 2], giver;
    stand->faults.requests.wish_room = 1;
    CU_ASSERT_EQUAL_FATAL(pf_fault_thread_start(&stand->faults), 0);
    for (unsigned i = 0; i <= SLOTS; i++)
        start(stand, &touches[i], i, touch);
    CU_ASSERT_TRUE_FATAL(comes_true(stand, list_is_full));
    start(stand, &touches[SLOTS + 1], LATE, touch);
    CU_ASSERT_TRUE_FATAL(comes_true(stand, fault_is_unread));
    start(stand, &giver, GIVEN_BACK, give_back);
    CU_ASSERT_TRUE_FATAL(comes_true(stand, event_was_read));
    for (; stand->answered < SLOTS + 2; stand->answered++) {
        CU_ASSERT_TRUE_FATAL(comes_true(stand, next_is_asked));
        post_answer(stand, &stand->asked[stand->answered], PF_ANSWER_ZERO);
    }
    CU_ASSERT_TRUE(comes_true(stand, answer_was_sent));
    for (unsigned i = 0; i < SLOTS + 2; i++)
        pthread_join(touches[i].thread, NULL);
    pthread_join(giver.thread, NULL);
    pf_worker_stop(&stand->faults.worker);
    CU_ASSERT_EQUAL(stand->faults.worker.status, 0);
    CU_ASSERT_EQUAL(atomic_load(&stand->arrival.missing_bytes), (PAGES - SLOTS - 3) * PF_PAGE_SIZE);
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"waiting_list_keeps_its_order", waiting_list_keeps_its_order},
        {"slot_comes_back_with_a_new_generation", slot_comes_back_with_a_new_generation},
        {"answer_of_an_old_generation_is_refused", answer_of_an_old_generation_is_refused},
        {"answer_for_a_free_slot_is_refused", answer_for_a_free_slot_is_refused},
        {"answer_for_no_slot_is_refused", answer_for_no_slot_is_refused},
        {"answer_of_no_kind_is_refused", answer_of_no_kind_is_refused},
        {"data_by_message_is_refused", data_by_message_is_refused},
        {"elsewhere_gives_the_slot_back", elsewhere_gives_the_slot_back},
        {"event_is_read_behind_a_full_list", event_is_read_behind_a_full_list},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    return pf_suite_run("requests", tests, argc > 1 ? argv[1] : NULL);
}
