/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices and registrations are shared by threads; a lane has one owner, who may change. */
#include "tests/contract/rig.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LANES = 2, WRITES = 300, LEN = 3000 };

/* One client lane with a thread of its own; all of them gather from one registration. */
struct worker {
    struct rig *rig;
    struct rig_host host;
    struct rig_end client, server;
    struct rig_memory *from;
    struct rig_memory to;
    struct pf_rkey key;
    unsigned index;
    int err;
};

static int finish(struct worker *worker, struct rig_op *op)
{
    uint64_t since = 0;
    while (!op->calls && !rig_late(&since))
        if (pf_progress(worker->host.lane, 64) == 0)
            sched_yield();
    return op->calls ? op->status : -ETIMEDOUT;
}

static int write_piece(struct worker *worker, unsigned i)
{
    struct rig_op write, flush;
    size_t at = (size_t)(i % 10) * LEN;
    struct pf_sge sge = rig_sge(worker->from, at, LEN);
    rig_op_init(&write);
    rig_op_init(&flush);
    int err = pf_write(worker->client.endpoint, &sge, 1, rig_address(&worker->to, at), &worker->key,
                       &write.op);
    if (err)
        return err;
    err = pf_flush(worker->client.endpoint, &flush.op);
    int written = finish(worker, &write);
    int flushed = err ? err : finish(worker, &flush);
    return written ? written : flushed;
}

/* Registrations come and go on the shared device while the lanes write. */
static int register_meanwhile(struct worker *worker)
{
    char scratch[256];
    struct pf_mr *mr;
    struct pf_why why = {""};
    int err = pf_mr_reg(worker->host.device, scratch, sizeof scratch, PF_LOCAL_READ, &mr, &why);
    if (err == 0)
        pf_mr_dereg(mr);
    return err;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (unsigned i = 0; i < WRITES && !worker->err; i++) {
        worker->err = write_piece(worker, i);
        if (!worker->err && i % 16 == 0)
            worker->err = register_meanwhile(worker);
    }
    return NULL;
}

static void worker_open(struct worker *worker, struct rig *rig, struct rig_memory *from,
                        unsigned index)
{
    *worker = (struct worker){.rig = rig, .from = from, .index = index};
    if (index == 0)
        worker->host = rig->client_host;
    else
        rig_lane_open(&worker->host, rig->client_host.device);
    worker->client.host = &worker->host;
    worker->server.host = &rig->server_host;
    rig_memory_make(&worker->to, &rig->server_host, (size_t)10 * LEN, PF_REMOTE_WRITE);
}

/* Connecting is done by this thread, lane after lane; then each lane goes to its thread. */
static void worker_join(struct worker *worker)
{
    struct rig *rig = worker->rig;
    struct pf_lane *own = rig->client_host.lane;
    rig->client_host.lane = worker->host.lane;
    rig_join(rig, &worker->client, &worker->server, NULL);
    rig->client_host.lane = own;
    worker->key = rig_key(&worker->to, &worker->server, &worker->client);
}

struct server_thread {
    struct pf_lane *lane;
    atomic_bool stop;
};

static void *serve(void *arg)
{
    struct server_thread *server = arg;
    while (!atomic_load(&server->stop))
        if (pf_progress(server->lane, 64) == 0)
            sched_yield();
    return NULL;
}

static void lanes_share_a_registration(void)
{
    struct rig rig;
    struct rig_memory from;
    struct worker workers[LANES];
    pthread_t threads[LANES], server_thread;
    rig_open(&rig);
    rig_memory_make(&from, &rig.client_host, (size_t)10 * LEN, PF_LOCAL_READ);
    rig_fill(from.bytes, from.len, 21);
    for (unsigned i = 0; i < LANES; i++) {
        worker_open(&workers[i], &rig, &from, i);
        worker_join(&workers[i]);
    }
    struct server_thread server = {.lane = rig.server_host.lane};
    CU_ASSERT_EQUAL_FATAL(pthread_create(&server_thread, NULL, serve, &server), 0);
    for (unsigned i = 0; i < LANES; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (unsigned i = 0; i < LANES; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&server.stop, true);
    pthread_join(server_thread, NULL);
    for (unsigned i = 0; i < LANES; i++) {
        CU_ASSERT_EQUAL(workers[i].err, 0);
        CU_ASSERT_TRUE(rig_filled(workers[i].to.bytes, workers[i].to.len, 21));
        rig_end_close(&workers[i].client);
        rig_end_close(&workers[i].server);
        if (i > 0)
            pf_lane_close(workers[i].host.lane);
    }
    rig_close(&rig);
}

/* Accept on another lane than the listener's. */
static void accept_on_another_lane(void)
{
    struct rig rig;
    struct rig_host other;
    struct rig_memory from, to;
    struct rig_op sent, got;
    rig_open(&rig);
    rig_lane_open(&other, rig.server_host.device);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.request);
    struct pf_endpoint_attr attr = rig_default_attr;
    attr.events = &rig_endpoint_events;
    attr.ctx = &rig.server;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(
        pf_accept(rig.request, other.lane, &attr, NULL, 0, &rig.server.endpoint, &why), 0);
    rig.request = NULL;
    CU_ASSERT_PTR_EQUAL(rig.server.endpoint->lane, other.lane);
    rig_memory_make(&from, &rig.client_host, 64, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 64, PF_LOCAL_WRITE);
    rig_fill(from.bytes, 64, 2);
    RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 64, &got));
    RIG_UNTIL(&rig, (pf_progress(other.lane, 64), rig.client.connected && rig.server.connected));
    RIG_POST(&rig, rig_send(&rig.client, &from, 0, 64, &sent));
    RIG_UNTIL(&rig, (pf_progress(other.lane, 64), got.calls && sent.calls));
    RIG_OK(&got);
    CU_ASSERT_TRUE(rig_filled(to.bytes, 64, 2));
    rig_end_close(&rig.client);
    rig_end_close(&rig.server);
    pf_lane_close(other.lane);
    rig_close(&rig);
}

struct turn {
    struct rig *rig;
    struct rig_memory *from, *to;
    unsigned seed;
    bool arrived;
};

/* Everything on both lanes by one thread, which did not open them. */
static void *take_turn(void *arg)
{
    struct turn *turn = arg;
    struct rig *rig = turn->rig;
    struct rig_op got, sent;
    uint64_t since = 0;
    rig_fill(turn->from->bytes, 512, turn->seed);
    if (rig_recv(&rig->server, turn->to, 0, 512, &got) ||
        rig_send(&rig->client, turn->from, 0, 512, &sent))
        return NULL;
    while (!(got.calls && sent.calls) && !rig_late(&since))
        rig_step(rig);
    turn->arrived = got.calls == 1 && sent.calls == 1 && got.status == 0 &&
                    rig_filled(turn->to->bytes, 512, turn->seed);
    return NULL;
}

static void lane_handed_over(void)
{
    struct rig rig;
    struct rig_memory from, to;
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, 512, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, 512, PF_LOCAL_WRITE);
    for (unsigned i = 0; i < 6; i++) {
        struct turn turn = {&rig, &from, &to, i, false};
        pthread_t thread;
        if (i % 2) {
            take_turn(&turn);
        } else {
            CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, take_turn, &turn), 0);
            pthread_join(thread, NULL);
        }
        CU_ASSERT_TRUE(turn.arrived);
    }
    rig_close(&rig);
}

/* The target closes on its own thread while the writer goes on: what it then zeroes stays zero. */
struct hammer {
    struct worker worker;
    atomic_bool stop;
};

static void *hammer(void *arg)
{
    struct hammer *self = arg;
    for (unsigned i = 0; !atomic_load(&self->stop); i++)
        if (self->worker.client.closed || write_piece(&self->worker, i) != 0)
            break;
    return NULL;
}

static void closed_under_fire(void)
{
    for (unsigned round = 0; round < 10; round++) {
        struct rig rig;
        struct rig_memory from;
        struct hammer self = {.stop = false};
        pthread_t thread;
        rig_open(&rig);
        rig_memory_make(&from, &rig.client_host, (size_t)10 * LEN, PF_LOCAL_READ);
        memset(from.bytes, 1, from.len);
        worker_open(&self.worker, &rig, &from, 0);
        worker_join(&self.worker);
        char *bytes = self.worker.to.bytes;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, hammer, &self), 0);
        uint64_t since = 0;
        while (!__atomic_load_n(bytes, __ATOMIC_RELAXED) && !rig_late(&since))
            pf_progress(rig.server_host.lane, 64);
        rig_end_close(&self.worker.server);
        memset(bytes, 0, self.worker.to.len);
        for (unsigned i = 0; i < 1000; i++)
            pf_progress(rig.server_host.lane, 64);
        atomic_store(&self.stop, true);
        pthread_join(thread, NULL);
        CU_ASSERT_TRUE(rig_all(bytes, self.worker.to.len, 0));
        rig_end_close(&self.worker.client);
        rig_close(&rig);
    }
}

const struct pf_test contract_threads[] = {
    {"two lanes share a registration", lanes_share_a_registration},
    {"accept on another lane", accept_on_another_lane},
    {"lane handed to another thread", lane_handed_over},
    {"closed while a thread writes", closed_under_fire},
    {NULL, NULL},
};
