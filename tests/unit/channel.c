/* SPDX-License-Identifier: BSD-2-Clause */
/* The control channel over inproc, both ends in this thread. */
#include "core/session/channel.h"

#include "core/backends.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct end {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_channel channel;
    struct pf_endpoint *endpoint;
    struct pf_op raw;
    unsigned next_out, next_in; /* numbers in the messages said and heard */
};

struct pair {
    struct end near, far;
    struct pf_listener *listener;
    unsigned connected;
};

static void on_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)endpoint, (void)data, (void)len;
    ((struct pair *)ctx)->connected++;
}

static void on_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                      size_t len)
{
    (void)ctx, (void)endpoint, (void)status, (void)data, (void)len;
}

static const struct pf_endpoint_events endpoint_events = {on_connected, on_closed};

static struct pf_endpoint_attr attr_of(struct pair *pair)
{
    return (struct pf_endpoint_attr){
        .events = &endpoint_events,
        .ctx = pair,
        .send_depth = PF_CHANNEL_SENDS + 4,
        .recv_depth = PF_CHANNEL_RECEIVES,
        .recv_size = PF_CHANNEL_MESSAGE,
    };
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct pair *pair = ctx;
    struct pf_endpoint_attr attr = attr_of(pair);
    (void)data, (void)len;
    CU_ASSERT_EQUAL_FATAL(
        pf_accept(request, pair->far.lane, &attr, NULL, 0, &pair->far.endpoint, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_channel_attach(&pair->far.channel, pair->far.endpoint), 0);
}

static void open_end(struct end *end, bool listens)
{
    struct pf_device_attr attr = {.uri = "inproc://channel",
                                  .for_listen = listens,
                                  .node = PF_NODE_ANY,
                                  .transports = pf_backends};
    struct pf_lane_attr lane = {.depth = 0};
    const struct pf_transport *transport = pf_transport_find(pf_backends, attr.uri);
    CU_ASSERT_EQUAL_FATAL(pf_device_open(transport, &attr, &end->device, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_lane_open(end->device, &lane, &end->lane, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_channel_init(&end->channel, end->device, NULL), 0);
}

static void drive(struct pair *pair)
{
    for (int i = 0; i < 40; i++) {
        pf_progress(pair->near.lane, 8);
        pf_progress(pair->far.lane, 8);
    }
}

static struct pair *set_up(void)
{
    static const struct pf_listener_events events = {on_request};
    struct pair *pair = calloc(1, sizeof *pair);
    open_end(&pair->far, true);
    open_end(&pair->near, false);
    struct pf_endpoint_attr attr = attr_of(pair);
    CU_ASSERT_EQUAL_FATAL(
        pf_listen(pair->far.lane, "inproc://channel", &events, pair, &pair->listener, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_connect(pair->near.lane, "inproc://channel", &attr, NULL, 0, &pair->near.endpoint, NULL),
        0);
    CU_ASSERT_EQUAL_FATAL(pf_channel_attach(&pair->near.channel, pair->near.endpoint), 0);
    while (pair->connected < 2)
        drive(pair);
    return pair;
}

static void take_down(struct pair *pair)
{
    struct end *const ends[] = {&pair->near, &pair->far};
    pf_listener_close(pair->listener);
    for (int i = 0; i < 2; i++)
        pf_endpoint_close(ends[i]->endpoint);
    for (int i = 0; i < 2; i++) {
        pf_lane_close(ends[i]->lane);
        pf_channel_free(&ends[i]->channel);
        pf_device_close(ends[i]->device);
    }
    free(pair);
}

/* Say the next number; 0 or what the channel answers. */
static int say(struct end *end, size_t padding)
{
    static const uint8_t zeros[PF_CHANNEL_MESSAGE];
    struct pf_wire wire;
    int error = pf_channel_begin(&end->channel, &wire);
    if (error)
        return error;
    pf_put_u32(&wire, end->next_out);
    pf_put_bytes(&wire, zeros, padding);
    error = pf_channel_commit(&end->channel, PF_MSG_STATE, &wire);
    end->next_out += error == 0;
    return error;
}

/* Hear all there is, up to a number of messages; each must be the next number. */
static void hear(struct end *end, unsigned most)
{
    struct pf_message message;
    while (most-- > 0 && pf_channel_next(&end->channel, &message) == 1) {
        CU_ASSERT_EQUAL(message.type, PF_MSG_STATE);
        CU_ASSERT_EQUAL(pf_get_u32(&message.payload), end->next_in);
        end->next_in++;
    }
}

static void window_is_kept(void)
{
    struct pair *pair = set_up();
    struct pf_message message;
    for (int i = 0; i < PF_CHANNEL_WINDOW; i++)
        CU_ASSERT_EQUAL(say(&pair->near, 0), 0);
    CU_ASSERT_EQUAL(say(&pair->near, 0), -EAGAIN);
    drive(pair);
    pf_channel_next(&pair->near.channel, &message);
    CU_ASSERT_EQUAL(say(&pair->near, 0), -EAGAIN); /* arrived is not handled */
    hear(&pair->far, PF_CHANNEL_WINDOW);
    CU_ASSERT_EQUAL(pf_channel_next(&pair->far.channel, &message), 0);
    drive(pair);
    CU_ASSERT_EQUAL(pf_channel_next(&pair->near.channel, &message), 0);
    CU_ASSERT_EQUAL(say(&pair->near, 0), 0);
    take_down(pair);
}

/* Far more messages than the window, with pauses of every length at either end. */
static void long_talk_in_both_directions(void)
{
    enum { MESSAGES = 500 };
    struct pair *pair = set_up();
    unsigned seed = 1;
    for (int i = 0; i < 100000 && (pair->near.next_in < MESSAGES || pair->far.next_in < MESSAGES);
         i++) {
        struct end *end = rand_r(&seed) % 2 ? &pair->near : &pair->far;
        unsigned burst = (unsigned)rand_r(&seed) % 20;
        for (unsigned n = 0; n < burst && end->next_out < MESSAGES; n++)
            if (say(end, (size_t)rand_r(&seed) % 3000))
                break;
        hear(rand_r(&seed) % 2 ? &pair->near : &pair->far, (unsigned)rand_r(&seed) % 20);
        if (rand_r(&seed) % 2)
            drive(pair);
    }
    CU_ASSERT_EQUAL(pair->near.next_in, MESSAGES);
    CU_ASSERT_EQUAL(pair->far.next_in, MESSAGES);
    CU_ASSERT_EQUAL(pair->near.channel.status, 0);
    CU_ASSERT_EQUAL(pair->far.channel.status, 0);
    take_down(pair);
}

/* One side talks, the other only listens: acknowledgements go on their own. */
static void silent_listener_acknowledges(void)
{
    struct pair *pair = set_up();
    struct pf_message message;
    for (int i = 0; i < 20 * PF_CHANNEL_WINDOW; i++) {
        int error = say(&pair->near, 0);
        CU_ASSERT(error == 0 || error == -EAGAIN);
        drive(pair);
        hear(&pair->far, 3);
        drive(pair);
        CU_ASSERT_EQUAL(pf_channel_next(&pair->near.channel, &message), 0);
    }
    CU_ASSERT(pair->far.next_in > 10 * PF_CHANNEL_WINDOW);
    take_down(pair);
}

static void longest_message(void)
{
    struct pair *pair = set_up();
    enum { ROOM = PF_CHANNEL_MESSAGE - PF_HEADER_BYTES };
    CU_ASSERT_EQUAL(say(&pair->near, ROOM - 4), 0);
    CU_ASSERT_EQUAL(say(&pair->near, ROOM - 3), -EMSGSIZE);
    drive(pair);
    hear(&pair->far, 5);
    CU_ASSERT_EQUAL(pair->far.next_in, 1);
    take_down(pair);
}

static void raw_done(struct pf_op *op, int status, size_t bytes)
{
    (void)op, (void)status, (void)bytes;
}

static void send_raw(struct pair *pair, const void *bytes, size_t length)
{
    struct end *end = &pair->near;
    uint8_t *room = end->channel.sends[PF_CHANNEL_SENDS - 1].bytes;
    struct pf_sge sge = {end->channel.mr, room, length};
    memcpy(room, bytes, length);
    end->raw.done = raw_done;
    CU_ASSERT_EQUAL(pf_send(end->endpoint, &sge, 1, &end->raw), 0);
    drive(pair);
}

static void garbage_ends_it(void)
{
    struct pair *pair = set_up();
    struct pf_message message;
    struct pf_wire wire;
    send_raw(pair, "hello, who is there?", 20);
    CU_ASSERT_EQUAL(pf_channel_next(&pair->far.channel, &message), -EPROTO);
    CU_ASSERT_EQUAL(pf_channel_next(&pair->far.channel, &message), -EPROTO);
    CU_ASSERT_EQUAL(pf_channel_begin(&pair->far.channel, &wire), -EPROTO);
    take_down(pair);
}

/* Messages handled that were never sent, or fewer than before. */
static void wrong_acknowledgement_ends_it(void)
{
    for (uint32_t handled = 1; handled < 3; handled++) {
        struct pair *pair = set_up();
        struct pf_message message;
        uint8_t bytes[PF_HEADER_BYTES];
        struct pf_header header = {PF_MSG_ACK, 0, handled == 1 ? 1 : UINT32_MAX};
        pf_header_pack(&header, bytes);
        send_raw(pair, bytes, sizeof bytes);
        CU_ASSERT_EQUAL(pf_channel_next(&pair->far.channel, &message), -EPROTO);
        take_down(pair);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"window_is_kept", window_is_kept},
        {"long_talk_in_both_directions", long_talk_in_both_directions},
        {"silent_listener_acknowledges", silent_listener_acknowledges},
        {"longest_message", longest_message},
        {"garbage_ends_it", garbage_ends_it},
        {"wrong_acknowledgement_ends_it", wrong_acknowledgement_ends_it},
        {NULL, NULL},
    };
    return pf_suite_run("channel", tests, argc > 1 ? argv[1] : NULL);
}
