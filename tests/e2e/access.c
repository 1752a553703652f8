/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access URI [TESTNAME]: what a peer may do with the job's memory at the source, key or no key. The
 * source's part is the engine's own, its peer is the test, and both are in this process: so it can
 * have even the right key, which the engine tells nobody unless the pages are to be read.
 */
#include "core/send/source_keys.h"
#include "tests/contract/rig.h"

#include <stdlib.h>

enum { PAGES = 64, BYTE = 0x5c };

struct source {
    struct rig rig;
    struct pf_regions *regions;
    struct pf_region *region;
    struct pf_source_memory memory;
    struct pf_source_keys keys;
    struct rig_memory mine; /* the peer's */
    struct pf_mr *mr;       /* of the job's memory */
    struct pf_rkey key;
};

/* Registered as for a migration: to be pushed, or to be pulled. */
static struct pf_mr *register_memory(struct source *source, bool pull)
{
    struct pf_why why = {""};
    size_t covered;
    if (!pull) {
        pf_source_memory_prepare(&source->memory, 0, 0, 0);
        return pf_source_memory_mr(&source->memory.regions[0], 0, 0, &covered);
    }
    CU_ASSERT_EQUAL_FATAL(pf_source_keys_plan(&source->keys, &source->memory, &why), 0);
    CU_ASSERT_EQUAL_FATAL(source->keys.count, 1);
    CU_ASSERT_EQUAL_FATAL(pf_source_keys_register(&source->keys.list[0], &source->memory, &why), 0);
    return source->keys.list[0].mrs[0];
}

static void open_source(struct source *source, bool pull)
{
    struct pf_why why = {""};
    uint8_t packed[PF_RKEY_BYTES];
    memset(source, 0, sizeof *source);
    rig_pair(&source->rig, NULL);
    source->regions = calloc(1, sizeof *source->regions);
    CU_ASSERT_EQUAL_FATAL(pf_regions_map(source->regions, "memory", PAGES * (size_t)PF_PAGE_SIZE, 0,
                                         0, &source->region, &why),
                          0);
    memset(source->region->addr, BYTE, source->region->bytes);
    struct pf_source_rails rails = {1, {source->rig.server_host.device}, {0}};
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&source->memory, &rails, source->regions, &why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&source->memory, &why), 0);
    source->mr = register_memory(source, pull);
    CU_ASSERT_PTR_NOT_NULL_FATAL(source->mr);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_pack(source->mr, source->rig.server.endpoint, packed), 0);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_unpack(source->rig.client.endpoint, packed, &source->key), 0);
    rig_memory_make(&source->mine, &source->rig.client_host, PF_PAGE_SIZE, PF_LOCAL_WRITE);
}

static void close_source(struct source *source)
{
    rig_end_close(&source->rig.client);
    rig_end_close(&source->rig.server);
    pf_source_keys_close(&source->keys);
    pf_source_memory_close(&source->memory);
    rig_close(&source->rig);
    pf_regions_unmap(source->regions);
    free(source->regions);
}

/* A page of the job's, from the middle of its region. */
static int attempt(struct source *source, bool write, struct rig_op *op)
{
    struct pf_endpoint *endpoint = source->rig.client.endpoint;
    struct pf_sge sge = rig_sge(&source->mine, 0, PF_PAGE_SIZE);
    uint64_t page = (uintptr_t)pf_region_page(source->region, PAGES / 2);
    rig_op_init(op);
    return write ? pf_write(endpoint, &sge, 1, page, &source->key, &op->op)
                 : pf_read(endpoint, &sge, 1, page, &source->key, &op->op);
}

static bool untouched(const struct source *source)
{
    return rig_all(source->mine.bytes, PF_PAGE_SIZE, 0) &&
           rig_all(source->region->addr, source->region->bytes, BYTE);
}

/* It ends the connection, and nothing has been read or written. */
static void expect_refusal(bool pull, bool write, uint64_t spoil)
{
    struct source source;
    struct rig_op op;
    open_source(&source, pull);
    source.key.key ^= spoil;
    RIG_POST(&source.rig, attempt(&source, write, &op));
    struct rig_op flush;
    rig_op_init(&flush);
    int error = pf_flush(source.rig.client.endpoint, &flush.op);
    RIG_UNTIL(&source.rig, op.calls && source.rig.client.closed && (error || flush.calls));
    CU_ASSERT_TRUE(source.rig.client.closed_status < 0);
    CU_ASSERT_TRUE(write || op.status < 0);
    CU_ASSERT_TRUE(untouched(&source));
    close_source(&source);
}

static void pushed_memory_has_no_remote_access(void)
{
    for (int write = 0; write < 2; write++) {
        expect_refusal(false, write, 0); /* the right key */
        expect_refusal(false, write, 1);
        expect_refusal(false, write, 0x5a5a5a);
    }
}

static void pulled_memory_can_be_read_with_its_key(void)
{
    struct source source;
    struct rig_op op;
    open_source(&source, true);
    RIG_POST(&source.rig, attempt(&source, false, &op));
    RIG_UNTIL(&source.rig, op.calls);
    RIG_OK(&op);
    CU_ASSERT_TRUE(rig_all(source.mine.bytes, PF_PAGE_SIZE, BYTE));
    close_source(&source);
    expect_refusal(true, false, 1);
    expect_refusal(true, false, 0x5a5a5a);
}

static void pulled_memory_can_not_be_written(void)
{
    expect_refusal(true, true, 0);
    expect_refusal(true, true, 0x5a5a5a);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"pushed_memory_has_no_remote_access", pushed_memory_has_no_remote_access},
        {"pulled_memory_can_be_read_with_its_key", pulled_memory_can_be_read_with_its_key},
        {"pulled_memory_can_not_be_written", pulled_memory_can_not_be_written},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("access", tests, argc > 2 ? argv[2] : NULL);
}
