/* SPDX-License-Identifier: BSD-2-Clause */
/* How connections end: in order, at once, from within callbacks, with operations under way. */
#include "tests/contract/rig.h"

#include <stdlib.h>

/* What was posted before the hang-up is carried out; then both sides are told, once each. */
static void shutdown_in_order(void)
{
    enum { LEN = 100000 };
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op write, sent, got, unused, unused_here, flush;
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, LEN, PF_LOCAL_WRITE);
    rig_memory_make(&to, &rig.server_host, (size_t)2 * LEN, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&to, &rig.server, &rig.client);
    rig_fill(from.bytes, LEN, 12);
    RIG_POST(&rig, rig_recv(&rig.server, &to, LEN, 4096, &got));
    RIG_POST(&rig, rig_recv(&rig.server, &to, LEN, 4096, &unused));
    RIG_POST(&rig, rig_recv(&rig.client, &from, 0, 4096, &unused_here));
    struct pf_sge sge = rig_sge(&from, 0, LEN);
    rig_op_init(&write);
    RIG_POST(&rig, pf_write(rig.client.endpoint, &sge, 1, rig_address(&to, 0), &key, &write.op));
    RIG_POST(&rig, rig_send(&rig.client, &from, 0, 500, &sent));
    pf_shutdown(rig.client.endpoint);
    rig_op_init(&flush);
    CU_ASSERT_EQUAL(pf_flush(rig.client.endpoint, &flush.op), -ENOTCONN);
    CU_ASSERT_EQUAL(rig.client.closed, 0); /* not from within the call */

    RIG_UNTIL(&rig, rig.client.closed && rig.server.closed && write.calls && sent.calls);
    CU_ASSERT_EQUAL(rig.server.closed_status, 0);
    CU_ASSERT_EQUAL(rig.client.closed_status, 0);
    RIG_OK(&write);
    RIG_OK(&sent);
    RIG_OK(&got);
    CU_ASSERT_TRUE(rig_filled(to.bytes, LEN, 12));
    CU_ASSERT_TRUE(rig_filled(to.bytes + LEN, 500, 12));
    CU_ASSERT_NOT_EQUAL(pf_flush(rig.server.endpoint, &flush.op), 0);
    rig_end_close(&rig.server);
    rig_end_close(&rig.client);
    RIG_UNTIL(&rig, unused.calls && unused_here.calls);
    CU_ASSERT_EQUAL(unused.status, -ECANCELED);
    CU_ASSERT_EQUAL(unused_here.status, -ECANCELED);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.client.closed + rig.server.closed, 2);
    CU_ASSERT_EQUAL(flush.calls, 0);
    rig_close(&rig);
}

static void both_hang_up(void)
{
    struct rig rig;
    rig_pair(&rig, NULL);
    pf_shutdown(rig.client.endpoint);
    pf_shutdown(rig.server.endpoint);
    RIG_UNTIL(&rig, rig.client.closed && rig.server.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, 0);
    CU_ASSERT_EQUAL(rig.server.closed_status, 0);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.client.closed + rig.server.closed, 2);
    rig_close(&rig);
}

static void peer_notices_close(void)
{
    struct rig rig;
    rig_pair(&rig, NULL);
    rig_end_close(&rig.client);
    RIG_UNTIL(&rig, rig.server.closed);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.server.closed, 1);
    CU_ASSERT_EQUAL(rig.client.closed, 0);
    rig_close(&rig);
}

enum { PENDING = 16, PIECE = 60000, RECEIVES = 4 };

/* Writes, a flush and receives, posted and not yet done. */
struct pending {
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op writes[PENDING], flush, receives[RECEIVES];
};

static void pending_open(struct pending *p)
{
    rig_pair(&p->rig, NULL);
    rig_memory_make(&p->from, &p->rig.client_host, (size_t)PENDING * PIECE, PF_LOCAL_WRITE);
    rig_memory_make(&p->to, &p->rig.server_host, (size_t)PENDING * PIECE, PF_REMOTE_WRITE);
    memset(p->from.bytes, 0x33, p->from.len);
    struct pf_rkey key = rig_key(&p->to, &p->rig.server, &p->rig.client);
    for (unsigned i = 0; i < RECEIVES; i++)
        RIG_POST(&p->rig, rig_recv(&p->rig.client, &p->from, 0, 64, &p->receives[i]));
    for (unsigned i = 0; i < PENDING; i++) {
        struct pf_sge sge = rig_sge(&p->from, (size_t)i * PIECE, PIECE);
        rig_op_init(&p->writes[i]);
        RIG_POST(&p->rig, pf_write(p->rig.client.endpoint, &sge, 1,
                                   rig_address(&p->to, (size_t)i * PIECE), &key, &p->writes[i].op));
    }
    rig_op_init(&p->flush);
    RIG_POST(&p->rig, pf_flush(p->rig.client.endpoint, &p->flush.op));
}

static unsigned pending_calls(const struct pending *p)
{
    unsigned calls = p->flush.calls;
    for (unsigned i = 0; i < PENDING; i++)
        calls += p->writes[i].calls;
    for (unsigned i = 0; i < RECEIVES; i++)
        calls += p->receives[i].calls;
    return calls;
}

static void check_all_ended_once(const struct pending *p)
{
    for (unsigned i = 0; i < PENDING; i++) {
        CU_ASSERT_EQUAL(p->writes[i].calls, 1);
        CU_ASSERT_TRUE(p->writes[i].status <= 0);
    }
    for (unsigned i = 0; i < RECEIVES; i++) {
        CU_ASSERT_EQUAL(p->receives[i].calls, 1);
        CU_ASSERT_EQUAL(p->receives[i].status, -ECANCELED);
    }
    CU_ASSERT_EQUAL(p->flush.calls, 1);
}

static void closed_by_the_writer(void)
{
    struct pending p;
    pending_open(&p);
    unsigned before = pending_calls(&p);
    rig_end_close(&p.rig.client);
    CU_ASSERT_EQUAL(pending_calls(&p), before); /* not from within the call */
    RIG_UNTIL(&p.rig, pending_calls(&p) == PENDING + 1 + RECEIVES);
    RIG_UNTIL(&p.rig, p.rig.server.closed);
    rig_settle(&p.rig, 50);
    check_all_ended_once(&p);
    CU_ASSERT_EQUAL(p.rig.client.closed, 0);
    rig_close(&p.rig);
}

/* Operations that nobody progressed again end in pf_lane_close(). */
static void lane_close_ends_the_rest(void)
{
    struct pending p;
    pending_open(&p);
    rig_end_close(&p.rig.client);
    pf_lane_close(p.rig.client_host.lane);
    check_all_ended_once(&p);
    rig_lane_open(&p.rig.client_host, p.rig.client_host.device);
    pf_list_append(&p.rig.client_host.memories, &p.from.on_host);
    rig_close(&p.rig);
}

static bool landed(const struct pending *p)
{
    return !rig_all(p->to.bytes, p->to.len, 0);
}

/* Whatever has landed by the return of close, no more follows, however long the writer goes on. */
static void closed_by_the_target(void)
{
    struct pending p;
    pending_open(&p);
    rig_end_close(&p.rig.server);
    /* Hardware, or a kernel, may have carried out everything before the close. */
    bool complete = rig_all(p.to.bytes, p.to.len, 0x33);
    memset(p.to.bytes, 0, p.to.len);
    RIG_UNTIL(&p.rig, p.rig.client.closed && p.flush.calls);
    rig_settle(&p.rig, 100);
    CU_ASSERT_FALSE(landed(&p));
    CU_ASSERT_TRUE(p.flush.status != 0 || complete);
    rig_end_close(&p.rig.client);
    RIG_UNTIL(&p.rig, pending_calls(&p) == PENDING + 1 + RECEIVES);
    check_all_ended_once(&p);
    CU_ASSERT_FALSE(landed(&p));
    CU_ASSERT_EQUAL(p.rig.server.closed, 0);
    rig_close(&p.rig);
}

/* The same while writes are flowing: close after the first bytes have been seen. */
static void closed_by_the_target_in_mid_write(void)
{
    struct pending p;
    pending_open(&p);
    RIG_UNTIL(&p.rig, p.to.bytes[0] == 0x33);
    rig_end_close(&p.rig.server);
    memset(p.to.bytes, 0, p.to.len);
    rig_settle(&p.rig, 100);
    CU_ASSERT_FALSE(landed(&p));
    rig_end_close(&p.rig.client);
    RIG_UNTIL(&p.rig, pending_calls(&p) == PENDING + 1 + RECEIVES);
    check_all_ended_once(&p);
    rig_close(&p.rig);
}

static void close_from_connected(void)
{
    struct rig rig;
    rig_open(&rig);
    rig.client.close_at_once = true;
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.request);
    struct pf_endpoint_attr attr = rig_default_attr;
    attr.events = &rig_endpoint_events;
    attr.ctx = &rig.server;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(
        pf_accept(rig.request, rig.server_host.lane, &attr, NULL, 0, &rig.server.endpoint, &why),
        0);
    RIG_UNTIL(&rig, rig.client.connected && rig.server.closed);
    CU_ASSERT_PTR_NULL(rig.client.endpoint);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.client.closed, 0);
    rig_close(&rig);
}

static void close_from_closed(void)
{
    struct rig rig;
    struct rig_memory memory;
    struct rig_op recv;
    rig_pair(&rig, NULL);
    rig_memory_make(&memory, &rig.server_host, 64, PF_LOCAL_WRITE);
    RIG_POST(&rig, rig_recv(&rig.server, &memory, 0, 64, &recv));
    rig.server.close_at_once = true;
    pf_shutdown(rig.client.endpoint);
    RIG_UNTIL(&rig, rig.server.closed && recv.calls);
    CU_ASSERT_PTR_NULL(rig.server.endpoint);
    CU_ASSERT_EQUAL(recv.status, -ECANCELED);
    RIG_UNTIL(&rig, rig.client.closed);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.server.closed, 1);
    CU_ASSERT_EQUAL(recv.calls, 1);
    rig_close(&rig);
}

static void close_end(struct rig_op *op)
{
    rig_end_close(op->ctx);
}

/* More completions are due when the first one's done() closes the endpoint. */
static void close_from_done(void)
{
    struct pending p;
    pending_open(&p);
    for (unsigned i = 0; i < PENDING; i++) {
        p.writes[i].then = close_end;
        p.writes[i].ctx = &p.rig.client;
    }
    RIG_UNTIL(&p.rig, pending_calls(&p) == PENDING + 1 + RECEIVES);
    rig_settle(&p.rig, 20);
    check_all_ended_once(&p);
    CU_ASSERT_EQUAL(p.rig.client.closed, 0);
    RIG_UNTIL(&p.rig, p.rig.server.closed);
    rig_close(&p.rig);
}

/* A receive's done() closes the endpoint that the rest of the messages are for. */
static void close_from_receive(void)
{
    enum { COUNT = 4 };
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op got[COUNT], sent[COUNT];
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, 64, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 64, PF_LOCAL_WRITE);
    for (unsigned i = 0; i < COUNT; i++)
        RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 64, &got[i]));
    got[0].then = close_end;
    got[0].ctx = &rig.server;
    for (unsigned i = 0; i < COUNT; i++)
        RIG_POST(&rig, rig_send(&rig.client, &from, 0, 64, &sent[i]));
    RIG_UNTIL(&rig, rig.client.closed);
    rig_end_close(&rig.client);
    rig_settle(&rig, 20);
    for (unsigned i = 0; i < COUNT; i++) {
        CU_ASSERT_EQUAL(got[i].calls, 1);
        CU_ASSERT_EQUAL(sent[i].calls, 1);
    }
    CU_ASSERT_EQUAL(got[0].status, 0);
    CU_ASSERT_EQUAL(rig.server.closed, 0);
    rig_close(&rig);
}

const struct pf_test contract_close[] = {
    {"shutdown in order", shutdown_in_order},
    {"both hang up", both_hang_up},
    {"the peer notices a close", peer_notices_close},
    {"closed by the writer, operations pending", closed_by_the_writer},
    {"lane closed, operations pending", lane_close_ends_the_rest},
    {"closed by the target: nothing lands", closed_by_the_target},
    {"closed by the target in mid-write", closed_by_the_target_in_mid_write},
    {"close from connected()", close_from_connected},
    {"close from closed()", close_from_closed},
    {"close from done()", close_from_done},
    {"close from a receive's done()", close_from_receive},
    {NULL, NULL},
};
