/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues that fill, receives that are missing or too small. */
#include "tests/contract/rig.h"

#include <stdlib.h>

enum { SMALL_DEPTH = 8, ENOUGH_POSTS = 16384 };

static const struct pf_endpoint_attr small_attr = {
    .send_depth = SMALL_DEPTH,
    .recv_depth = SMALL_DEPTH,
    .recv_size = RIG_MESSAGE,
};

static unsigned calls_of(const struct rig_op *ops, unsigned count)
{
    unsigned calls = 0;
    for (unsigned i = 0; i < count; i++)
        calls += ops[i].calls;
    return calls;
}

/* A back end may have more room than asked for, but not without end, and never less. */
static void queue_full(void)
{
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op *ops = calloc(ENOUGH_POSTS, sizeof *ops);
    CU_ASSERT_PTR_NOT_NULL(ops);
    if (!ops)
        return;
    rig_pair(&rig, &small_attr);
    rig_memory_make(&from, &rig.client_host, 64, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 64, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&to, &rig.server, &rig.client);
    struct pf_sge sge = rig_sge(&from, 0, 64);
    for (unsigned round = 0; round < 3; round++) {
        unsigned posted = 0;
        int err = 0;
        while (posted < ENOUGH_POSTS) {
            rig_op_init(&ops[posted]);
            err =
                pf_write(rig.client.endpoint, &sge, 1, rig_address(&to, 0), &key, &ops[posted].op);
            if (err)
                break;
            posted++;
        }
        CU_ASSERT_EQUAL(err, -EAGAIN);
        CU_ASSERT_TRUE(posted >= SMALL_DEPTH);
        CU_ASSERT_EQUAL(calls_of(ops, posted), 0); /* no done() from within a post */
        RIG_UNTIL(&rig, calls_of(ops, posted) == posted);
        CU_ASSERT_EQUAL(ops[posted < ENOUGH_POSTS ? posted : 0].calls, posted == ENOUGH_POSTS);
        for (unsigned i = 0; i < posted; i++)
            RIG_OK(&ops[i]);
    }
    rig_close(&rig);
    free(ops);
}

static void receive_queue_full(void)
{
    struct rig rig;
    struct rig_memory memory;
    struct rig_op *ops = calloc(ENOUGH_POSTS, sizeof *ops);
    CU_ASSERT_PTR_NOT_NULL(ops);
    if (!ops)
        return;
    rig_pair(&rig, &small_attr);
    rig_memory_make(&memory, &rig.server_host, 64, PF_LOCAL_WRITE);
    unsigned posted = 0;
    int err = 0;
    while (posted < ENOUGH_POSTS &&
           (err = rig_recv(&rig.server, &memory, 0, 64, &ops[posted])) == 0)
        posted++;
    CU_ASSERT_EQUAL(err, -EAGAIN);
    CU_ASSERT_TRUE(posted >= SMALL_DEPTH);
    rig_end_close(&rig.server);
    RIG_UNTIL(&rig, calls_of(ops, posted) == posted);
    for (unsigned i = 0; i < posted; i++) {
        CU_ASSERT_EQUAL(ops[i].calls, 1);
        CU_ASSERT_EQUAL(ops[i].status, -ECANCELED);
    }
    rig_close(&rig);
    free(ops);
}

/* Post one thing that needs a receive where none is; the link must fail within a bounded time. */
static void run_out(bool immediate)
{
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op op, behind;
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, 256, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 256, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&to, &rig.server, &rig.client);
    struct pf_sge sge = rig_sge(&from, 0, 256);
    rig_op_init(&op);
    rig_op_init(&behind);
    if (immediate)
        RIG_POST(&rig,
                 pf_write_imm(rig.client.endpoint, &sge, 1, rig_address(&to, 0), &key, 1, &op.op));
    else
        RIG_POST(&rig, pf_send(rig.client.endpoint, &sge, 1, &op.op));
    RIG_POST(&rig, pf_flush(rig.client.endpoint, &behind.op));
    RIG_UNTIL(&rig, op.calls && behind.calls && rig.client.closed && rig.server.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ENOBUFS);
    CU_ASSERT_TRUE(op.status == 0 || op.status == -ENOBUFS || op.status == -ECANCELED);
    CU_ASSERT_NOT_EQUAL(behind.status, 0);
    CU_ASSERT_NOT_EQUAL(pf_flush(rig.client.endpoint, &behind.op), 0);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(op.calls + behind.calls, 2);
    CU_ASSERT_EQUAL(rig.client.closed + rig.server.closed, 2);
    rig_close(&rig);
}

static void no_receive_for_immediate(void)
{
    run_out(true);
}

static void no_receive_for_message(void)
{
    run_out(false);
}

/* The bound is about a second: a receive that is a few hundredths late does no harm. */
static void late_receive(void)
{
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op sent, write, got[2];
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, 256, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 512, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&to, &rig.server, &rig.client);
    rig_fill(from.bytes, 256, 4);
    RIG_POST(&rig, rig_send(&rig.client, &from, 0, 256, &sent));
    struct pf_sge sge = rig_sge(&from, 0, 256);
    rig_op_init(&write);
    RIG_POST(&rig,
             pf_write_imm(rig.client.endpoint, &sge, 1, rig_address(&to, 256), &key, 6, &write.op));
    rig_settle(&rig, 50);
    RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 256, &got[0]));
    RIG_UNTIL(&rig, got[0].calls && sent.calls);
    rig_settle(&rig, 50);
    RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 256, &got[1]));
    RIG_UNTIL(&rig, got[1].calls && write.calls);
    RIG_OK(&got[0]);
    RIG_OK(&got[1]);
    CU_ASSERT_FALSE(got[0].op.has_imm);
    CU_ASSERT_TRUE(got[1].op.has_imm);
    CU_ASSERT_TRUE(rig_filled(to.bytes, 256, 4));
    CU_ASSERT_TRUE(rig_filled(to.bytes + 256, 256, 4));
    CU_ASSERT_EQUAL(rig.client.closed + rig.server.closed, 0);
    rig_close(&rig);
}

static void message_too_long(void)
{
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op sent, got, unused;
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, 512, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 1024, PF_LOCAL_WRITE);
    rig_fill(from.bytes, 512, 8);
    RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 256, &got));
    RIG_POST(&rig, rig_recv(&rig.server, &to, 512, 512, &unused));
    RIG_POST(&rig, rig_send(&rig.client, &from, 0, 257, &sent));
    RIG_UNTIL(&rig, got.calls && sent.calls && rig.server.closed && rig.client.closed);
    CU_ASSERT_EQUAL(got.status, -EMSGSIZE);
    CU_ASSERT_EQUAL(rig.server.closed_status, -EMSGSIZE);
    CU_ASSERT_TRUE(rig_all(to.bytes + 256, 768, 0));
    rig_end_close(&rig.server);
    RIG_UNTIL(&rig, unused.calls);
    CU_ASSERT_EQUAL(unused.status, -ECANCELED);
    CU_ASSERT_EQUAL(got.calls + sent.calls + unused.calls, 3);
    rig_close(&rig);
}

struct echo {
    struct rig_end *end;
    struct rig_memory *memory;
    unsigned left;
    unsigned seen;
    int failed;
};

static void post_again(struct rig_op *op)
{
    struct echo *echo = op->ctx;
    if (op->status)
        return;
    echo->seen++;
    if (echo->left == 0)
        return;
    echo->left--;
    struct pf_sge sge = rig_sge(echo->memory, 0, 64);
    int err = pf_recv(echo->end->endpoint, &sge, &op->op);
    if (err)
        echo->failed = err;
}

/* The queue has room for exactly the operation whose done() is running. */
static void repost_from_done(void)
{
    enum { MESSAGES = 200 };
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op got[SMALL_DEPTH], sent;
    rig_pair(&rig, &small_attr);
    rig_memory_make(&from, &rig.client_host, 64, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 64, PF_LOCAL_WRITE);
    struct echo echo = {&rig.server, &to, MESSAGES - SMALL_DEPTH, 0, 0};
    for (unsigned i = 0; i < SMALL_DEPTH; i++) {
        RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 64, &got[i]));
        got[i].then = post_again;
        got[i].ctx = &echo;
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        RIG_POST(&rig, rig_send(&rig.client, &from, 0, 64, &sent));
        RIG_UNTIL(&rig, sent.calls);
        RIG_OK(&sent);
    }
    RIG_UNTIL(&rig, echo.seen == MESSAGES);
    CU_ASSERT_EQUAL(echo.failed, 0);
    CU_ASSERT_EQUAL(calls_of(got, SMALL_DEPTH), MESSAGES);
    rig_close(&rig);
}

const struct pf_test contract_flow[] = {
    {"queue full", queue_full},
    {"receive queue full", receive_queue_full},
    {"no receive for an immediate", no_receive_for_immediate},
    {"no receive for a message", no_receive_for_message},
    {"receive posted late", late_receive},
    {"message longer than the receive", message_too_long},
    {"repost from done", repost_from_done},
    {NULL, NULL},
};
