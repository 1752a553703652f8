/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/tcp_scene.h"

#include "transport/tcp/tcp.h"
#include "transport/uri.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

void scene_count(struct pf_op *op, int status, size_t bytes)
{
    struct counted *counted = pf_container_of(op, struct counted, op);
    counted->calls++;
    counted->status = status;
    counted->bytes = bytes;
}

void scene_step(struct scene *scene)
{
    if (pf_progress(scene->lane, 16) == 0)
        sched_yield();
}

static void join_good(struct scene *scene)
{
    struct pf_endpoint_attr attr = attr_for(&scene->good[0]);
    scene->expected = &scene->good[1];
    CU_ASSERT_EQUAL_FATAL(
        pf_connect(scene->lane, scene->uri, &attr, NULL, 0, &scene->good[0].endpoint, NULL), 0);
    UNTIL(scene, scene->good[0].connected && scene->good[1].connected);
}

void scene_open(struct scene *scene)
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
        got[i].op.done = sent[i].op.done = scene_count;
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

void scene_close(struct scene *scene)
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

void raw_connect(struct scene *scene)
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

void raw_bytes(struct scene *scene, const void *bytes, size_t len)
{
    ssize_t sent = send(scene->fd, bytes, len, MSG_NOSIGNAL);
    CU_ASSERT_TRUE(sent < 0 || (size_t)sent == len); /* the other side may have hung up already */
}

void raw_frame(struct scene *scene, struct pf_tcp_header header, const void *payload, size_t len)
{
    uint8_t bytes[PF_TCP_HEADER_BYTES + MESSAGE];
    if (header.version == 0)
        header.version = PF_TCP_VERSION;
    pf_tcp_encode(&header, bytes);
    if (len > 0)
        memcpy(bytes + PF_TCP_HEADER_BYTES, payload, len);
    raw_bytes(scene, bytes, PF_TCP_HEADER_BYTES + len);
}

bool raw_read(struct scene *scene, void *out, size_t len)
{
    size_t have = 0;
    uint64_t end = pf_now_ns() + 30000000000ull;
    while (have < len && pf_now_ns() < end) {
        ssize_t got = recv(scene->fd, (char *)out + have, len - have, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        if (got > 0)
            have += (size_t)got;
        scene_step(scene);
    }
    return have == len;
}

bool raw_header(struct scene *scene, struct pf_tcp_header *header)
{
    uint8_t bytes[PF_TCP_HEADER_BYTES];
    return raw_read(scene, bytes, sizeof bytes) && pf_tcp_decode(bytes, header);
}

void raw_hung_up_on(struct scene *scene)
{
    char rest[64];
    CU_ASSERT_FALSE(raw_read(scene, rest, sizeof rest));
}

void raw_nak(struct scene *scene, int code)
{
    struct pf_tcp_header header = {0};
    CU_ASSERT_TRUE(raw_header(scene, &header));
    CU_ASSERT_EQUAL(header.type, PF_TCP_NAK);
    CU_ASSERT_EQUAL((int)header.imm, code);
}

const struct pf_tcp_header raw_hello = {.type = PF_TCP_HELLO, .imm = 4};

void raw_join(struct scene *scene)
{
    struct pf_tcp_header answer = {0};
    scene->expected = &scene->victim;
    raw_connect(scene);
    raw_frame(scene, raw_hello, NULL, 0);
    CU_ASSERT_TRUE_FATAL(raw_header(scene, &answer));
    CU_ASSERT_EQUAL(answer.type, PF_TCP_ACCEPT);
    CU_ASSERT_EQUAL(answer.imm, DEPTH);
    UNTIL(scene, scene->victim.connected);
}

void scene_victim_ends(struct scene *scene, int status)
{
    UNTIL(scene, scene->victim.closed);
    CU_ASSERT_EQUAL(scene->victim.closed, 1);
    CU_ASSERT_EQUAL(scene->victim.status, status);
}

struct pf_tcp_header scene_write(const struct scene *scene, size_t offset, uint32_t length)
{
    return (struct pf_tcp_header){.type = PF_TCP_WRITE,
                                  .length = length,
                                  .addr = (uintptr_t)scene->region + offset,
                                  .key = scene->key};
}
