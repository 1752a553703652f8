/* SPDX-License-Identifier: BSD-2-Clause */
/* What each kind of fault does to what is posted. */
#include "tests/unit/fault_rig.h"

#include <poll.h>

/* What the client does counts: device 1, lane 2, registration 3, connect 4; posts from 5 on. */
struct scene {
    struct rig rig;
    struct rig_memory mine, theirs;
    struct pf_rkey key;
};

enum { LEN = 512, FIRST_POST = 5 };

static void scene_open(struct scene *scene, const char *options)
{
    struct rig *rig = &scene->rig;
    faulty_client(rig, options);
    rig_memory_make(&scene->mine, &rig->client_host, (size_t)2 * LEN, PF_REMOTE_WRITE);
    rig_memory_make(&scene->theirs, &rig->server_host, (size_t)4 * LEN,
                    PF_REMOTE_WRITE | PF_REMOTE_READ);
    rig_fill(scene->mine.bytes, LEN, 1);
}

static void scene_join(struct scene *scene)
{
    rig_join(&scene->rig, &scene->rig.client, &scene->rig.server, NULL);
    scene->key = rig_key(&scene->theirs, &scene->rig.server, &scene->rig.client);
    CU_ASSERT_EQUAL(pf_fault_count(scene->rig.client_host.device), FIRST_POST - 1);
    CU_ASSERT_FALSE(pf_fault_fired(scene->rig.client_host.device));
}

static bool fired(const struct scene *scene)
{
    return pf_fault_fired(scene->rig.client_host.device);
}

static int write_mine(struct scene *scene, size_t offset, struct rig_op *op)
{
    struct pf_sge sge = rig_sge(&scene->mine, 0, LEN);
    rig_op_init(op);
    return pf_write(scene->rig.client.endpoint, &sge, 1, rig_address(&scene->theirs, offset),
                    &scene->key, &op->op);
}

static int flush(struct scene *scene, struct rig_op *op)
{
    rig_op_init(op);
    return pf_flush(scene->rig.client.endpoint, &op->op);
}

static void counts_posts(void)
{
    struct scene scene;
    struct rig_op ops[RIG_DEPTH + 1], recv, last;
    scene_open(&scene, "at=0");
    scene_join(&scene);
    const struct pf_device *device = scene.rig.client_host.device;
    for (unsigned i = 0; i < RIG_DEPTH; i++)
        CU_ASSERT_EQUAL(write_mine(&scene, 0, &ops[i]), 0);
    CU_ASSERT_EQUAL(pf_fault_count(device), FIRST_POST - 1 + RIG_DEPTH);
    /* Not posted, not counted. */
    CU_ASSERT_EQUAL(write_mine(&scene, 0, &ops[RIG_DEPTH]), -EAGAIN);
    CU_ASSERT_EQUAL(pf_fault_count(device), FIRST_POST - 1 + RIG_DEPTH);
    CU_ASSERT_EQUAL(rig_recv(&scene.rig.client, &scene.mine, LEN, 64, &recv), 0);
    RIG_UNTIL(&scene.rig, ops[RIG_DEPTH - 1].calls);
    RIG_POST(&scene.rig, flush(&scene, &last));
    RIG_UNTIL(&scene.rig, last.calls);
    CU_ASSERT_EQUAL(pf_fault_count(device), FIRST_POST - 1 + RIG_DEPTH + 2);
    CU_ASSERT_FALSE(fired(&scene));
    rig_close(&scene.rig);
}

/* A write under way and a receive posted when the next post goes wrong. */
static void breaking_post(const char *options, int returned, int status)
{
    struct scene scene;
    struct rig_op recv, before, op, after;
    scene_open(&scene, options);
    scene_join(&scene);
    RIG_POST(&scene.rig, rig_recv(&scene.rig.client, &scene.mine, LEN, 64, &recv));
    RIG_POST(&scene.rig, write_mine(&scene, 0, &before));
    CU_ASSERT_EQUAL(write_mine(&scene, LEN, &op), returned);
    CU_ASSERT_TRUE(fired(&scene));
    CU_ASSERT_EQUAL(op.calls + scene.rig.client.closed, 0); /* from progress only */
    CU_ASSERT_NOT_EQUAL(flush(&scene, &after), 0);
    RIG_UNTIL(&scene.rig, scene.rig.client.closed && scene.rig.server.closed && before.calls);
    CU_ASSERT_EQUAL(scene.rig.client.closed_status, status);
    rig_end_close(&scene.rig.client);
    RIG_UNTIL(&scene.rig, recv.calls);
    CU_ASSERT_EQUAL(recv.status, -ECANCELED);
    rig_settle(&scene.rig, 10);
    CU_ASSERT_EQUAL(scene.rig.client.closed, 1);
    CU_ASSERT_EQUAL(recv.calls + before.calls, 2);
    /* What was posted ends, once; what was not posted has no done(). */
    CU_ASSERT_EQUAL(op.calls, returned == 0);
    if (returned == 0)
        CU_ASSERT_EQUAL(op.status, -ECANCELED);
    CU_ASSERT_TRUE(rig_all(scene.theirs.bytes + LEN, LEN, 0));
    rig_close(&scene.rig);
}

static void failing_post(void)
{
    breaking_post("at=7&do=fail", -EIO, -EIO);
}

static void cut_post(void)
{
    breaking_post("at=7&do=cut", 0, -ECONNRESET);
}

static void dropped_writes(void)
{
    struct scene scene;
    struct rig_op op, next, last;
    scene_open(&scene, "at=5&do=drop");
    scene_join(&scene);
    CU_ASSERT_EQUAL(write_mine(&scene, 0, &op), 0);
    RIG_POST(&scene.rig, write_mine(&scene, LEN, &next));
    RIG_POST(&scene.rig, flush(&scene, &last));
    RIG_UNTIL(&scene.rig, op.calls && next.calls && last.calls);
    RIG_OK(&op);
    CU_ASSERT_EQUAL(op.bytes, LEN);
    CU_ASSERT_TRUE(rig_all(scene.theirs.bytes, LEN, 0));
    CU_ASSERT_TRUE(rig_filled(scene.theirs.bytes + LEN, LEN, 1));
    rig_close(&scene.rig);
}

static void dropped_receive(void)
{
    struct scene scene;
    struct rig_op lost, recv, sent;
    scene_open(&scene, "at=5&do=drop");
    scene_join(&scene);
    RIG_POST(&scene.rig, rig_recv(&scene.rig.client, &scene.mine, 0, 64, &lost));
    RIG_POST(&scene.rig, rig_recv(&scene.rig.client, &scene.mine, LEN, 64, &recv));
    RIG_POST(&scene.rig, rig_send(&scene.rig.server, &scene.theirs, 0, 64, &sent));
    RIG_UNTIL(&scene.rig, recv.calls && sent.calls);
    RIG_OK(&recv);
    CU_ASSERT_EQUAL(lost.calls, 0);
    rig_end_close(&scene.rig.client);
    RIG_UNTIL(&scene.rig, lost.calls);
    CU_ASSERT_EQUAL(lost.status, -ECANCELED);
    rig_close(&scene.rig);
}

/* Sends from a buffer that is overwritten at once, by a lane that sleeps: late, and in order. */
static void delayed_sends(void)
{
    enum { COUNT = 3 };
    struct scene scene;
    struct rig_op got[COUNT], sent[COUNT];
    char buffer[8];
    scene_open(&scene, "at=5&do=delay&ms=50");
    scene_join(&scene);
    for (unsigned i = 0; i < COUNT; i++)
        RIG_POST(&scene.rig,
                 rig_recv(&scene.rig.server, &scene.theirs, (size_t)i * LEN, 64, &got[i]));
    uint64_t start = pf_now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        struct pf_sge sge = {NULL, buffer, sizeof buffer};
        rig_op_init(&sent[i]);
        rig_fill(buffer, sizeof buffer, i);
        RIG_POST(&scene.rig, pf_send(scene.rig.client.endpoint, &sge, 1, &sent[i].op));
    }
    memset(buffer, 0, sizeof buffer);
    struct pf_lane *lane = scene.rig.client_host.lane;
    if (pf_lane_arm(lane) == 0 && pf_progress(lane, 64) == 0) {
        struct pollfd poll_fd = {.fd = pf_lane_fd(lane), .events = POLLIN};
        CU_ASSERT_EQUAL(poll(&poll_fd, 1, RIG_DEADLINE_S * 1000), 1);
    }
    RIG_UNTIL(&scene.rig, got[COUNT - 1].calls && sent[COUNT - 1].calls);
    CU_ASSERT_TRUE(pf_now_ns() - start >= 50000000);
    for (unsigned i = 0; i < COUNT; i++) {
        RIG_OK(&got[i]);
        RIG_OK(&sent[i]);
        CU_ASSERT_TRUE(rig_filled(scene.theirs.bytes + (size_t)i * LEN, sizeof buffer, i));
    }
    rig_close(&scene.rig);
}

static void delayed_then_hung_up(void)
{
    struct scene scene;
    struct rig_op op;
    scene_open(&scene, "at=5&do=delay&ms=20");
    scene_join(&scene);
    CU_ASSERT_EQUAL(write_mine(&scene, 0, &op), 0);
    pf_shutdown(scene.rig.client.endpoint);
    RIG_UNTIL(&scene.rig, scene.rig.server.closed && scene.rig.client.closed);
    CU_ASSERT_EQUAL(scene.rig.server.closed_status, 0);
    RIG_OK(&op);
    CU_ASSERT_TRUE(rig_filled(scene.theirs.bytes, LEN, 1));
    rig_close(&scene.rig);
}

static void delayed_then_closed(void)
{
    struct scene scene;
    struct rig_op op, behind;
    scene_open(&scene, "at=5&do=delay&ms=100000");
    scene_join(&scene);
    CU_ASSERT_EQUAL(write_mine(&scene, 0, &op), 0);
    CU_ASSERT_EQUAL(flush(&scene, &behind), 0);
    rig_end_close(&scene.rig.client);
    CU_ASSERT_EQUAL(op.calls + behind.calls, 0);
    RIG_UNTIL(&scene.rig, op.calls && behind.calls);
    CU_ASSERT_EQUAL(op.status, -ECANCELED);
    CU_ASSERT_EQUAL(behind.status, -ECANCELED);
    rig_close(&scene.rig);
    CU_ASSERT_EQUAL(op.calls + behind.calls, 2);
}

static void corrupt_write(void)
{
    struct scene scene;
    struct rig_op op, next, last;
    scene_open(&scene, "at=5&do=corrupt");
    scene_join(&scene);
    CU_ASSERT_EQUAL(write_mine(&scene, 0, &op), 0);
    RIG_POST(&scene.rig, write_mine(&scene, LEN, &next));
    RIG_POST(&scene.rig, flush(&scene, &last));
    RIG_UNTIL(&scene.rig, op.calls && next.calls && last.calls);
    RIG_OK(&op);
    CU_ASSERT_EQUAL(op.bytes, LEN);
    CU_ASSERT_TRUE(rig_filled(scene.mine.bytes, LEN, 1));
    CU_ASSERT_TRUE(one_bit_apart(scene.theirs.bytes, scene.mine.bytes, LEN));
    CU_ASSERT_TRUE(rig_filled(scene.theirs.bytes + LEN, LEN, 1));
    rig_close(&scene.rig);
}

static void corrupt_receive(void)
{
    struct scene scene;
    struct rig_op recv, sent;
    scene_open(&scene, "at=5&do=corrupt");
    scene_join(&scene);
    RIG_POST(&scene.rig, rig_recv(&scene.rig.client, &scene.mine, LEN, LEN, &recv));
    rig_fill(scene.theirs.bytes, LEN, 7);
    RIG_POST(&scene.rig, rig_send(&scene.rig.server, &scene.theirs, 0, LEN, &sent));
    RIG_UNTIL(&scene.rig, recv.calls && sent.calls);
    RIG_OK(&recv);
    CU_ASSERT_EQUAL(recv.bytes, LEN);
    CU_ASSERT_TRUE(one_bit_apart(scene.mine.bytes + LEN, scene.theirs.bytes, LEN));
    CU_ASSERT_TRUE(rig_filled(scene.theirs.bytes, LEN, 7));
    rig_close(&scene.rig);
}

static void corrupt_read(void)
{
    struct scene scene;
    struct rig_op op;
    scene_open(&scene, "at=5&do=corrupt");
    scene_join(&scene);
    struct pf_sge sge[2] = {rig_sge(&scene.mine, 3, 1), rig_sge(&scene.mine, LEN, LEN - 1)};
    rig_fill(scene.theirs.bytes, LEN, 7);
    rig_op_init(&op);
    RIG_POST(&scene.rig, pf_read(scene.rig.client.endpoint, sge, 2, rig_address(&scene.theirs, 0),
                                 &scene.key, &op.op));
    RIG_UNTIL(&scene.rig, op.calls);
    RIG_OK(&op);
    CU_ASSERT_EQUAL(scene.mine.bytes[3], scene.theirs.bytes[0]);
    CU_ASSERT_TRUE(one_bit_apart(scene.mine.bytes + LEN, scene.theirs.bytes + 1, LEN - 1));
    rig_close(&scene.rig);
}

/* A little of everything by the client, whatever goes wrong; each thing posted ends once. */
static void sweep_once(struct scene *scene)
{
    enum { SENDS = 4 };
    struct rig *rig = &scene->rig;
    struct rig_op got[SENDS], ops[2 * SENDS + 1];
    unsigned posted = 0;
    scene->key = rig_key(&scene->theirs, &rig->server, &rig->client);
    for (unsigned i = 0; i < SENDS; i++)
        RIG_POST(rig, rig_recv(&rig->server, &scene->theirs, (size_t)3 * LEN, LEN, &got[i]));
    for (unsigned i = 0; i < SENDS; i++) {
        posted += write_mine(scene, (size_t)(i % 2) * LEN, &ops[posted]) == 0;
        posted += rig_send(&rig->client, &scene->mine, 0, 100, &ops[posted]) == 0;
    }
    posted += flush(scene, &ops[posted]) == 0;
    for (unsigned i = 0; i < posted; i++)
        RIG_UNTIL(rig, ops[i].calls);
    rig_end_close(&rig->client);
    RIG_UNTIL(rig, rig->server.closed);
    rig_end_close(&rig->server);
    rig_settle(rig, 1);
    for (unsigned i = 0; i < posted; i++)
        CU_ASSERT_EQUAL(ops[i].calls, 1);
    for (unsigned i = 0; i < SENDS; i++)
        CU_ASSERT_EQUAL(got[i].calls, 1);
}

static void sweep(void)
{
    static const char *const kinds[] = {"fail", "cut", "drop", "delay&ms=5", "corrupt"};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        bool done = false;
        unsigned at = FIRST_POST;
        for (; !done && at < 100; at++) {
            char options[64];
            struct scene scene;
            snprintf(options, sizeof options, "at=%u&do=%s", at, kinds[kind]);
            scene_open(&scene, options);
            rig_join(&scene.rig, &scene.rig.client, &scene.rig.server, NULL);
            sweep_once(&scene);
            done = !fired(&scene);
            rig_close(&scene.rig);
        }
        /* 9 posts, and one run in which nothing went wrong. */
        CU_ASSERT_EQUAL(at, FIRST_POST + 9 + 1);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"counts", counts_posts},
        {"post fails", failing_post},
        {"post is cut", cut_post},
        {"write is dropped", dropped_writes},
        {"receive is dropped", dropped_receive},
        {"sends are delayed", delayed_sends},
        {"delayed, then hung up", delayed_then_hung_up},
        {"delayed, then closed", delayed_then_closed},
        {"write is corrupted", corrupt_write},
        {"receive is corrupted", corrupt_receive},
        {"read is corrupted", corrupt_read},
        {"every post in turn", sweep},
        {NULL, NULL},
    };
    return pf_suite_run("fault", tests, argc > 1 ? argv[1] : NULL);
}
