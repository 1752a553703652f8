/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile and odd streams against the tcp back end, sent by a raw socket. In each test a
 * well-behaved connection lives on the same lane, and goes on undisturbed.
 */
#include "tests/unit/tcp_scene.h"

#include <sys/socket.h>
#include <unistd.h>

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
    scene_open(&scene);
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
    scene_close(&scene);
}

/* He is answered in our version, so that he can tell what is the matter. */
static void other_version(void)
{
    struct scene scene;
    struct pf_tcp_header greeting = raw_hello, answer = {0};
    scene_open(&scene);
    raw_connect(&scene);
    greeting.version = PF_TCP_VERSION + 1;
    raw_frame(&scene, greeting, NULL, 0);
    CU_ASSERT_TRUE(raw_header(&scene, &answer));
    CU_ASSERT_EQUAL(answer.type, PF_TCP_REJECT);
    CU_ASSERT_EQUAL(answer.version, PF_TCP_VERSION);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.requests, 1);
    scene_close(&scene);
}

static void half_greeting(void)
{
    struct scene scene;
    uint8_t bytes[PF_TCP_HEADER_BYTES];
    struct pf_tcp_header greeting = raw_hello;
    scene_open(&scene);
    raw_connect(&scene);
    greeting.version = PF_TCP_VERSION;
    pf_tcp_encode(&greeting, bytes);
    raw_bytes(&scene, bytes, sizeof bytes / 2);
    for (int i = 0; i < 100; i++)
        scene_step(&scene);
    shutdown(scene.fd, SHUT_WR);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.requests, 1);
    scene_close(&scene);
}

/* A crowd that says nothing: others still get in, and the silent are hung up on in the end. */
static void silent_strangers(void)
{
    enum { CROWD = 80 };
    struct scene scene;
    int crowd[CROWD];
    scene_open(&scene);
    for (int i = 0; i < CROWD; i++) {
        raw_connect(&scene);
        crowd[i] = scene.fd;
        scene_step(&scene);
    }
    raw_join(&scene);
    close(scene.fd);
    scene_victim_ends(&scene, -ECONNRESET);
    for (int i = 0; i < CROWD; i++) {
        scene.fd = crowd[i];
        raw_hung_up_on(&scene);
        close(crowd[i]);
    }
    scene.fd = -1;
    scene_close(&scene);
}

/* ---- peers that break the protocol ----------------------------------------------------------- */

static void provoke(struct pf_tcp_header header, int status)
{
    struct scene scene;
    char payload[16] = "must not land";
    scene_open(&scene);
    raw_join(&scene);
    if (header.type == PF_TCP_WRITE || header.type == PF_TCP_READ) {
        header.addr += (uintptr_t)scene.region;
        header.key ^= scene.key;
    }
    raw_frame(&scene, header, payload, sizeof payload);
    raw_nak(&scene, -status);
    scene_victim_ends(&scene, status);
    for (size_t i = 0; i < REGION; i++)
        if (scene.region[i] != 0)
            CU_FAIL("a refused write has landed");
    scene_close(&scene);
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
    scene_open(&scene);
    raw_join(&scene);
    for (size_t i = 0; i < 64; i++)
        bytes[i] = (uint32_t)i * 2654435761u + 1;
    raw_bytes(&scene, bytes, sizeof bytes);
    raw_nak(&scene, EPROTO);
    scene_victim_ends(&scene, -EPROTO);
    scene_close(&scene);
}

/* The data of a read that was never asked for, in front of the one that was. */
static void answers_out_of_turn(void)
{
    struct scene scene;
    struct counted flush = {.op.done = scene_count};
    char payload[16] = "";
    scene_open(&scene);
    raw_join(&scene);
    CU_ASSERT_EQUAL(pf_flush(scene.victim.endpoint, &flush.op), 0);
    struct pf_tcp_header header = {0};
    CU_ASSERT_TRUE(raw_header(&scene, &header) && header.type == PF_TCP_FLUSH);
    raw_frame(&scene, (struct pf_tcp_header){.type = PF_TCP_READ_DATA, .length = 16}, payload, 16);
    scene_victim_ends(&scene, -EPROTO);
    CU_ASSERT_EQUAL(flush.calls, 1);
    CU_ASSERT_EQUAL(flush.status, -EPROTO);
    scene_close(&scene);
}

/* More open requests than the greeting announced. */
static void too_many_requests(void)
{
    struct scene scene;
    uint8_t frames[64 * PF_TCP_HEADER_BYTES];
    struct pf_tcp_header flush = {.version = PF_TCP_VERSION, .type = PF_TCP_FLUSH};
    scene_open(&scene);
    raw_join(&scene);
    for (int i = 0; i < 64; i++)
        pf_tcp_encode(&flush, frames + (size_t)i * PF_TCP_HEADER_BYTES);
    raw_bytes(&scene, frames, sizeof frames);
    scene_victim_ends(&scene, -EPROTO);
    scene_close(&scene);
}

static void cut_in_mid_write(void)
{
    struct scene scene;
    char half[8] = "1234567";
    scene_open(&scene);
    raw_join(&scene);
    raw_frame(&scene, scene_write(&scene, 0, 4096), half, sizeof half);
    UNTIL(&scene, scene.region[0] == '1');
    close(scene.fd);
    scene.fd = -1;
    scene_victim_ends(&scene, -ECONNRESET);
    scene_close(&scene);
}

/* The endpoint is closed between a write's two halves: the second must not land. */
static void data_for_the_closed(void)
{
    struct scene scene;
    char bytes[64];
    scene_open(&scene);
    raw_join(&scene);
    memset(bytes, 'x', sizeof bytes);
    raw_frame(&scene, scene_write(&scene, 0, 128), bytes, 64);
    UNTIL(&scene, scene.region[63] == 'x');
    pf_endpoint_close(scene.victim.endpoint);
    scene.victim.endpoint = NULL;
    raw_bytes(&scene, bytes, 64);
    raw_hung_up_on(&scene);
    CU_ASSERT_EQUAL(scene.region[64], 0);
    CU_ASSERT_EQUAL(scene.victim.closed, 0);
    scene_close(&scene);
}

/* The registration goes away between a write's two halves. */
static void key_taken_in_mid_write(void)
{
    struct scene scene;
    struct pf_mr *mr;
    uint8_t packed[PF_RKEY_BYTES];
    char target[128] = {0}, bytes[64];
    scene_open(&scene);
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
    scene_victim_ends(&scene, -EACCES);
    CU_ASSERT_EQUAL(target[64], 0);
    scene_close(&scene);
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
        scene_step(scene);
    }
}

static void trickle_work(struct scene *scene)
{
    struct pf_tcp_header write = scene_write(scene, 100, sizeof letters);
    struct pf_tcp_header immediate = scene_write(scene, 200, sizeof letters);
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
    scene_open(&scene);
    raw_join(&scene);
    struct pf_sge to = {scene.mr, scene.region, 64};
    for (int i = 0; i < 2; i++) {
        got[i].op.done = scene_count;
        CU_ASSERT_EQUAL_FATAL(pf_recv(scene.victim.endpoint, &to, &got[i].op), 0);
    }
    trickle_work(&scene);
    CU_ASSERT_TRUE(raw_read(&scene, answers, sizeof answers));
    CU_ASSERT_TRUE(has_letters(answers + 2UL * PF_TCP_HEADER_BYTES));
    raw_trickle(&scene, (struct pf_tcp_header){.type = PF_TCP_BYE});
    scene_victim_ends(&scene, 0);
    CU_ASSERT_TRUE(has_letters(scene.region) && has_letters(scene.region + 100) &&
                   has_letters(scene.region + 200));
    CU_ASSERT_TRUE(got[0].calls == 1 && got[0].bytes == sizeof letters && !got[0].op.has_imm);
    CU_ASSERT_TRUE(got[1].calls == 1 && got[1].op.has_imm && got[1].op.imm == 99);
    scene_close(&scene);
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
