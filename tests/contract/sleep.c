/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeping on a lane's descriptor: no event may be missed. */
#include "tests/contract/rig.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { POLL_MS = RIG_DEADLINE_S * 1000 };

/* Sleep until something happens, in the order that loses no wake-up. False: the poll timed out. */
static bool sleep_once(struct pf_lane *lane)
{
    if (pf_progress(lane, 64) > 0 || pf_lane_arm(lane) == -EAGAIN || pf_progress(lane, 64) > 0)
        return true;
    struct pollfd poll_fd = {.fd = pf_lane_fd(lane), .events = POLLIN};
    return poll(&poll_fd, 1, POLL_MS) == 1;
}

static bool cannot_sleep(const struct rig_host *host)
{
    if (host->device->caps.can_sleep)
        return false;
    CU_ASSERT_EQUAL(pf_lane_fd(host->lane), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(pf_lane_arm(host->lane), -EOPNOTSUPP);
    rig_skip("this back end can't sleep, and says so");
    return true;
}

/* One thread's half of the ping-pong: answers each message that comes with one of its own. */
struct player {
    struct rig_end *end;
    struct rig_memory in, out;
    struct rig_op recv, send;
    unsigned rounds;
    bool begins;
    bool missed; /* a poll timed out */
    int err;
};

static bool wait_calls(struct player *player, const struct rig_op *op)
{
    while (!op->calls && !player->missed && !player->end->closed)
        if (!sleep_once(player->end->host->lane))
            player->missed = true;
    return op->calls && op->status == 0;
}

static void *play(void *arg)
{
    struct player *player = arg;
    for (unsigned i = 0; i < player->rounds; i++) {
        if (player->begins || i > 0) {
            player->err = rig_send(player->end, &player->out, 0, 32, &player->send);
            if (player->err || !wait_calls(player, &player->send))
                return NULL;
        }
        if (!wait_calls(player, &player->recv))
            return NULL;
        player->err = rig_recv(player->end, &player->in, 0, 64, &player->recv);
        if (player->err)
            return NULL;
    }
    if (!player->begins) {
        player->err = rig_send(player->end, &player->out, 0, 32, &player->send);
        wait_calls(player, &player->send);
    }
    return NULL;
}

static void player_open(struct player *player, struct rig *rig, struct rig_end *end)
{
    *player = (struct player){.end = end, .rounds = 3000, .begins = end == &rig->client};
    rig_memory_make(&player->in, end->host, 64, PF_LOCAL_WRITE);
    rig_memory_make(&player->out, end->host, 64, PF_LOCAL_READ);
    RIG_POST(rig, rig_recv(end, &player->in, 0, 64, &player->recv));
}

static void ping_pong(void)
{
    struct rig rig;
    struct player players[2];
    pthread_t threads[2];
    rig_pair(&rig, NULL);
    if (!cannot_sleep(&rig.client_host)) {
        player_open(&players[0], &rig, &rig.client);
        player_open(&players[1], &rig, &rig.server);
        for (int i = 0; i < 2; i++)
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, play, &players[i]), 0);
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            CU_ASSERT_FALSE(players[i].missed);
            CU_ASSERT_EQUAL(players[i].err, 0);
            CU_ASSERT_EQUAL(players[i].end->closed, 0);
        }
    }
    rig_close(&rig);
}

/* A thread that owns the server's lane and sleeps until a condition holds. */
struct sleeper {
    struct rig *rig;
    bool (*satisfied)(struct rig *rig);
    bool missed;
    atomic_bool done;
};

static void *sleep_until(void *arg)
{
    struct sleeper *sleeper = arg;
    while (!sleeper->satisfied(sleeper->rig) && !sleeper->missed)
        sleeper->missed = !sleep_once(sleeper->rig->server_host.lane);
    atomic_store(&sleeper->done, true);
    return NULL;
}

/* The client's lane is this thread's meanwhile. */
static void progress_client_until(struct rig *rig, struct sleeper *sleeper)
{
    uint64_t since = 0;
    while (!atomic_load(&sleeper->done) && !rig_late(&since))
        if (pf_progress(rig->client_host.lane, 64) == 0)
            sched_yield();
}

static void run_sleeper(struct rig *rig, bool (*satisfied)(struct rig *),
                        void (*provoke)(struct rig *))
{
    struct sleeper sleeper = {.rig = rig, .satisfied = satisfied};
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, sleep_until, &sleeper), 0);
    usleep(20000); /* usually asleep by then; if not, the test is only weaker */
    provoke(rig);
    progress_client_until(rig, &sleeper);
    pthread_join(thread, NULL);
    CU_ASSERT_FALSE(sleeper.missed);
}

static bool was_asked(struct rig *rig)
{
    return rig->request != NULL;
}

static void do_ask(struct rig *rig)
{
    CU_ASSERT_EQUAL(rig_ask(rig, &rig->client, "?", 1), 0);
}

static bool server_closed(struct rig *rig)
{
    return rig->server.closed > 0;
}

static void do_hang_up(struct rig *rig)
{
    pf_shutdown(rig->client.endpoint);
}

static void do_close(struct rig *rig)
{
    rig_end_close(&rig->client);
}

static void woken_by_connections(void)
{
    struct rig rig;
    rig_open(&rig);
    if (!cannot_sleep(&rig.server_host)) {
        run_sleeper(&rig, was_asked, do_ask);
        pf_reject(rig.request, NULL, 0);
        rig.request = NULL;
        RIG_UNTIL(&rig, rig.client.closed);
        rig_end_close(&rig.client);
        rig_join(&rig, &rig.client, &rig.server, NULL);
        run_sleeper(&rig, server_closed, do_hang_up);
        rig_end_close(&rig.client);
        rig_end_close(&rig.server);
        rig_join(&rig, &rig.client, &rig.server, NULL);
        run_sleeper(&rig, server_closed, do_close);
    }
    rig_close(&rig);
}

/* A deadline inside the back end is an event too: both sides sleep until the link fails. */
static void woken_by_a_missing_receive(void)
{
    struct rig rig;
    struct rig_memory from;
    struct rig_op sent;
    rig_pair(&rig, NULL);
    if (!cannot_sleep(&rig.server_host)) {
        struct sleeper sleeper = {.rig = &rig, .satisfied = server_closed};
        pthread_t thread;
        rig_memory_make(&from, &rig.client_host, 256, PF_LOCAL_READ);
        RIG_POST(&rig, rig_send(&rig.client, &from, 0, 256, &sent));
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, sleep_until, &sleeper), 0);
        bool missed = false;
        while (!missed && !rig.client.closed)
            missed = !sleep_once(rig.client_host.lane);
        pthread_join(thread, NULL);
        CU_ASSERT_FALSE(missed || sleeper.missed);
        CU_ASSERT_EQUAL(rig.client.closed_status, -ENOBUFS);
    }
    rig_close(&rig);
}

/* Arm, and see whether the descriptor stays silent. */
static bool falls_asleep(struct rig *rig)
{
    struct pf_lane *lane = rig->server_host.lane;
    uint64_t since = 0;
    while (!rig_late(&since)) {
        rig_settle(rig, 5);
        if (pf_lane_arm(lane) == -EAGAIN || pf_progress(lane, 64) > 0)
            continue;
        struct pollfd poll_fd = {.fd = pf_lane_fd(lane), .events = POLLIN};
        if (poll(&poll_fd, 1, 20) == 0)
            return true;
    }
    return false;
}

/* An event that has been dealt with does not keep its lane's owner awake. */
static void quiet_when_idle(void)
{
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op sent, got;
    rig_pair(&rig, NULL);
    if (!cannot_sleep(&rig.server_host)) {
        rig_memory_make(&from, &rig.client_host, 64, PF_LOCAL_READ);
        rig_memory_make(&to, &rig.server_host, 64, PF_LOCAL_WRITE);
        for (unsigned i = 0; i < 3; i++) {
            RIG_POST(&rig, rig_recv(&rig.server, &to, 0, 64, &got));
            CU_ASSERT_TRUE_FATAL(falls_asleep(&rig));
            RIG_POST(&rig, rig_send(&rig.client, &from, 0, 64, &sent));
            RIG_UNTIL(&rig, got.calls && sent.calls);
        }
        CU_ASSERT_TRUE(falls_asleep(&rig));
    }
    rig_close(&rig);
}

const struct pf_test contract_sleep[] = {
    {"ping-pong of sleepers", ping_pong},
    {"woken by connection events", woken_by_connections},
    {"woken by a missing receive", woken_by_a_missing_receive},
    {"quiet when idle", quiet_when_idle},
    {NULL, NULL},
};
