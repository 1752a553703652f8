/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages, writes, reads: that each byte arrives where it should, and no other is touched. */
#include "tests/contract/rig.h"

#include <stdlib.h>

enum { GUARD = 64 };
static const char guard_byte = (char)0xA5;

static void exchange(void)
{
    struct rig rig;
    struct rig_memory memory[2];
    struct rig_op sent[2], got[2];
    rig_pair(&rig, NULL);
    struct rig_end *ends[] = {&rig.client, &rig.server};
    for (int i = 0; i < 2; i++) {
        rig_memory_make(&memory[i], ends[i]->host, (size_t)2 * RIG_MESSAGE, PF_LOCAL_WRITE);
        rig_fill(memory[i].bytes, RIG_MESSAGE, (unsigned)i);
        RIG_POST(&rig, rig_recv(ends[i], &memory[i], RIG_MESSAGE, RIG_MESSAGE, &got[i]));
    }
    RIG_POST(&rig, rig_send(ends[0], &memory[0], 0, RIG_MESSAGE, &sent[0]));
    RIG_POST(&rig, rig_send(ends[1], &memory[1], 0, 1001, &sent[1]));
    RIG_UNTIL(&rig, sent[0].calls && sent[1].calls && got[0].calls && got[1].calls);
    for (int i = 0; i < 2; i++) {
        RIG_OK(&sent[i]);
        RIG_OK(&got[i]);
        CU_ASSERT_FALSE(got[i].op.has_imm);
    }
    CU_ASSERT_EQUAL(got[1].bytes, RIG_MESSAGE);
    CU_ASSERT_EQUAL(got[0].bytes, 1001);
    CU_ASSERT_TRUE(rig_filled(memory[1].bytes + RIG_MESSAGE, RIG_MESSAGE, 0));
    CU_ASSERT_TRUE(rig_filled(memory[0].bytes + RIG_MESSAGE, 1001, 1));
    CU_ASSERT_TRUE(rig_all(memory[0].bytes + RIG_MESSAGE + 1001, RIG_MESSAGE - 1001, 0));
    rig_close(&rig);
}

static void messages_keep_their_order(void)
{
    enum { COUNT = RIG_DEPTH, LEN = 300 };
    struct rig rig;
    struct rig_memory from, to;
    struct rig_op sent[COUNT], got[COUNT];
    rig_pair(&rig, NULL);
    rig_memory_make(&from, &rig.client_host, (size_t)COUNT * LEN, PF_LOCAL_READ);
    rig_memory_make(&to, &rig.server_host, (size_t)COUNT * LEN, PF_LOCAL_WRITE);
    for (unsigned i = 0; i < COUNT; i++) {
        rig_fill(from.bytes + (size_t)i * LEN, LEN, i);
        RIG_POST(&rig, rig_recv(&rig.server, &to, (size_t)i * LEN, LEN, &got[i]));
    }
    /* Lengths differ, so that small and large ones, if carried differently, could overtake. */
    for (unsigned i = 0; i < COUNT; i++)
        RIG_POST(&rig, rig_send(&rig.client, &from, (size_t)i * LEN, i % 2 ? LEN : 3, &sent[i]));
    for (unsigned i = 0; i < COUNT; i++) {
        RIG_UNTIL(&rig, sent[i].calls && got[i].calls);
        CU_ASSERT_EQUAL(got[i].bytes, i % 2 ? LEN : 3);
        CU_ASSERT_TRUE(rig_filled(to.bytes + (size_t)i * LEN, got[i].bytes, i));
    }
    rig_close(&rig);
}

/* A pair, memory to write from and to, with guards on either side of what is written. */
struct field {
    struct rig rig;
    struct rig_memory from, to, note;
    struct pf_rkey key;
    struct rig_op note_op; /* a receive that an immediate uses up */
};

static void field_open(struct field *field, size_t len)
{
    rig_pair(&field->rig, NULL);
    rig_memory_make(&field->from, &field->rig.client_host, len + 4096, PF_LOCAL_WRITE);
    rig_memory_make(&field->to, &field->rig.server_host, len + 4096,
                    PF_REMOTE_WRITE | PF_REMOTE_READ);
    rig_memory_make(&field->note, &field->rig.server_host, RIG_MESSAGE, PF_LOCAL_WRITE);
    memset(field->note.bytes, guard_byte, RIG_MESSAGE);
    field->key = rig_key(&field->to, &field->rig.server, &field->rig.client);
}

static void field_close(struct field *field)
{
    rig_close(&field->rig);
}

static void post_note(struct field *field)
{
    RIG_POST(&field->rig,
             rig_recv(&field->rig.server, &field->note, 0, RIG_MESSAGE, &field->note_op));
}

static size_t largest(const struct field *field, size_t wanted)
{
    size_t most = field->rig.client_host.device->caps.max_message;
    return wanted < most ? wanted : most;
}

/* Cut len bytes at offset into as many uneven pieces as a gather list may have, at most wanted. */
static unsigned cut(const struct field *field, size_t offset, size_t len, unsigned wanted,
                    struct pf_sge *sgl)
{
    unsigned most = field->rig.client_host.device->caps.max_gather;
    unsigned count = wanted < most ? wanted : most;
    if (count > len)
        count = (unsigned)len;
    size_t done = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t piece = i + 1 == count ? len - done : (len - done) / (count - i + 1);
        piece = piece ? piece : 1;
        sgl[i] = rig_sge(&field->from, offset + done, piece);
        done += piece;
    }
    return count;
}

enum { PIECES = 8 };

/* Write with an immediate; when it arrives, what was written and the guards must be right. */
static void write_and_check(struct field *field, size_t from, size_t to, size_t len,
                            unsigned pieces)
{
    struct pf_sge sgl[PIECES];
    struct rig_op op;
    unsigned count = cut(field, from, len, pieces, sgl);
    unsigned seed = (unsigned)(len + from + to);
    rig_fill(field->from.bytes + from, len, seed);
    memset(field->to.bytes + to - GUARD, guard_byte, len + GUARD + GUARD);
    post_note(field);
    rig_op_init(&op);
    RIG_POST(&field->rig, pf_write_imm(field->rig.client.endpoint, sgl, count,
                                       rig_address(&field->to, to), &field->key, seed, &op.op));
    RIG_UNTIL(&field->rig, field->note_op.calls);
    RIG_OK(&field->note_op);
    CU_ASSERT_TRUE(field->note_op.op.has_imm);
    CU_ASSERT_EQUAL(field->note_op.op.imm, seed);
    CU_ASSERT_TRUE(rig_filled(field->to.bytes + to, len, seed));
    CU_ASSERT_TRUE(rig_all(field->to.bytes + to - GUARD, GUARD, guard_byte));
    CU_ASSERT_TRUE(rig_all(field->to.bytes + to + len, GUARD, guard_byte));
    RIG_UNTIL(&field->rig, op.calls);
    RIG_OK(&op);
    CU_ASSERT_EQUAL(op.bytes, len);
}

static void gather_writes(void)
{
    static const size_t lengths[] = {1,     2,     3,     7,      8,       63,     64,
                                     65,    511,   1000,  4095,   4096,    4097,   10001,
                                     65535, 65536, 65537, 262144, 1048575, 1048576};
    static const size_t from_offsets[] = {0, 1, 5, 64, 4093};
    static const size_t to_offsets[] = {GUARD, GUARD + 1, GUARD + 3, 1000, 2049};
    struct field field;
    field_open(&field, 1 << 20);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t len = largest(&field, lengths[i]);
        for (unsigned pieces = 1; pieces <= PIECES; pieces += 1 + pieces / 2)
            write_and_check(&field, from_offsets[(i + pieces) % 5], to_offsets[(i + pieces) % 5],
                            len, pieces);
    }
    field_close(&field);
}

static void immediate_uses_one_receive(void)
{
    static const uint32_t values[] = {0, 1, 0x80000000u, 0xFFFFFFFFu, 0x12345678u};
    enum { COUNT = sizeof values / sizeof values[0] };
    struct field field;
    struct rig_op notes[COUNT + 1], writes[COUNT];
    field_open(&field, 4096);
    for (unsigned i = 0; i <= COUNT; i++)
        RIG_POST(&field.rig,
                 rig_recv(&field.rig.server, &field.note, (size_t)i * 64, 64, &notes[i]));
    rig_fill(field.from.bytes, 64, 9);
    struct pf_sge sge = rig_sge(&field.from, 0, 64);
    for (unsigned i = 0; i < COUNT; i++) {
        rig_op_init(&writes[i]);
        RIG_POST(&field.rig, pf_write_imm(field.rig.client.endpoint, &sge, 1,
                                          rig_address(&field.to, (size_t)i * 64), &field.key,
                                          values[i], &writes[i].op));
        RIG_UNTIL(&field.rig, notes[i].calls && writes[i].calls);
        RIG_OK(&notes[i]);
        RIG_OK(&writes[i]);
        CU_ASSERT_EQUAL(notes[i].bytes, 0);
        CU_ASSERT_TRUE(notes[i].op.has_imm);
        CU_ASSERT_EQUAL(notes[i].op.imm, values[i]);
        CU_ASSERT_EQUAL(notes[i + 1].calls, 0);
    }
    /* Their buffers were left alone; the last receive is still there, for a message. */
    CU_ASSERT_TRUE(rig_all(field.note.bytes, RIG_MESSAGE, guard_byte));
    struct rig_op sent;
    RIG_POST(&field.rig, rig_send(&field.rig.client, &field.from, 0, 64, &sent));
    RIG_UNTIL(&field.rig, notes[COUNT].calls && sent.calls);
    RIG_OK(&notes[COUNT]);
    CU_ASSERT_FALSE(notes[COUNT].op.has_imm);
    CU_ASSERT_EQUAL(notes[COUNT].bytes, 64);
    CU_ASSERT_TRUE(rig_filled(field.note.bytes + (size_t)COUNT * 64, 64, 9));
    field_close(&field);
}

/* Plain writes, then one with an immediate: what its arrival certifies. */
static void immediate_certifies(void)
{
    enum { WRITES = 8, LEN = 50000, ROUNDS = 20 };
    struct field field;
    struct rig_op ops[WRITES];
    field_open(&field, (size_t)WRITES * LEN);
    bool ordered = field.rig.client_host.device->caps.ordered_writes;
    size_t len = largest(&field, LEN);
    for (unsigned round = 0; round < ROUNDS; round++) {
        post_note(&field);
        for (unsigned i = 0; i < WRITES; i++) {
            size_t at = (size_t)i * LEN;
            rig_fill(field.from.bytes + at, len, round * WRITES + i);
            struct pf_sge sge = rig_sge(&field.from, at, len);
            rig_op_init(&ops[i]);
            struct pf_endpoint *endpoint = field.rig.client.endpoint;
            if (i + 1 < WRITES)
                RIG_POST(&field.rig, pf_write(endpoint, &sge, 1, rig_address(&field.to, at),
                                              &field.key, &ops[i].op));
            else
                RIG_POST(&field.rig, pf_write_imm(endpoint, &sge, 1, rig_address(&field.to, at),
                                                  &field.key, round, &ops[i].op));
        }
        RIG_UNTIL(&field.rig, field.note_op.calls);
        CU_ASSERT_EQUAL(field.note_op.op.imm, round);
        for (unsigned i = ordered ? 0 : WRITES - 1; i < WRITES; i++)
            CU_ASSERT_TRUE(rig_filled(field.to.bytes + (size_t)i * LEN, len, round * WRITES + i));
        for (unsigned i = 0; i < WRITES; i++) {
            RIG_UNTIL(&field.rig, ops[i].calls);
            RIG_OK(&ops[i]);
        }
    }
    field_close(&field);
}

/* Only the writer's lane and the flush say so: the data is there the moment the flush is done. */
static void flush_certifies(void)
{
    enum { WRITES = 8, LEN = 40000, ROUNDS = 20 };
    struct field field;
    struct rig_op ops[WRITES], flush;
    field_open(&field, (size_t)WRITES * LEN);
    size_t len = largest(&field, LEN);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < WRITES; i++) {
            size_t at = (size_t)i * LEN;
            rig_fill(field.from.bytes + at, len, round * WRITES + i);
            struct pf_sge sge = rig_sge(&field.from, at, len);
            rig_op_init(&ops[i]);
            RIG_POST(&field.rig, pf_write(field.rig.client.endpoint, &sge, 1,
                                          rig_address(&field.to, at), &field.key, &ops[i].op));
        }
        rig_op_init(&flush);
        RIG_POST(&field.rig, pf_flush(field.rig.client.endpoint, &flush.op));
        RIG_UNTIL(&field.rig, flush.calls);
        RIG_OK(&flush);
        for (unsigned i = 0; i < WRITES; i++)
            CU_ASSERT_TRUE(rig_filled(field.to.bytes + (size_t)i * LEN, len, round * WRITES + i));
        for (unsigned i = 0; i < WRITES; i++) {
            RIG_UNTIL(&field.rig, ops[i].calls);
            RIG_OK(&ops[i]);
        }
    }
    field_close(&field);
}

static void flush_of_nothing(void)
{
    struct field field;
    struct rig_op flush;
    field_open(&field, 64);
    rig_op_init(&flush);
    RIG_POST(&field.rig, pf_flush(field.rig.client.endpoint, &flush.op));
    RIG_UNTIL(&field.rig, flush.calls);
    RIG_OK(&flush);
    field_close(&field);
}

static void reads(void)
{
    static const size_t lengths[] = {1, 7, 4096, 65537, 1048576};
    struct field field;
    struct pf_sge sgl[PIECES];
    struct rig_op op;
    field_open(&field, 1 << 20);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t len = largest(&field, lengths[i]), at = 100 + i, to = GUARD + 3 * i;
        rig_fill(field.to.bytes + at, len, (unsigned)i);
        memset(field.from.bytes + to - GUARD, guard_byte, len + GUARD + GUARD);
        unsigned count = cut(&field, to, len, 3, sgl);
        rig_op_init(&op);
        RIG_POST(&field.rig, pf_read(field.rig.client.endpoint, sgl, count,
                                     rig_address(&field.to, at), &field.key, &op.op));
        RIG_UNTIL(&field.rig, op.calls);
        RIG_OK(&op);
        CU_ASSERT_EQUAL(op.bytes, len);
        CU_ASSERT_TRUE(rig_filled(field.from.bytes + to, len, (unsigned)i));
        CU_ASSERT_TRUE(rig_all(field.from.bytes + to - GUARD, GUARD, guard_byte));
        CU_ASSERT_TRUE(rig_all(field.from.bytes + to + len, GUARD, guard_byte));
        CU_ASSERT_TRUE(rig_filled(field.to.bytes + at, len, (unsigned)i));
    }
    field_close(&field);
}

/* The connection has no preferred side. */
static void server_writes(void)
{
    struct field field;
    struct rig_op op, flush;
    field_open(&field, 4096);
    struct rig_memory target;
    rig_memory_make(&target, &field.rig.client_host, 4096, PF_REMOTE_WRITE);
    struct pf_rkey key = rig_key(&target, &field.rig.client, &field.rig.server);
    rig_fill(field.to.bytes, 3000, 77);
    struct pf_sge sge = rig_sge(&field.to, 0, 3000);
    rig_op_init(&op);
    rig_op_init(&flush);
    RIG_POST(&field.rig,
             pf_write(field.rig.server.endpoint, &sge, 1, rig_address(&target, 17), &key, &op.op));
    RIG_POST(&field.rig, pf_flush(field.rig.server.endpoint, &flush.op));
    RIG_UNTIL(&field.rig, op.calls && flush.calls);
    RIG_OK(&op);
    RIG_OK(&flush);
    CU_ASSERT_TRUE(rig_filled(target.bytes + 17, 3000, 77));
    CU_ASSERT_TRUE(rig_all(target.bytes, 17, 0));
    field_close(&field);
}

/* Unregistered, and overwritten the moment that the call has returned. */
static void inline_sends(void)
{
    enum { COUNT = 16 };
    struct field field;
    struct rig_op sent[COUNT], got[COUNT];
    char buffer[4096];
    field_open(&field, 64);
    size_t most = field.rig.client_host.device->caps.inline_size;
    size_t len = most < RIG_MESSAGE / COUNT ? most : RIG_MESSAGE / COUNT;
    if (len == 0)
        rig_skip("this back end has no inline sends");
    for (unsigned i = 0; len && i < COUNT; i++)
        RIG_POST(&field.rig, rig_recv(&field.rig.server, &field.note, i * len, len, &got[i]));
    for (unsigned i = 0; len && i < COUNT; i++) {
        rig_op_init(&sent[i]);
        rig_fill(buffer, len, i);
        struct pf_sge sge = {NULL, buffer, len};
        RIG_POST(&field.rig, pf_send(field.rig.client.endpoint, &sge, 1, &sent[i].op));
        memset(buffer, guard_byte, sizeof buffer);
    }
    for (unsigned i = 0; len && i < COUNT; i++) {
        RIG_UNTIL(&field.rig, sent[i].calls && got[i].calls);
        RIG_OK(&sent[i]);
        CU_ASSERT_EQUAL(got[i].bytes, len);
        CU_ASSERT_TRUE(rig_filled(field.note.bytes + i * len, len, i));
    }
    field_close(&field);
}

/* Reads and writes of the same bytes, back and forth: each sees what the one before it left. */
static void write_then_read_back(void)
{
    struct field field;
    struct rig_op write, flush, read;
    field_open(&field, 8192);
    for (unsigned i = 0; i < 10; i++) {
        rig_fill(field.from.bytes, 4096, i);
        struct pf_sge out = rig_sge(&field.from, 0, 4096), in = rig_sge(&field.from, 4096, 4096);
        rig_op_init(&write);
        rig_op_init(&flush);
        rig_op_init(&read);
        RIG_POST(&field.rig, pf_write(field.rig.client.endpoint, &out, 1, rig_address(&field.to, 8),
                                      &field.key, &write.op));
        RIG_POST(&field.rig, pf_flush(field.rig.client.endpoint, &flush.op));
        RIG_UNTIL(&field.rig, flush.calls && write.calls);
        RIG_POST(&field.rig, pf_read(field.rig.client.endpoint, &in, 1, rig_address(&field.to, 8),
                                     &field.key, &read.op));
        RIG_UNTIL(&field.rig, read.calls);
        RIG_OK(&read);
        CU_ASSERT_TRUE(rig_filled(field.from.bytes + 4096, 4096, i));
    }
    field_close(&field);
}

const struct pf_test contract_data[] = {
    {"exchange of messages", exchange},
    {"messages keep their order", messages_keep_their_order},
    {"gather writes, 1 byte to 1 MiB", gather_writes},
    {"an immediate uses one receive", immediate_uses_one_receive},
    {"what an immediate certifies", immediate_certifies},
    {"what a flush certifies", flush_certifies},
    {"flush of nothing", flush_of_nothing},
    {"reads", reads},
    {"the server writes too", server_writes},
    {"inline sends", inline_sends},
    {"write, then read back", write_then_read_back},
    {NULL, NULL},
};
