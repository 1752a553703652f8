/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer that dies without a word: a process of its own, started from this program, that is ended
 * by SIGKILL while data flows.
 */
#include "tests/contract/backends.h"
#include "tests/contract/rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TARGET_BYTES = 1 << 20 };

/* What each side tells the other: where it may write. */
struct invitation {
    uint64_t address;
    uint8_t key[PF_RKEY_BYTES];
};

static void invite(struct rig_end *end, const struct rig_memory *target, struct rig_memory *paper)
{
    struct invitation invitation = {.address = rig_address(target, 0)};
    CU_ASSERT_EQUAL_FATAL(pf_rkey_pack(target->mr, end->endpoint, invitation.key), 0);
    memcpy(paper->bytes, &invitation, sizeof invitation);
}

static uint64_t invited(struct rig_end *end, const struct rig_memory *paper, struct pf_rkey *key)
{
    struct invitation invitation;
    memcpy(&invitation, paper->bytes, sizeof invitation);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_unpack(end->endpoint, invitation.key, key), 0);
    return invitation.address;
}

/* One side of a conversation of two processes. */
struct talk {
    struct rig_memory from, target, in, out;
    struct rig_op got, sent;
    struct pf_rkey key;
    uint64_t address;
};

static void talk_open(struct talk *talk, struct rig_end *end)
{
    rig_memory_make(&talk->from, end->host, TARGET_BYTES, PF_LOCAL_READ);
    memset(talk->from.bytes, 0x44, TARGET_BYTES);
    rig_memory_make(&talk->target, end->host, TARGET_BYTES, PF_REMOTE_WRITE);
    rig_memory_make(&talk->in, end->host, 256, PF_LOCAL_WRITE);
    rig_memory_make(&talk->out, end->host, 256, PF_LOCAL_READ);
}

/* Tell the peer where to write, hear the same. */
static void talk_exchange(struct talk *talk, struct rig *rig, struct rig_end *end)
{
    invite(end, &talk->target, &talk->out);
    RIG_POST(rig, rig_send(end, &talk->out, 0, sizeof(struct invitation), &talk->sent));
    RIG_UNTIL(rig, talk->sent.calls && talk->got.calls);
    RIG_OK(&talk->sent);
    RIG_OK(&talk->got);
    talk->address = invited(end, &talk->in, &talk->key);
}

static int post_write(struct talk *talk, struct rig_end *end, struct rig_op *op)
{
    size_t most = end->host->device->caps.max_message;
    struct pf_sge sge = rig_sge(&talk->from, 0, most < TARGET_BYTES ? most : TARGET_BYTES);
    rig_op_init(op);
    return pf_write(end->endpoint, &sge, 1, talk->address, &talk->key, &op->op);
}

/* Write without end, or until the connection fails. */
static void write_on(struct talk *talk, struct rig *rig, struct rig_end *end)
{
    struct rig_op ops[4];
    for (int i = 0; i < 4; i++)
        rig_op_init(&ops[i]), ops[i].calls = 1;
    for (unsigned i = 0; !end->closed; i = (i + 1) % 4) {
        while (!ops[i].calls && !end->closed)
            rig_step(rig);
        if (end->closed || post_write(talk, end, &ops[i]) != 0)
            ops[i].calls = 1, rig_step(rig);
    }
}

/* Connect to the suite that started this process. */
static void peer_open(struct rig *rig, struct talk *talk)
{
    *rig = (struct rig){.requests = 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rig_host_open(&rig->client_host, false, rig_target());
    rig->client.host = &rig->client_host;
    snprintf(rig->uri, sizeof rig->uri, "%s", rig_target());
    talk_open(talk, &rig->client);
    CU_ASSERT_EQUAL_FATAL(rig_ask(rig, &rig->client, NULL, 0), 0);
    RIG_POST(rig, rig_recv(&rig->client, &talk->in, 0, 256, &talk->got));
    RIG_UNTIL(rig, rig->client.connected);
    talk_exchange(talk, rig, &rig->client);
}

static void writing_peer(void)
{
    struct rig rig;
    struct talk talk;
    peer_open(&rig, &talk);
    write_on(&talk, &rig, &rig.client);
    rig_close(&rig);
}

static void written_peer(void)
{
    struct rig rig;
    struct talk talk;
    peer_open(&rig, &talk);
    while (!rig.client.closed)
        rig_step(&rig);
    rig_close(&rig);
}

const struct pf_test contract_peer[] = {
    {"writer", writing_peer},
    {"target", written_peer},
    {NULL, NULL},
};

/* fork and exec: a child of fork alone could use none of the libraries below. */
static pid_t start_peer(const char *uri, const char *role)
{
    pid_t pid = fork();
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        if (nowhere >= 0)
            dup2(nowhere, STDOUT_FILENO); /* the suite's own report is on ours */
        execl("/proc/self/exe", "contract_suite", uri, "--peer", role, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void accept_peer(struct rig *rig, struct talk *talk)
{
    RIG_UNTIL(rig, rig->request);
    struct pf_endpoint_attr attr = rig_default_attr;
    attr.events = &rig_endpoint_events;
    attr.ctx = &rig->server;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL_FATAL(
        pf_accept(rig->request, rig->server_host.lane, &attr, NULL, 0, &rig->server.endpoint, &why),
        0);
    rig->request = NULL;
    RIG_POST(rig, rig_recv(&rig->server, &talk->in, 0, 256, &talk->got));
    RIG_UNTIL(rig, rig->server.connected);
    talk_exchange(talk, rig, &rig->server);
}

static bool another_process(void)
{
    if (contract_one_process_only(rig_target())) {
        rig_skip("both ends of this back end live in one process");
        return false;
    }
    if (contract_death_may_hang(rig_target())) {
        rig_skip("a killed process can leave the provider's shared lock locked for ever");
        return false;
    }
    return true;
}

static void end_peer(pid_t pid)
{
    int status;
    CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE(WIFSIGNALED(status)); /* it was at work until then */
}

/* The peer writes to us; we wait for messages that never come. */
static void writer_dies(void)
{
    struct rig rig;
    struct talk talk;
    struct rig_op receives[4];
    if (!another_process())
        return;
    rig_open(&rig);
    talk_open(&talk, &rig.server);
    pid_t pid = start_peer(rig.uri, "writer");
    CU_ASSERT_TRUE_FATAL(pid > 0);
    accept_peer(&rig, &talk);
    for (int i = 0; i < 4; i++)
        RIG_POST(&rig, rig_recv(&rig.server, &talk.in, 0, 64, &receives[i]));
    RIG_UNTIL(&rig, __atomic_load_n(talk.target.bytes, __ATOMIC_RELAXED));
    end_peer(pid);
    RIG_UNTIL(&rig, rig.server.closed);
    rig_end_close(&rig.server);
    memset(talk.target.bytes, 0, TARGET_BYTES);
    RIG_UNTIL(&rig,
              receives[0].calls && receives[1].calls && receives[2].calls && receives[3].calls);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE(receives[i].status < 0);
    rig_settle(&rig, 50);
    CU_ASSERT_TRUE(rig_all(talk.target.bytes, TARGET_BYTES, 0));
    CU_ASSERT_EQUAL(rig.server.closed, 1);
    rig_close(&rig);
}

/* We write to the peer: every write ends, once; in the end by an error. */
static void target_dies(void)
{
    enum { WRITES = 16 };
    struct rig rig;
    struct talk talk;
    struct rig_op ops[WRITES], flush;
    if (!another_process())
        return;
    rig_open(&rig);
    talk_open(&talk, &rig.server);
    pid_t pid = start_peer(rig.uri, "target");
    CU_ASSERT_TRUE_FATAL(pid > 0);
    accept_peer(&rig, &talk);
    unsigned posted = 0;
    while (posted < WRITES && post_write(&talk, &rig.server, &ops[posted]) == 0)
        posted++;
    CU_ASSERT_TRUE(posted > 0);
    RIG_UNTIL(&rig, ops[0].calls);
    RIG_OK(&ops[0]);
    end_peer(pid);
    rig_op_init(&flush);
    int err = -EAGAIN;
    for (uint64_t since = 0; err == -EAGAIN && !rig_late(&since); rig_step(&rig))
        err = pf_flush(rig.server.endpoint, &flush.op);
    RIG_UNTIL(&rig, rig.server.closed && (err || flush.calls));
    CU_ASSERT_NOT_EQUAL(err ? err : flush.status, 0);
    rig_end_close(&rig.server);
    rig_settle(&rig, 20);
    for (unsigned i = 0; i < posted; i++)
        CU_ASSERT_EQUAL(ops[i].calls, 1);
    CU_ASSERT_EQUAL(rig.server.closed, 1);
    rig_close(&rig);
}

const struct pf_test contract_death[] = {
    {"peer dies as it writes", writer_dies},
    {"peer dies as it is written to", target_dies},
    {NULL, NULL},
};
