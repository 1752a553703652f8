/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_destination URI [TESTNAME]: what a source makes of a destination that breaks the
 * protocol. Before the switch its job goes on and answers; after it the process ends with its own
 * status.
 */
#include "tests/fuzz/peer.h"

#include <stdlib.h>
#include <unistd.h>

static const struct grid_play play = {PEER_PAGES, PEER_STEPS, PEER_MOVE_AT, .declared = NULL};

struct attack {
    const char *name;
    enum peer_step after;
    void (*strike)(struct peer *peer);
    const char *words;
};

static void garbage(struct peer *peer)
{
    uint8_t bytes[200];
    memset(bytes, 0x5a, sizeof bytes);
    peer_send(peer, &peer->session.control, bytes, sizeof bytes);
}

static void wild_error_code(struct peer *peer)
{
    static const uint8_t payload[] = {0, 0, 0, 0x80, 0, 0};
    peer_say(peer, PF_MSG_ERROR, payload, sizeof payload);
}

static void reports(struct peer *peer)
{
    static const uint8_t payload[] = {22, 0, 0, 0, 4, 0, 'n', 'o', '\n', '!'};
    peer_say(peer, PF_MSG_ERROR, payload, sizeof payload);
}

static void complete_at_once(struct peer *peer)
{
    peer_say(peer, PF_MSG_COMPLETE, "", 0);
}

static void accepted_with(struct peer *peer, uint32_t slots, uint32_t stages, uint64_t size,
                          uint32_t trays, uint64_t tray_size)
{
    uint8_t bytes[36];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, slots);
    pf_put_u32(&wire, stages);
    pf_put_u64(&wire, size);
    pf_put_u32(&wire, 1); /* rails */
    pf_put_u32(&wire, trays);
    pf_put_u64(&wire, tray_size);
    pf_put_u32(&wire, 0);
    peer_say(peer, PF_MSG_ACCEPTED, bytes, sizeof bytes);
}

static void accepted_of(struct peer *peer, uint32_t slots, uint32_t stages, uint64_t size)
{
    accepted_with(peer, slots, stages, size, 0, 0);
}

static void accepts_many_trays(struct peer *peer)
{
    accepted_with(peer, 4, 2, 16384, PF_TRAYS_MAX + 1, 4096);
}

static void accepts_odd_trays(struct peer *peer)
{
    accepted_with(peer, 4, 2, 16384, 1, 4095);
}

static void accepts_empty_trays(struct peer *peer)
{
    accepted_with(peer, 4, 2, 16384, 1, 0);
}

static void accepts_endless_trays(struct peer *peer)
{
    accepted_with(peer, 4, 2, 16384, 1, UINT64_MAX & ~4095ull);
}

static void accepts_no_slots(struct peer *peer)
{
    accepted_of(peer, 0, 2, 16384);
}

static void accepts_many_slots(struct peer *peer)
{
    accepted_of(peer, UINT32_MAX, 2, 16384);
}

static void accepts_many_stages(struct peer *peer)
{
    accepted_of(peer, 4, 65, 16384);
}

static void accepts_odd_stages(struct peer *peer)
{
    accepted_of(peer, 4, 2, 16385);
}

static void accepts_endless_stages(struct peer *peer)
{
    accepted_of(peer, 4, 2, UINT64_MAX & ~4095ull);
}

static void accepts_bulky_stages(struct peer *peer)
{
    accepted_of(peer, 4, 64, 64 << 20);
}

static void truncated_accepted(struct peer *peer)
{
    peer_say(peer, PF_MSG_ACCEPTED, "abc", 3);
}

static void listening_early(struct peer *peer)
{
    peer_say(peer, PF_MSG_LISTENING, "", 0);
}

/* ---- the other lanes
 * ----------------------------------------------------------------------------------- */

/* A request that grants trays, a bit for each. */
static void request_granting(struct peer *peer, uint16_t slot, uint32_t region, uint64_t page,
                             uint16_t trays)
{
    uint8_t bytes[PF_REQUEST_BYTES];
    struct pf_page_request fields = {
        .kind = PF_REQUEST_PAGE, .slot = slot, .extra = trays, .region = region, .page = page};
    pf_request_pack(&fields, bytes);
    peer_send(peer, &peer->session.urgent, bytes, sizeof bytes);
}

static void request(struct peer *peer, uint16_t slot, uint32_t region, uint64_t page)
{
    request_granting(peer, slot, region, page, 0);
}

static void grants_no_tray_of_its_own(struct peer *peer)
{
    request_granting(peer, 0, 0, 0, 1 << PEER_TRAYS);
}

static void grants_a_tray_twice(struct peer *peer)
{
    request_granting(peer, 0, 0, 0, 1);
    request_granting(peer, 1, 0, 8, 1);
}

static void good_request(struct peer *peer)
{
    request(peer, 0, 0, 0);
}

static void request_in_no_region(struct peer *peer)
{
    request(peer, 0, 1, 0);
}

static void request_beyond_the_region(struct peer *peer)
{
    request(peer, 0, 0, PEER_PAGES);
}

static void request_into_no_slot(struct peer *peer)
{
    request(peer, PEER_SLOTS, 0, 0);
}

static void junk_request(struct peer *peer)
{
    peer_send(peer, &peer->session.urgent, "please", 6);
}

static void immediate_for_a_request(struct peer *peer)
{
    /* The source has registered nothing for us: the key can't be right. */
    struct pf_rkey key = {.key = 1};
    peer_write(peer, &peer->session.urgent, "x", 1, 4096, &key, 0);
}

static void credit(struct peer *peer, uint16_t stage, uint16_t generation)
{
    uint8_t bytes[PF_CREDIT_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u16(&wire, stage);
    pf_put_u16(&wire, generation);
    peer_send(peer, &peer->session.rails[0].bulk, bytes, sizeof bytes);
}

static void credit_not_due(struct peer *peer)
{
    credit(peer, 0, 0);
}

static void credit_for_no_stage(struct peer *peer)
{
    credit(peer, PEER_STAGES, 0);
}

static void credit_of_old_generation(struct peer *peer)
{
    credit(peer, 0, 1023);
}

static void junk_credit(struct peer *peer)
{
    peer_send(peer, &peer->session.rails[0].bulk, "credit please", 13);
}

static void truncated_progress(struct peer *peer)
{
    peer_say(peer, PF_MSG_PROGRESS, "abcdefgh", 8);
}

static void more_threads_than_the_table_has(struct peer *peer)
{
    uint8_t bytes[12];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u64(&wire, 0);
    pf_put_u32(&wire, UINT32_MAX);
    peer_say(peer, PF_MSG_THREADS, bytes, sizeof bytes);
}

static void cell_of_no_histogram(struct peer *peer)
{
    uint8_t bytes[12];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, UINT32_MAX);
    pf_put_u64(&wire, 1);
    peer_say(peer, PF_MSG_LATENCY, bytes, sizeof bytes);
}

/* Nobody asked for it. */
static void received_unasked(struct peer *peer)
{
    uint8_t bytes[20];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, 1);
    peer_say(peer, PF_MSG_RECEIVED, bytes, sizeof bytes);
}

static void hello_from_the_destination(struct peer *peer)
{
    peer_say(peer, PF_MSG_HELLO, "", 0);
}

static void hangs_up(struct peer *peer)
{
    pf_shutdown(peer->session.control.endpoint);
}

/* ---- before the switch
 * --------------------------------------------------------------------------------- */

static const struct attack before[] = {
    {"garbage", PEER_HELLO, garbage, "no pageferry message"},
    {"wild error", PEER_HELLO, wild_error_code, "malformed error"},
    {"report", PEER_HELLO, reports, "the peer reports: no?!"},
    {"complete", PEER_REGIONS, complete_at_once, "complete where accepted was due"},
    {"no slots", PEER_REGIONS, accepts_no_slots, "no such thing"},
    {"many slots", PEER_REGIONS, accepts_many_slots, "no such thing"},
    {"many stages", PEER_REGIONS, accepts_many_stages, "no such thing"},
    {"odd stages", PEER_REGIONS, accepts_odd_stages, "no such thing"},
    {"endless stages", PEER_REGIONS, accepts_endless_stages, "no such thing"},
    {"bulky stages", PEER_REGIONS, accepts_bulky_stages, "rails (1): more than 256 MiB"},
    {"many trays", PEER_REGIONS, accepts_many_trays, "no such thing"},
    {"odd trays", PEER_REGIONS, accepts_odd_trays, "no such thing"},
    {"empty trays", PEER_REGIONS, accepts_empty_trays, "no such thing"},
    {"endless trays", PEER_REGIONS, accepts_endless_trays, "no such thing"},
    {"accepted", PEER_REGIONS, truncated_accepted, "malformed message (accepted)"},
    {"listening", PEER_ACCEPTED, listening_early, "listening where arena was due"},
    {"early request", PEER_SWITCH, good_request, "untimely page request"},
    {"early junk", PEER_SWITCH, junk_request, "untimely page request"},
    {"early credit", PEER_SWITCH, credit_not_due, "a credit that was not due"},
    {"hang-up", PEER_SWITCH, hangs_up, "connection broke"},
};

static void start_source(struct rig_run *run, struct peer *peer)
{
    struct rig_side side = {.body = grid_job, .ctx = &play};
    memset(run, 0, sizeof *run);
    run->failures_before = CU_get_number_of_failures();
    CU_ASSERT_EQUAL_FATAL(peer_listen(peer), 0);
    snprintf(side.uri, sizeof side.uri, "%s", peer->uri);
    rig_launch(&run->source, &side);
}

static void strike(struct rig_run *run, const struct attack *attack)
{
    struct peer *peer = peer_new();
    start_source(run, peer);
    int error = peer_destination(peer, attack->after);
    if (error)
        fprintf(stderr, "\n%s: %s\n", attack->name, peer->session.why.text);
    CU_ASSERT_EQUAL(error, 0);
    attack->strike(peer);
    CU_ASSERT_TRUE(peer_await_end(peer));
    peer_free(peer);
    rig_finish(&run->source);
    if (!rig_mentions(&run->source, attack->words))
        fprintf(stderr, "\n%s: lacks \"%s\"", attack->name, attack->words);
    CU_ASSERT(rig_mentions(&run->source, attack->words));
}

static void source_goes_on_after_every_attack(void)
{
    for (unsigned i = 0; i < sizeof before / sizeof before[0]; i++) {
        struct rig_run run;
        strike(&run, &before[i]);
        rig_assert_stayed(&run, grid_expected(PEER_PAGES, PEER_STEPS));
    }
}

/* ---- after the switch
 * ------------------------------------------------------------------------------------ */

static const struct attack after[] = {
    {"region", PEER_RUNNING, request_in_no_region, "page 0 of region 1 into slot 0"},
    {"page", PEER_RUNNING, request_beyond_the_region, "page 16 of region 0 into slot 0"},
    {"slot", PEER_RUNNING, request_into_no_slot, "page 0 of region 0 into slot 4"},
    {"tray", PEER_RUNNING, grants_no_tray_of_its_own, "granted trays (0x4)"},
    {"tray twice", PEER_RUNNING, grants_a_tray_twice, "granted trays (0x1)"},
    {"junk", PEER_RUNNING, junk_request, "untimely page request"},
    {"immediate", PEER_RUNNING, immediate_for_a_request, ""},
    {"credit stage", PEER_RUNNING, credit_for_no_stage, "a credit that was not due"},
    {"credit generation", PEER_RUNNING, credit_of_old_generation, "a credit that was not due"},
    {"credit junk", PEER_RUNNING, junk_credit, "a credit that was not due"},
    {"progress", PEER_RUNNING, truncated_progress, "malformed message (progress)"},
    {"threads", PEER_RUNNING, more_threads_than_the_table_has, "malformed message (threads)"},
    {"latency", PEER_RUNNING, cell_of_no_histogram, "malformed message (latency)"},
    {"received", PEER_RUNNING, received_unasked, "malformed message (received)"},
    {"hello", PEER_RUNNING, hello_from_the_destination, "spoke out of turn (hello)"},
    {"hang-up", PEER_RUNNING, hangs_up, "connection broke"},
};

static void source_ends_without_an_answer(void)
{
    for (unsigned i = 0; i < sizeof after / sizeof after[0]; i++) {
        struct rig_run run;
        strike(&run, &after[i]);
        CU_ASSERT_EQUAL(run.source.status, FERRY_EXIT_SOURCE_LOST);
        CU_ASSERT_EQUAL(rig_times_said(&run.source, "answer"), 0);
        CU_ASSERT(!rig_mentions(&run.source, "error: . The job"));
        rig_explain(&run);
    }
}

/* ---- credits
 * -----------------------------------------------------------------------------------------------
 */

/* A credit that never comes: the stage is not written a second time, and the rest is asked for. */
static void stage_is_not_reused_without_its_credit(void)
{
    struct rig_run run;
    struct peer *peer = peer_new();
    start_source(&run, peer);
    CU_ASSERT_EQUAL_FATAL(peer_destination(peer, PEER_RUNNING), 0);
    while (peer->fill_count < PEER_STAGES)
        peer_settle(peer, 1);
    peer_settle(peer, 50);
    CU_ASSERT_EQUAL(peer->fills[0], 1);
    CU_ASSERT_EQUAL(peer->fills[1], 1);
    credit(peer, 1, 0);
    while (peer->fill_count < PEER_STAGES + 1)
        peer_settle(peer, 1);
    peer_settle(peer, 50);
    CU_ASSERT_EQUAL(peer->fills[0], 1);
    CU_ASSERT_EQUAL(peer->fills[1], 2);
    /* Every page is answered, on whichever lane it is. */
    for (uint64_t page = 0; page < PEER_PAGES; page++) {
        request(peer, (uint16_t)(page % PEER_SLOTS), 0, page);
        while (peer->answers < page + 1)
            peer_settle(peer, 1);
    }
    peer_free(peer);
    rig_finish(&run.source);
    CU_ASSERT_EQUAL(run.source.status, FERRY_EXIT_SOURCE_LOST);
    rig_explain(&run);
}

enum { ITERATIONS = 25 };

static void mutated_conversations(void)
{
    for (unsigned seed = 1; seed <= ITERATIONS; seed++) {
        struct rig_run run;
        struct peer *peer = peer_new();
        peer->options.peer_timeout_ms = 1000;
        peer->mutation = seed;
        start_source(&run, peer);
        peer_destination(peer, PEER_SWITCH);
        peer_free(peer);
        rig_finish(&run.source);
        rig_assert_stayed(&run, grid_expected(PEER_PAGES, PEER_STEPS));
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"source_goes_on_after_every_attack", source_goes_on_after_every_attack},
        {"source_ends_without_an_answer", source_ends_without_an_answer},
        {"stage_is_not_reused_without_its_credit", stage_is_not_reused_without_its_credit},
        {"mutated_conversations", mutated_conversations},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_destination", tests, argc > 2 ? argv[2] : NULL);
}
