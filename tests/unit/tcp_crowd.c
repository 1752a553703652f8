/* SPDX-License-Identifier: BSD-2-Clause */
/* A tcp lane with more endpoints than it tries one by one, and the addresses it can be named by. */
#include "transport/tcp/tcp.h"

#include "base/clock.h"
#include "tests/suite.h"

#include <poll.h>
#include <stdlib.h>

enum { CROWD = 24, ROUNDS = 50, MESSAGE = 64 };

struct player {
    struct pf_endpoint *endpoint;
    struct pf_op got, sent;
    char buffer[MESSAGE];
    struct pf_mr *mr;
    bool answers;
    int connected, closed, closed_status, heard;
};

struct hall {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_listener *listener;
    char uri[128];
    struct player callers[CROWD], answerers[CROWD];
    unsigned accepted;
};

static void speak(struct player *player)
{
    static char word[MESSAGE] = "word";
    struct pf_sge from = {NULL, word, MESSAGE};
    CU_ASSERT_EQUAL(pf_send(player->endpoint, &from, 1, &player->sent), 0);
}

static void listen_once(struct player *player)
{
    struct pf_sge to = {player->mr, player->buffer, MESSAGE};
    CU_ASSERT_EQUAL(pf_recv(player->endpoint, &to, &player->got), 0);
}

static void on_sent(struct pf_op *op, int status, size_t bytes)
{
    (void)op;
    (void)bytes;
    CU_ASSERT_TRUE(status == 0 || status == -ECANCELED);
}

static void on_got(struct pf_op *op, int status, size_t bytes)
{
    struct player *player = pf_container_of(op, struct player, got);
    if (status)
        return;
    CU_ASSERT_EQUAL(bytes, MESSAGE);
    listen_once(player);
    if (++player->heard < ROUNDS || player->answers)
        speak(player);
}

static void on_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    ((struct player *)ctx)->connected++;
}

static void on_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                      size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    ((struct player *)ctx)->closed++;
    ((struct player *)ctx)->closed_status = status;
}

static const struct pf_endpoint_events endpoint_events = {on_connected, on_closed};

static struct pf_endpoint_attr attr_for(struct player *player)
{
    return (struct pf_endpoint_attr){.events = &endpoint_events,
                                     .ctx = player,
                                     .send_depth = 4,
                                     .recv_depth = 4,
                                     .recv_size = MESSAGE};
}

static void prepare(struct hall *hall, struct player *player)
{
    player->got.done = on_got;
    player->sent.done = on_sent;
    CU_ASSERT_EQUAL_FATAL(
        pf_mr_reg(hall->device, player->buffer, MESSAGE, PF_LOCAL_WRITE, &player->mr, NULL), 0);
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct hall *hall = ctx;
    struct player *player = &hall->answerers[hall->accepted++];
    struct pf_endpoint_attr attr = attr_for(player);
    (void)data;
    (void)len;
    player->answers = true;
    prepare(hall, player);
    CU_ASSERT_EQUAL_FATAL(pf_accept(request, hall->lane, &attr, NULL, 0, &player->endpoint, NULL),
                          0);
    listen_once(player);
}

static const struct pf_listener_events listener_events = {on_request};

static int hall_open(struct hall *hall, const char *uri)
{
    struct pf_device_attr attr = {.uri = uri, .for_listen = true, .node = PF_NODE_ANY};
    struct pf_lane_attr lane_attr = {0};
    memset(hall, 0, sizeof *hall);
    CU_ASSERT_EQUAL_FATAL(pf_device_open(&pf_tcp_transport, &attr, &hall->device, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_lane_open(hall->device, &lane_attr, &hall->lane, NULL), 0);
    int status = pf_listen(hall->lane, uri, &listener_events, hall, &hall->listener, NULL);
    if (status == 0)
        CU_ASSERT_EQUAL(pf_listener_uri(hall->listener, hall->uri, sizeof hall->uri), 0);
    return status;
}

static void call(struct hall *hall, struct player *player, const char *uri)
{
    struct pf_endpoint_attr attr = attr_for(player);
    prepare(hall, player);
    CU_ASSERT_EQUAL_FATAL(pf_connect(hall->lane, uri, &attr, NULL, 0, &player->endpoint, NULL), 0);
    listen_once(player);
}

static void leave(struct player *player)
{
    if (player->endpoint)
        pf_endpoint_close(player->endpoint);
    player->endpoint = NULL;
}

static void hall_close(struct hall *hall)
{
    for (int i = 0; i < CROWD; i++) {
        leave(&hall->callers[i]);
        leave(&hall->answerers[i]);
    }
    if (hall->listener)
        pf_listener_close(hall->listener);
    pf_lane_close(hall->lane);
    for (int i = 0; i < CROWD; i++) {
        if (hall->callers[i].mr)
            pf_mr_dereg(hall->callers[i].mr);
        if (hall->answerers[i].mr)
            pf_mr_dereg(hall->answerers[i].mr);
    }
    pf_device_close(hall->device);
}

/* As a sleeping owner does it; a lost wake-up shows as a sleep that ends without an event. */
static bool sleep_once(struct hall *hall)
{
    struct pollfd waiting = {.fd = pf_lane_fd(hall->lane), .events = POLLIN};
    bool armed = pf_lane_arm(hall->lane) == 0;
    if (pf_progress(hall->lane, 3) > 0 || !armed)
        return true;
    if (poll(&waiting, 1, 30000) != 1)
        return false;
    pf_progress(hall->lane, 3);
    return true;
}

static bool all_heard(const struct hall *hall, int rounds)
{
    for (int i = 0; i < CROWD; i++)
        if (hall->callers[i].heard < rounds)
            return false;
    return true;
}

static bool all_connected(const struct hall *hall)
{
    for (int i = 0; i < CROWD; i++)
        if (!hall->callers[i].connected || !hall->answerers[i].connected)
            return false;
    return true;
}

#define SLEEP_UNTIL(hall, condition)                                                               \
    do {                                                                                           \
        while (!(condition))                                                                       \
            CU_ASSERT_TRUE_FATAL(sleep_once(hall));                                                \
    } while (0)

/* Each pair plays ping-pong; the owner sleeps, and looks with a budget smaller than the crowd. */
static void crowd(void)
{
    struct hall hall;
    CU_ASSERT_EQUAL_FATAL(hall_open(&hall, "tcp://127.0.0.1:0"), 0);
    for (int i = 0; i < CROWD; i++)
        call(&hall, &hall.callers[i], hall.uri);
    SLEEP_UNTIL(&hall, all_connected(&hall));
    for (int i = 0; i < CROWD; i++)
        speak(&hall.callers[i]);
    SLEEP_UNTIL(&hall, all_heard(&hall, ROUNDS));
    for (int i = 0; i < CROWD; i++)
        CU_ASSERT_EQUAL(hall.callers[i].heard, ROUNDS);

    /* Hang up on every second: the others play on, and each peer hears of it. */
    for (int i = 0; i < CROWD; i += 2)
        pf_shutdown(hall.callers[i].endpoint);
    for (int i = 1; i < CROWD; i += 2)
        speak(&hall.callers[i]);
    for (int i = 0; i < CROWD; i += 2) {
        SLEEP_UNTIL(&hall, hall.callers[i].closed);
        CU_ASSERT_EQUAL(hall.callers[i].closed_status, 0);
    }
    for (int i = 1; i < CROWD; i += 2)
        SLEEP_UNTIL(&hall, hall.callers[i].heard == ROUNDS + 1);
    hall_close(&hall);
}

static void one_talk(struct hall *hall, const char *uri)
{
    struct player *caller = &hall->callers[0];
    call(hall, caller, uri);
    SLEEP_UNTIL(hall, caller->connected || caller->closed);
    CU_ASSERT_TRUE_FATAL(caller->connected);
    speak(caller);
    SLEEP_UNTIL(hall, caller->heard == ROUNDS);
}

static void ipv6(void)
{
    struct hall hall;
    if (hall_open(&hall, "tcp://[::1]:0"))
        printf("skipped: this host has no IPv6 loopback ... ");
    else
        one_talk(&hall, hall.uri);
    hall_close(&hall);
}

/* A name with an address nobody listens on: the next one is tried. */
static void name(void)
{
    struct hall hall;
    char uri[160];
    CU_ASSERT_EQUAL_FATAL(hall_open(&hall, "tcp://127.0.0.1:0"), 0);
    snprintf(uri, sizeof uri, "tcp://localhost%s", strrchr(hall.uri, ':'));
    one_talk(&hall, uri);
    hall_close(&hall);
}

static void any_address(void)
{
    struct hall hall;
    char uri[160];
    CU_ASSERT_EQUAL_FATAL(hall_open(&hall, "tcp"), 0);
    CU_ASSERT_PTR_NULL(strstr(hall.uri, "0.0.0.0"));
    CU_ASSERT_PTR_NULL(strstr(hall.uri, "[::]"));
    snprintf(uri, sizeof uri, "tcp://127.0.0.1%s", strrchr(hall.uri, ':'));
    one_talk(&hall, uri);
    hall_close(&hall);
}

static void no_such_host(void)
{
    struct pf_device_attr attr = {.uri = "tcp://no-such-host.invalid:1", .node = PF_NODE_ANY};
    struct pf_device *device;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_device_open(&pf_tcp_transport, &attr, &device, &why), -ENODEV);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "no-such-host.invalid"));
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"a crowd on one lane", crowd},
        {"IPv6", ipv6},
        {"a name", name},
        {"any address", any_address},
        {"no such host", no_such_host},
        {NULL, NULL},
    };
    return pf_suite_run("tcp crowd", tests, argc > 1 ? argv[1] : NULL);
}
