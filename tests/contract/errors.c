/* SPDX-License-Identifier: BSD-2-Clause */
/* Arguments that break the contract, and peers that ask for what they were not given. */
#include "tests/contract/backends.h"
#include "tests/contract/rig.h"

enum { LEN = 4096, MARGIN = 4096 };

struct target {
    struct rig rig;
    struct rig_memory from, to, note;
    struct pf_rkey key;
    struct rig_op recv;
};

static void target_open(struct target *target, unsigned access)
{
    struct rig *rig = &target->rig;
    rig_pair(rig, NULL);
    rig_memory_make(&target->from, &rig->client_host, (size_t)2 * LEN, PF_LOCAL_WRITE);
    memset(target->from.bytes, 0x77, (size_t)2 * LEN);
    rig_memory_inside(&target->to, &rig->server_host, LEN, MARGIN, access);
    target->key = rig_key(&target->to, &rig->server, &rig->client);
    rig_memory_make(&target->note, &rig->server_host, 64, PF_LOCAL_WRITE);
    RIG_POST(rig, rig_recv(&rig->server, &target->note, 0, 64, &target->recv));
}

enum attempt { ATTEMPT_WRITE, ATTEMPT_WRITE_IMM, ATTEMPT_READ };

static int post(struct target *target, enum attempt attempt, intptr_t offset, size_t len,
                struct rig_op *op)
{
    struct pf_endpoint *endpoint = target->rig.client.endpoint;
    struct pf_sge sge = rig_sge(&target->from, 0, len);
    uint64_t remote = rig_address(&target->to, 0) + (uint64_t)offset;
    rig_op_init(op);
    if (attempt == ATTEMPT_READ)
        return pf_read(endpoint, &sge, 1, remote, &target->key, &op->op);
    if (attempt == ATTEMPT_WRITE_IMM)
        return pf_write_imm(endpoint, &sge, 1, remote, &target->key, 3, &op->op);
    return pf_write(endpoint, &sge, 1, remote, &target->key, &op->op);
}

/* Nothing lands, the asker is told, each operation ends once. Closes the target. */
static void expect_refusal(struct target *target, enum attempt attempt, intptr_t offset, size_t len)
{
    struct rig *rig = &target->rig;
    struct rig_op op, flush;
    RIG_POST(rig, post(target, attempt, offset, len, &op));
    rig_op_init(&flush);
    int err = pf_flush(rig->client.endpoint, &flush.op);
    RIG_UNTIL(rig, op.calls && rig->client.closed && rig->server.closed && (err || flush.calls));
    CU_ASSERT_NOT_EQUAL(err ? err : flush.status, 0);
    CU_ASSERT_TRUE(rig->client.closed_status < 0);
    if (contract_refusal_is_named(rig_target()))
        CU_ASSERT_EQUAL(rig->client.closed_status, -EACCES);
    if (attempt == ATTEMPT_READ)
        CU_ASSERT_TRUE(op.status < 0);
    rig_end_close(&rig->server);
    RIG_UNTIL(rig, target->recv.calls);
    CU_ASSERT_NOT_EQUAL(target->recv.status, 0);
    rig_settle(rig, 20);
    CU_ASSERT_EQUAL(op.calls + target->recv.calls, 2);
    CU_ASSERT_TRUE(rig_all(target->to.whole, LEN + 2 * MARGIN, 0));
    CU_ASSERT_TRUE(rig_all(target->from.bytes, (size_t)2 * LEN, 0x77));
    rig_close(rig);
}

static void refusal(unsigned access, enum attempt attempt, intptr_t offset, size_t len)
{
    struct target target;
    target_open(&target, access);
    expect_refusal(&target, attempt, offset, len);
}

static void wrong_key(void)
{
    struct target target;
    target_open(&target, PF_REMOTE_WRITE);
    target.key.key ^= 0x5A5A5A;
    expect_refusal(&target, ATTEMPT_WRITE, 0, 64);
}

static void stale_key(void)
{
    struct target target;
    target_open(&target, PF_REMOTE_WRITE);
    struct rig_memory gone;
    rig_memory_make(&gone, &target.rig.server_host, LEN, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&gone, &target.rig.server, &target.rig.client);
    target.key = key;
    uint64_t offset = rig_address(&gone, 0) - rig_address(&target.to, 0);
    pf_mr_dereg(gone.mr);
    struct pf_why why = {""};
    /* The same memory under a new registration, which nobody was given. */
    CU_ASSERT_EQUAL_FATAL(
        pf_mr_reg(target.rig.server_host.device, gone.bytes, LEN, PF_REMOTE_WRITE, &gone.mr, &why),
        0);
    expect_refusal(&target, ATTEMPT_WRITE, (intptr_t)offset, 64);
}

static void out_of_bounds(void)
{
    refusal(PF_REMOTE_WRITE, ATTEMPT_WRITE, LEN - 63, 64);
    refusal(PF_REMOTE_WRITE, ATTEMPT_WRITE, -1, 64);
    refusal(PF_REMOTE_WRITE, ATTEMPT_WRITE, LEN, 1);
    refusal(PF_REMOTE_WRITE, ATTEMPT_WRITE, 1, LEN);
    refusal(PF_REMOTE_WRITE, ATTEMPT_WRITE_IMM, LEN - 1, 2);
    refusal(PF_REMOTE_READ, ATTEMPT_READ, LEN - 63, 64);
    refusal(PF_REMOTE_READ, ATTEMPT_READ, -1, 64);
}

static void right_not_given(void)
{
    refusal(PF_REMOTE_READ, ATTEMPT_WRITE, 0, 64);
    refusal(PF_LOCAL_WRITE, ATTEMPT_WRITE_IMM, 0, 64);
    refusal(PF_REMOTE_WRITE, ATTEMPT_READ, 0, 64);
}

/* Up to both ends everything is allowed: shows that the refusals above are at the right byte. */
static void exact_bounds(void)
{
    struct target target;
    struct rig_op op, flush;
    target_open(&target, PF_REMOTE_WRITE);
    RIG_POST(&target.rig, post(&target, ATTEMPT_WRITE, 0, LEN, &op));
    rig_op_init(&flush);
    RIG_POST(&target.rig, pf_flush(target.rig.client.endpoint, &flush.op));
    RIG_UNTIL(&target.rig, op.calls && flush.calls);
    RIG_OK(&op);
    RIG_OK(&flush);
    CU_ASSERT_TRUE(rig_all(target.to.bytes, LEN, 0x77));
    CU_ASSERT_TRUE(rig_all(target.to.whole, MARGIN, 0));
    CU_ASSERT_TRUE(rig_all(target.to.bytes + LEN, MARGIN, 0));
    rig_close(&target.rig);
}

static int try_write(struct target *target, const struct pf_sge *sgl, unsigned count,
                     struct rig_op *op)
{
    rig_op_init(op);
    return pf_write(target->rig.client.endpoint, sgl, count, rig_address(&target->to, 0),
                    &target->key, &op->op);
}

/* Found before anything is posted: the endpoint lives on, done() is never called. */
static void bad_gather_lists(void)
{
    struct target target;
    struct rig_op op;
    target_open(&target, PF_REMOTE_WRITE);
    struct rig_memory *from = &target.from;
    struct pf_mr *mr = from->mr;
    const struct pf_sge bad[] = {
        {mr, from->bytes, 0},
        {mr, from->bytes + 1, from->len},
        {mr, from->bytes - 1, 8},
        {mr, from->bytes + from->len, 1},
        {mr, from->bytes, target.rig.client_host.device->caps.max_message + 1},
        {NULL, from->bytes, 8},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CU_ASSERT_EQUAL(try_write(&target, &bad[i], 1, &op), -EINVAL);
        CU_ASSERT_EQUAL(op.calls, 0);
    }
    struct pf_sge many[64];
    unsigned too_many = target.rig.client_host.device->caps.max_gather + 1;
    for (unsigned i = 0; i < 64; i++)
        many[i] = rig_sge(from, i, 1);
    CU_ASSERT_EQUAL(try_write(&target, many, 0, &op), -EINVAL);
    if (too_many <= 64)
        CU_ASSERT_EQUAL(try_write(&target, many, too_many, &op), -EINVAL);
    struct pf_sge good = rig_sge(from, 0, 8);
    RIG_POST(&target.rig, try_write(&target, &good, 1, &op));
    RIG_UNTIL(&target.rig, op.calls);
    RIG_OK(&op);
    CU_ASSERT_EQUAL(target.rig.client.closed, 0);
    rig_close(&target.rig);
}

/* Memory that was registered for gathering only is not written to. */
static void local_rights(void)
{
    struct target target;
    struct rig_op op;
    target_open(&target, PF_REMOTE_READ);
    struct rig_memory constant;
    rig_memory_make(&constant, &target.rig.client_host, 64, PF_LOCAL_READ);
    struct pf_sge sge = rig_sge(&constant, 0, 64);
    CU_ASSERT_EQUAL(rig_recv(&target.rig.client, &constant, 0, 64, &op), -EINVAL);
    CU_ASSERT_EQUAL(pf_read(target.rig.client.endpoint, &sge, 1, rig_address(&target.to, 0),
                            &target.key, &op.op),
                    -EINVAL);
    rig_close(&target.rig);
}

static void registration(void)
{
    struct rig rig;
    struct pf_why why = {""};
    struct pf_mr *mr;
    char byte;
    rig_open(&rig);
    CU_ASSERT_EQUAL(pf_mr_reg(rig.client_host.device, &byte, 0, PF_LOCAL_READ, &mr, &why), -EINVAL);
    CU_ASSERT_TRUE(strlen(why.text) > 0);
    /* One byte, at no particular alignment, is a registration too. */
    CU_ASSERT_EQUAL_FATAL(pf_mr_reg(rig.client_host.device, &byte, 1, PF_LOCAL_READ, &mr, &why), 0);
    CU_ASSERT_PTR_EQUAL(mr->addr, &byte);
    CU_ASSERT_EQUAL(mr->len, 1);
    CU_ASSERT_PTR_EQUAL(mr->device, rig.client_host.device);
    pf_mr_dereg(mr);
    rig_close(&rig);
}

/* The same memory twice, with different rights: each key gives its own. */
static void overlapping_registrations(void)
{
    struct target target;
    struct rig_op op;
    struct pf_why why = {""};
    struct pf_mr *readable;
    uint8_t packed[PF_RKEY_BYTES];
    target_open(&target, PF_REMOTE_WRITE);
    CU_ASSERT_EQUAL_FATAL(pf_mr_reg(target.rig.server_host.device, target.to.bytes, LEN,
                                    PF_REMOTE_READ, &readable, &why),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_pack(readable, target.rig.server.endpoint, packed), 0);
    struct pf_rkey key;
    CU_ASSERT_EQUAL_FATAL(pf_rkey_unpack(target.rig.client.endpoint, packed, &key), 0);
    memset(target.to.bytes, 0x11, LEN);
    target.key = key;
    RIG_POST(&target.rig, post(&target, ATTEMPT_READ, 0, 64, &op));
    RIG_UNTIL(&target.rig, op.calls);
    RIG_OK(&op);
    CU_ASSERT_TRUE(rig_all(target.from.bytes, 64, 0x11));
    rig_end_close(&target.rig.client);
    rig_end_close(&target.rig.server);
    pf_mr_dereg(readable);
    rig_close(&target.rig);
}

static void impossible_keys(void)
{
    struct rig rig;
    uint8_t packed[PF_RKEY_BYTES];
    struct pf_rkey key;
    rig_pair(&rig, NULL);
    memset(packed, 0xEE, sizeof packed);
    CU_ASSERT_EQUAL(pf_rkey_unpack(rig.client.endpoint, packed, &key), -EINVAL);
    rig_close(&rig);
}

const struct pf_test contract_errors[] = {
    {"wrong key", wrong_key},
    {"stale key", stale_key},
    {"write or read outside the bounds", out_of_bounds},
    {"right not given", right_not_given},
    {"exactly within the bounds", exact_bounds},
    {"bad gather lists", bad_gather_lists},
    {"local rights", local_rights},
    {"registration", registration},
    {"overlapping registrations", overlapping_registrations},
    {"bytes that can't be a key", impossible_keys},
    {NULL, NULL},
};
