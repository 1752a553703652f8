/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile and odd streams against the tcp back end, sent by a raw socket. In each test a
 * well-behaved connection lives on the same lane, and goes on undisturbed.
 */
#include "transport/tcp/tcp.h"

#include "base/clock.h"
#include "tests/suite.h"
#include "transport/tcp/wire.h"
#include "transport/uri.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REGION = 1 << 16, DEPTH = 8, MESSAGE = 256 };

struct end {
    struct pf_endpoint *endpoint;
    int connected, closed, status;
};

struct counted {
    struct pf_op op;
    int calls, status;
    size_t bytes;
};

/* One lane: a listener, a well-behaved connection to itself, and what a raw socket got accepted. */
struct scene {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_listener *listener;
    char uri[128];
    struct end good[2], victim; /* good[0] connected, good[1] was accepted */
    struct end *expected;       /* who the next request becomes; NULL: nobody is expected */
    int requests;
    char *region;
    struct pf_mr *mr;
    uint8_t packed[PF_RKEY_BYTES];
    uint64_t key; /* as the wire has it, in host order */
    int fd;       /* the raw socket */
};

static void on_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    ((struct end *)ctx)->connected++;
}

static void on_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                      size_t len)
{
    struct end *end = ctx;
    (void)endpoint;
    (void)data;
    (void)len;
    end->closed++;
    end->status = status;
}

static const struct pf_endpoint_events endpoint_events = {on_connected, on_closed};

static struct pf_endpoint_attr attr_for(struct end *end)
{
    return (struct pf_endpoint_attr){.events = &endpoint_events,
                                     .ctx = end,
                                     .send_depth = DEPTH,
                                     .recv_depth = DEPTH,
                                     .recv_size = MESSAGE};
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct scene *scene = ctx;
    struct end *end = scene->expected;
    (void)data;
    (void)len;
    scene->requests++;
    if (!end) {
        pf_reject(request, NULL, 0);
        return;
    }
    struct pf_endpoint_attr attr = attr_for(end);
    scene->expected = NULL;
    if (pf_accept(request, scene->lane, &attr, NULL, 0, &end->endpoint, NULL))
        end->endpoint = NULL;
}

static const struct pf_listener_events listener_events = {on_request};

static void on_done(struct pf_op *op, int status, size_t bytes)
{
    struct counted *counted = pf_container_of(op, struct counted, op);
    counted->calls++;
    counted->status = status;
    counted->bytes = bytes;
}

static void step(struct scene *scene)
{
    if (pf_progress(scene->lane, 16) == 0)
        sched_yield();
}

#define UNTIL(scene, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ = pf_now_ns() + 30000000000ull;                                              \
        while (!(condition) && pf_now_ns() < end_)                                                 \
            step(scene);                                                                           \
        CU_ASSERT_TRUE_FATAL(!!(condition));                                                       \
    } while (0)

static void join_good(struct scene *scene)
{
    struct pf_endpoint_attr attr = attr_for(&scene->good[0]);
    scene->expected = &scene->good[1];
    CU_ASSERT_EQUAL_FATAL(
        pf_connect(scene->lane, scene->uri, &attr, NULL, 0, &scene->good[0].endpoint, NULL), 0);
    UNTIL(scene, scene->good[0].connected && scene->good[1].connected);
}

static void open_scene(struct scene *scene)
{
    struct pf_device_attr device_attr = {
        .uri = "tcp://127.0.0.1:0", .for_listen = true, .node = PF_NODE_ANY};
    struct pf_lane_attr lane_attr = {0};
    *scene = (struct scene){.fd = -1};
    CU_ASSERT_EQUAL_FATAL(pf_device_open(&pf_tcp_transport, &device_attr, &scene->device, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_lane_open(scene->device, &lane_attr, &scene->lane, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_listen(scene->lane, device_attr.uri, &listener_events, scene, &scene->listener, NULL),
        0);
    CU_ASSERT_EQUAL(pf_listener_uri(scene->listener, scene->uri, sizeof scene->uri), 0);
    scene->region = calloc(1, REGION);
    CU_ASSERT_EQUAL_FATAL(pf_mr_reg(scene->device, scene->region, REGION,
                                    PF_REMOTE_WRITE | PF_REMOTE_READ, &scene->mr, NULL),
                          0);
    join_good(scene);
    CU_ASSERT_EQUAL(pf_rkey_pack(scene->mr, scene->good[1].endpoint, scene->packed), 0);
    memcpy(&scene->key, scene->packed, sizeof scene->key);
    scene->key = le64toh(scene->key);
}

/* A message and an immediate over the well-behaved connection. */
static void good_still_works(struct scene *scene)
{
    struct counted got[2] = {0}, sent[2] = {0};
    struct pf_sge to = {scene->mr, scene->region + REGION - MESSAGE, MESSAGE};
    struct pf_sge from = {scene->mr, scene->region + REGION / 2, 64};
    struct pf_rkey rkey;
    for (int i = 0; i < 2; i++) {
        got[i].op.done = sent[i].op.done = on_done;
        CU_ASSERT_EQUAL_FATAL(pf_recv(scene->good[1].endpoint, &to, &got[i].op), 0);
    }
    struct pf_endpoint *client = scene->good[0].endpoint;
    CU_ASSERT_EQUAL(pf_rkey_unpack(client, scene->packed, &rkey), 0);
    CU_ASSERT_EQUAL_FATAL(pf_send(client, &from, 1, &sent[0].op), 0);
    CU_ASSERT_EQUAL_FATAL(pf_write_imm(client, &from, 1,
                                       (uintptr_t)scene->region + REGION / 2 + 4096, &rkey, 77,
                                       &sent[1].op),
                          0);
    UNTIL(scene, got[1].calls && sent[1].calls);
    CU_ASSERT_EQUAL(got[0].status, 0);
    CU_ASSERT_EQUAL(got[0].bytes, 64);
    CU_ASSERT_TRUE(got[1].op.has_imm && got[1].op.imm == 77);
    CU_ASSERT_EQUAL(scene->good[0].closed + scene->good[1].closed, 0);
}

static void close_scene(struct scene *scene)
{
    good_still_works(scene);
    struct end *ends[] = {&scene->good[0], &scene->good[1], &scene->victim};
    for (int i = 0; i < 3; i++)
        if (ends[i]->endpoint)
            pf_endpoint_close(ends[i]->endpoint);
    if (scene->fd >= 0)
        close(scene->fd);
    pf_listener_close(scene->listener);
    pf_lane_close(scene->lane);
    pf_mr_dereg(scene->mr);
    pf_device_close(scene->device);
    free(scene->region);
}

/* ---- the raw socket -------------------------------------------------------------------------- */

static void raw_connect(struct scene *scene)
{
    struct pf_uri uri;
    CU_ASSERT_EQUAL_FATAL(pf_uri_parse(scene->uri, &uri, NULL), 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(uri.port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    scene->fd = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL(setsockopt(scene->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    CU_ASSERT_EQUAL_FATAL(connect(scene->fd, (struct sockaddr *)&at, sizeof at), 0);
}

static void raw_bytes(struct scene *scene, const void *bytes, size_t len)
{
    ssize_t sent = send(scene->fd, bytes, len, MSG_NOSIGNAL);
    CU_ASSERT_TRUE(sent < 0 || (size_t)sent == len); /* the other side may have hung up already */
}

static void raw_frame(struct scene *scene, struct pf_tcp_header header, const void *payload,
                      size_t len)
{
    uint8_t bytes[PF_TCP_HEADER_BYTES + MESSAGE];
    if (header.version == 0)
        header.version = PF_TCP_VERSION;
    pf_tcp_encode(&header, bytes);
    if (len > 0)
        memcpy(bytes + PF_TCP_HEADER_BYTES, payload, len);
    raw_bytes(scene, bytes, PF_TCP_HEADER_BYTES + len);
}

/* Exactly len bytes, or false when the stream ended before. The lane moves on meanwhile. */
static bool raw_read(struct scene *scene, void *out, size_t len)
{
    size_t have = 0;
    uint64_t end = pf_now_ns() + 30000000000ull;
    while (have < len && pf_now_ns() < end) {
        ssize_t got = recv(scene->fd, (char *)out + have, len - have, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        if (got > 0)
            have += (size_t)got;
        step(scene);
    }
    return have == len;
}

static bool raw_header(struct scene *scene, struct pf_tcp_header *header)
{
    uint8_t bytes[PF_TCP_HEADER_BYTES];
    return raw_read(scene, bytes, sizeof bytes) && pf_tcp_decode(bytes, header);
}

static void raw_hung_up_on(struct scene *scene)
{
    char rest[64];
    CU_ASSERT_FALSE(raw_read(scene, rest, sizeof rest));
}

static void raw_nak(struct scene *scene, int code)
{
    struct pf_tcp_header header = {0};
    CU_ASSERT_TRUE(raw_header(scene, &header));
    CU_ASSERT_EQUAL(header.type, PF_TCP_NAK);
    CU_ASSERT_EQUAL((int)header.imm, code);
}

static const struct pf_tcp_header hello = {.type = PF_TCP_HELLO, .imm = 4};

/* Greet properly, and be accepted as the victim. */
static void raw_join(struct scene *scene)
{
    struct pf_tcp_header answer = {0};
    scene->expected = &scene->victim;
    raw_connect(scene);
    raw_frame(scene, hello, NULL, 0);
    CU_ASSERT_TRUE_FATAL(raw_header(scene, &answer));
    CU_ASSERT_EQUAL(answer.type, PF_TCP_ACCEPT);
    CU_ASSERT_EQUAL(answer.imm, DEPTH);
    UNTIL(scene, scene->victim.connected);
}

static void victim_ends(struct scene *scene, int status)
{
    UNTIL(scene, scene->victim.closed);
    CU_ASSERT_EQUAL(scene->victim.closed, 1);
    CU_ASSERT_EQUAL(scene->victim.status, status);
}

static struct pf_tcp_header write_to(const struct scene *scene, size_t offset, uint32_t length)
{
    return (struct pf_tcp_header){.type = PF_TCP_WRITE,
                                  .length = length,
                                  .addr = (uintptr_t)scene->region + offset,
                                  .key = scene->key};
}

/* ---- strangers ------------------------------------------------------------------------------- */

/* Each of these greetings is hung up on, and makes no request. */
static void bad_greetings(void)
{
    static const struct pf_tcp_header greetings[] = {
        {.type = PF_TCP_HELLO, .imm = 4, .length = PF_PRIVATE_DATA_MAX + 1},
        {.type = PF_TCP_HELLO, .imm = 4, .length = UINT32_MAX},
        {.type = PF_TCP_HELLO, .imm = 0},
        {.type = PF_TCP_HELLO, .imm = PF_TCP_MAX_DEPTH + 1},
        {.type = PF_TCP_WRITE, .imm = 4, .length = 16},
        {.type = PF_TCP_ACCEPT, .imm = 4},
        {.type = 255, .imm = 4},
    };
    struct scene scene;
    open_scene(&scene);
    for (size_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++) {
        raw_connect(&scene);
        raw_frame(&scene, greetings[i], NULL, 0);
        raw_hung_up_on(&scene);
        close(scene.fd);
    }
    raw_connect(&scene);
    static const char http[] = "GET / HTTP/1.1\r\nHost: somebody.else\r\n\r\n";
    raw_bytes(&scene, http, sizeof http);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.requests, 1);
    close_scene(&scene);
}

/* He is answered in our version, so that he can tell what is the matter. */
static void other_version(void)
{
    struct scene scene;
    struct pf_tcp_header greeting = hello, answer = {0};
    open_scene(&scene);
    raw_connect(&scene);
    greeting.version = PF_TCP_VERSION + 1;
    raw_frame(&scene, greeting, NULL, 0);
    CU_ASSERT_TRUE(raw_header(&scene, &answer));
    CU_ASSERT_EQUAL(answer.type, PF_TCP_REJECT);
    CU_ASSERT_EQUAL(answer.version, PF_TCP_VERSION);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.requests, 1);
    close_scene(&scene);
}

static void half_greeting(void)
{
    struct scene scene;
    uint8_t bytes[PF_TCP_HEADER_BYTES];
    struct pf_tcp_header greeting = hello;
    open_scene(&scene);
    raw_connect(&scene);
    greeting.version = PF_TCP_VERSION;
    pf_tcp_encode(&greeting, bytes);
    raw_bytes(&scene, bytes, sizeof bytes / 2);
    for (int i = 0; i < 100; i++)
        step(&scene);
    shutdown(scene.fd, SHUT_WR);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.requests, 1);
    close_scene(&scene);
}

/* A crowd that says nothing: others still get in, and the silent are hung up on in the end. */
static void silent_strangers(void)
{
    enum { CROWD = 80 };
    struct scene scene;
    int crowd[CROWD];
    open_scene(&scene);
    for (int i = 0; i < CROWD; i++) {
        raw_connect(&scene);
        crowd[i] = scene.fd;
        step(&scene);
    }
    raw_join(&scene);
    close(scene.fd);
    victim_ends(&scene, -ECONNRESET);
    for (int i = 0; i < CROWD; i++) {
        scene.fd = crowd[i];
        raw_hung_up_on(&scene);
        close(crowd[i]);
    }
    scene.fd = -1;
    close_scene(&scene);
}

/* ---- peers that break the protocol ----------------------------------------------------------- */

static void provoke(struct pf_tcp_header header, int status)
{
    struct scene scene;
    char payload[16] = "must not land";
    open_scene(&scene);
    raw_join(&scene);
    if (header.type == PF_TCP_WRITE || header.type == PF_TCP_READ) {
        header.addr += (uintptr_t)scene.region;
        header.key ^= scene.key;
    }
    raw_frame(&scene, header, payload, sizeof payload);
    raw_nak(&scene, -status);
    victim_ends(&scene, status);
    for (size_t i = 0; i < REGION; i++)
        if (scene.region[i] != 0)
            CU_FAIL("a refused write has landed");
    close_scene(&scene);
}

/* addr is relative to the region, key to its key. */
static void bad_keys(void)
{
    static const struct pf_tcp_header frames[] = {
        {.type = PF_TCP_WRITE, .length = 16, .key = 1},
        {.type = PF_TCP_WRITE, .length = 16, .key = UINT64_C(1) << 40},
        {.type = PF_TCP_WRITE, .length = 16, .addr = REGION - 15},
        {.type = PF_TCP_WRITE, .length = 16, .addr = (uint64_t)-1},
        {.type = PF_TCP_WRITE, .length = REGION + 1},
        {.type = PF_TCP_WRITE, .length = PF_TCP_MAX_MESSAGE},
        {.type = PF_TCP_READ, .length = 16, .addr = REGION},
        {.type = PF_TCP_READ, .length = 16, .key = 1},
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        provoke(frames[i], -EACCES);
}

static void bad_frames(void)
{
    static const struct pf_tcp_header frames[] = {
        {.type = 0},
        {.type = PF_TCP_TYPES},
        {.type = 255},
        {.type = PF_TCP_HELLO, .imm = 4},
        {.type = PF_TCP_ACCEPT, .imm = 4},
        {.type = PF_TCP_SEND, .length = 0},
        {.type = PF_TCP_SEND, .length = PF_TCP_MAX_MESSAGE + 1},
        {.type = PF_TCP_WRITE, .length = UINT32_MAX},
        {.type = PF_TCP_FLUSH, .length = 1},
        {.type = PF_TCP_FLUSH_ACK},
        {.type = PF_TCP_READ_DATA, .length = 16},
        {.type = PF_TCP_SEND, .length = 16, .version = PF_TCP_VERSION + 1},
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        provoke(frames[i], -EPROTO);
}

static void garbage_after_greeting(void)
{
    struct scene scene;
    uint32_t bytes[64];
    open_scene(&scene);
    raw_join(&scene);
    for (size_t i = 0; i < 64; i++)
        bytes[i] = (uint32_t)i * 2654435761u + 1;
    raw_bytes(&scene, bytes, sizeof bytes);
    raw_nak(&scene, EPROTO);
    victim_ends(&scene, -EPROTO);
    close_scene(&scene);
}

/* The data of a read that was never asked for, in front of the one that was. */
static void answers_out_of_turn(void)
{
    struct scene scene;
    struct counted flush = {.op.done = on_done};
    char payload[16] = "";
    open_scene(&scene);
    raw_join(&scene);
    CU_ASSERT_EQUAL(pf_flush(scene.victim.endpoint, &flush.op), 0);
    struct pf_tcp_header header = {0};
    CU_ASSERT_TRUE(raw_header(&scene, &header) && header.type == PF_TCP_FLUSH);
    raw_frame(&scene, (struct pf_tcp_header){.type = PF_TCP_READ_DATA, .length = 16}, payload, 16);
    victim_ends(&scene, -EPROTO);
    CU_ASSERT_EQUAL(flush.calls, 1);
    CU_ASSERT_EQUAL(flush.status, -EPROTO);
    close_scene(&scene);
}

/* More open requests than the greeting announced. */
static void too_many_requests(void)
{
    struct scene scene;
    uint8_t frames[64 * PF_TCP_HEADER_BYTES];
    struct pf_tcp_header flush = {.version = PF_TCP_VERSION, .type = PF_TCP_FLUSH};
    open_scene(&scene);
    raw_join(&scene);
    for (int i = 0; i < 64; i++)
        pf_tcp_encode(&flush, frames + (size_t)i * PF_TCP_HEADER_BYTES);
    raw_bytes(&scene, frames, sizeof frames);
    victim_ends(&scene, -EPROTO);
    close_scene(&scene);
}

static void cut_in_mid_write(void)
{
    struct scene scene;
    char half[8] = "1234567";
    open_scene(&scene);
    raw_join(&scene);
    raw_frame(&scene, write_to(&scene, 0, 4096), half, sizeof half);
    UNTIL(&scene, scene.region[0] == '1');
    close(scene.fd);
    scene.fd = -1;
    victim_ends(&scene, -ECONNRESET);
    close_scene(&scene);
}

/* The endpoint is closed between a write's two halves: the second must not land. */
static void data_for_the_closed(void)
{
    struct scene scene;
    char bytes[64];
    open_scene(&scene);
    raw_join(&scene);
    memset(bytes, 'x', sizeof bytes);
    raw_frame(&scene, write_to(&scene, 0, 128), bytes, 64);
    UNTIL(&scene, scene.region[63] == 'x');
    pf_endpoint_close(scene.victim.endpoint);
    scene.victim.endpoint = NULL;
    raw_bytes(&scene, bytes, 64);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.region[64], 0);
    CU_ASSERT_EQUAL(scene.victim.closed, 0);
    close_scene(&scene);
}

/* The registration goes away between a write's two halves. */
static void key_taken_in_mid_write(void)
{
    struct scene scene;
    struct pf_mr *mr;
    uint8_t packed[PF_RKEY_BYTES];
    char target[128] = {0}, bytes[64];
    open_scene(&scene);
    raw_join(&scene);
    CU_ASSERT_EQUAL_FATAL(
        pf_mr_reg(scene.device, target, sizeof target, PF_REMOTE_WRITE, &mr, NULL), 0);
    CU_ASSERT_EQUAL(pf_rkey_pack(mr, scene.victim.endpoint, packed), 0);
    struct pf_tcp_header write = {
        .type = PF_TCP_WRITE, .length = 128, .addr = (uintptr_t)target, .key = 0};
    memcpy(&write.key, packed, sizeof write.key);
    write.key = le64toh(write.key);
    memset(bytes, 'x', sizeof bytes);
    raw_frame(&scene, write, bytes, 64);
    UNTIL(&scene, target[63] == 'x');
    pf_mr_dereg(mr);
    raw_bytes(&scene, bytes, 64);
    raw_nak(&scene, EACCES);
    victim_ends(&scene, -EACCES);
    CU_ASSERT_EQUAL(target[64], 0);
    close_scene(&scene);
}

/* ---- a slow peer ----------------------------------------------------------------------------- */

static const char letters[8] = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'};

/* Every byte in a segment of its own, with a look of the lane in between. */
static void raw_trickle(struct scene *scene, struct pf_tcp_header header)
{
    uint8_t bytes[PF_TCP_HEADER_BYTES + sizeof letters];
    size_t payload = header.type == PF_TCP_READ ? 0 : header.length;
    header.version = PF_TCP_VERSION;
    pf_tcp_encode(&header, bytes);
    memcpy(bytes + PF_TCP_HEADER_BYTES, letters, sizeof letters);
    for (size_t i = 0; i < PF_TCP_HEADER_BYTES + payload; i++) {
        raw_bytes(scene, bytes + i, 1);
        step(scene);
    }
}

static void trickle_work(struct scene *scene)
{
    struct pf_tcp_header write = write_to(scene, 100, sizeof letters);
    struct pf_tcp_header immediate = write_to(scene, 200, sizeof letters);
    struct pf_tcp_header read = write;
    immediate.type = PF_TCP_WRITE_IMM;
    immediate.imm = 99;
    read.type = PF_TCP_READ;
    raw_trickle(scene, write);
    raw_trickle(scene, (struct pf_tcp_header){.type = PF_TCP_SEND, .length = sizeof letters});
    raw_trickle(scene, immediate);
    raw_trickle(scene, (struct pf_tcp_header){.type = PF_TCP_FLUSH});
    raw_trickle(scene, read);
}

static bool has_letters(const void *at)
{
    return memcmp(at, letters, sizeof letters) == 0;
}

static void byte_by_byte(void)
{
    struct scene scene;
    struct counted got[2] = {0};
    uint8_t answers[2UL * PF_TCP_HEADER_BYTES + sizeof letters] = {0};
    open_scene(&scene);
    raw_join(&scene);
    struct pf_sge to = {scene.mr, scene.region, 64};
    for (int i = 0; i < 2; i++) {
        got[i].op.done = on_done;
        CU_ASSERT_EQUAL_FATAL(pf_recv(scene.victim.endpoint, &to, &got[i].op), 0);
    }
    trickle_work(&scene);
    CU_ASSERT_TRUE(raw_read(&scene, answers, sizeof answers));
    CU_ASSERT_TRUE(has_letters(answers + 2UL * PF_TCP_HEADER_BYTES));
    raw_trickle(&scene, (struct pf_tcp_header){.type = PF_TCP_BYE});
    victim_ends(&scene, 0);
    CU_ASSERT_TRUE(has_letters(scene.region) && has_letters(scene.region + 100) &&
                   has_letters(scene.region + 200));
    CU_ASSERT_TRUE(got[0].calls == 1 && got[0].bytes == sizeof letters && !got[0].op.has_imm);
    CU_ASSERT_TRUE(got[1].calls == 1 && got[1].op.has_imm && got[1].op.imm == 99);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"bad greetings", bad_greetings},
        {"another version", other_version},
        {"half a greeting", half_greeting},
        {"silent strangers", silent_strangers},
        {"bad keys and bounds", bad_keys},
        {"bad frames", bad_frames},
        {"garbage after the greeting", garbage_after_greeting},
        {"answers out of turn", answers_out_of_turn},
        {"too many requests", too_many_requests},
        {"cut in mid-write", cut_in_mid_write},
        {"data for a closed endpoint", data_for_the_closed},
        {"key taken away in mid-write", key_taken_in_mid_write},
        {"byte by byte", byte_by_byte},
        {NULL, NULL},
    };
    return pf_suite_run("tcp frames", tests, argc > 1 ? argv[1] : NULL);
}
