/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_source URI [TESTNAME]: what a destination makes of a source that breaks the protocol: one
 * clear line, and it waits for another (or ends with its own status once the job runs there).
 */
#include "core/encoding.h"
#include "tests/fuzz/attack.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the control lane
 * ------------------------------------------------------------------------------- */

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void say_fields(struct peer *peer, unsigned type, unsigned words32, const uint32_t *first,
                       unsigned words64, const uint64_t *then)
{
    uint8_t bytes[256];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    for (unsigned i = 0; i < words32; i++)
        pf_put_u32(&wire, first[i]);
    for (unsigned i = 0; i < words64; i++)
        pf_put_u64(&wire, then[i]);
    peer_say(peer, type, bytes, (size_t)(wire.at - bytes));
}

static void raw_header(struct peer *peer, unsigned type, uint32_t length, uint32_t handled,
                       size_t bytes)
{
    uint8_t message[20000] = {0};
    struct pf_header header = {(uint16_t)type, length, handled};
    pf_header_pack(&header, message);
    peer_send(peer, &peer->session.control, message, bytes);
}

static void garbage(struct peer *peer)
{
    uint8_t bytes[200];
    memset(bytes, 0xa5, sizeof bytes);
    peer_send(peer, &peer->session.control, bytes, sizeof bytes);
}

static void short_message(struct peer *peer)
{
    peer_send(peer, &peer->session.control, "PFR", 3);
}

static void long_length(struct peer *peer)
{
    raw_header(peer, PF_MSG_PING, UINT32_MAX, 0, PF_HEADER_BYTES);
}

static void oversized_message(struct peer *peer)
{
    raw_header(peer, PF_MSG_HELLO, 19000 - PF_HEADER_BYTES, 0, 19000);
}

static void acknowledges_too_much(struct peer *peer)
{
    raw_header(peer, PF_MSG_ACK, 0, 1000, PF_HEADER_BYTES);
}

static void out_of_turn(struct peer *peer)
{
    peer_say(peer, PF_MSG_RUN, "", 0);
}

static void wild_error_code(struct peer *peer)
{
    peer_say(peer, PF_MSG_ERROR, BYTES(0, 0, 0, 0x80, 0, 0));
}

static void truncated_hello(struct peer *peer)
{
    peer_say(peer, PF_MSG_HELLO, BYTES(4, 0, 'a', 'b', 'c', 'd', 0, 16));
}

static void hello_of(struct peer *peer, uint32_t page_size, uint32_t regions, uint32_t rails)
{
    uint8_t bytes[64];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_string(&wire, "x");
    pf_put_u32(&wire, page_size);
    pf_put_u32(&wire, regions);
    pf_put_u32(&wire, 1);
    pf_put_u64(&wire, PEER_PAGES * RIG_PAGE);
    pf_put_u32(&wire, rails);
    pf_put_u32(&wire, 0);
    pf_put_u32(&wire, PF_PIN_AUTO);
    peer_say(peer, PF_MSG_HELLO, bytes, (size_t)(wire.at - bytes));
}

static void other_page_size(struct peer *peer)
{
    hello_of(peer, 65536, 1, 1);
}

static void very_many_regions(struct peer *peer)
{
    hello_of(peer, RIG_PAGE, UINT32_MAX, 1);
}

static void region_of(struct peer *peer, uint32_t id, const char *name, uint32_t shift)
{
    uint8_t bytes[256];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, id);
    pf_put_string(&wire, name);
    pf_put_u64(&wire, PEER_PAGES * RIG_PAGE);
    pf_put_u32(&wire, shift);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, 0);
    peer_say(peer, PF_MSG_REGION, bytes, (size_t)(wire.at - bytes));
}

static void region_of_wrong_id(struct peer *peer)
{
    region_of(peer, 7, "grid", PF_PAGE_SHIFT);
}

static void region_of_huge_pages(struct peer *peer)
{
    region_of(peer, 0, "grid", 21);
}

static void region_of_impossible_pages(struct peer *peer)
{
    region_of(peer, 0, "grid", 200);
}

static void region_of_long_name(struct peer *peer)
{
    region_of(peer, 0, "0123456789012345678901234567890123456789012345678901234567890123456789",
              PF_PAGE_SHIFT);
}

static void region_with_escapes(struct peer *peer)
{
    region_of(peer, 0, "a\033[31m\nb", PF_PAGE_SHIFT);
}

static void too_many_states(struct peer *peer)
{
    say_fields(peer, PF_MSG_STATES, 0, NULL, 2, (const uint64_t[]){8, 8});
}

static void unsent_of(struct peer *peer, uint32_t region, uint64_t first, uint64_t pages)
{
    say_fields(peer, PF_MSG_UNSENT, 1, &region, 2, (const uint64_t[]){first, pages});
}

static void unsent_in_no_region(struct peer *peer)
{
    unsent_of(peer, 1, 0, 1);
}

static void unsent_beyond(struct peer *peer)
{
    unsent_of(peer, 0, 1, PEER_PAGES);
}

static void unsent_around_the_end(struct peer *peer)
{
    unsent_of(peer, 0, UINT64_MAX, 2);
}

static void half_an_unsent_run(struct peer *peer)
{
    say_fields(peer, PF_MSG_UNSENT, 1, (const uint32_t[]){0}, 1, (const uint64_t[]){3});
}

static void overlong_state(struct peer *peer)
{
    say_fields(peer, PF_MSG_STATE, 0, NULL, 3, (const uint64_t[]){0, 1, 2});
}

static void state_elsewhere(struct peer *peer)
{
    say_fields(peer, PF_MSG_STATE, 0, NULL, 2, (const uint64_t[]){4096, 1});
}

static void state_twice(struct peer *peer)
{
    say_fields(peer, PF_MSG_STATE, 0, NULL, 2, (const uint64_t[]){8, 1});
}

static void listen_too_early(struct peer *peer)
{
    peer_say(peer, PF_MSG_LISTEN, "", 0);
}

static void listen_with_payload(struct peer *peer)
{
    peer_say(peer, PF_MSG_LISTEN, "x", 1);
}

static void run_with_payload(struct peer *peer)
{
    peer_say(peer, PF_MSG_RUN, "x", 1);
}

static void hangs_up(struct peer *peer)
{
    pf_shutdown(peer->session.control.endpoint);
}

/* ---- the other lanes
 * ---------------------------------------------------------------------------------- */

static void answer_of(struct peer *peer, struct pf_answer answer)
{
    uint8_t bytes[PF_ANSWER_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u32(&wire, pf_answer_to_imm(answer));
    peer_send(peer, &peer->session.urgent, bytes, sizeof bytes);
}

static void answer_nobody_asked_for(struct peer *peer)
{
    answer_of(peer, (struct pf_answer){0, 0, PF_ANSWER_ZERO});
}

static void answer_for_no_slot(struct peer *peer)
{
    answer_of(peer, (struct pf_answer){4095, 0, PF_ANSWER_ZERO});
}

static void data_nobody_asked_for(struct peer *peer)
{
    peer_write(peer, &peer->session.urgent, "data", 4, peer->slots_at, &peer->slots_key,
               pf_answer_to_imm((struct pf_answer){1, 0, PF_ANSWER_DATA}));
}

static void junk_answer(struct peer *peer)
{
    peer_send(peer, &peer->session.urgent, "junk", 4);
}

static void message_on_the_bulk_lane(struct peer *peer)
{
    peer_send(peer, &peer->session.rails[0].bulk, "junk", 4);
}

/* A stage's header with one run, and its immediate. */
static void fill(struct peer *peer, struct pf_stage_run run, struct pf_stage_imm imm)
{
    uint8_t bytes[PF_RUN_BYTES + RIG_PAGE] = {0};
    pf_stage_run_pack(&run, bytes);
    uint64_t to = peer->stages_at + (uint64_t)pf_stage_header_at(1);
    peer_write(peer, &peer->session.rails[0].bulk, bytes, sizeof bytes, to, &peer->stages_key,
               pf_stage_to_imm(imm));
}

static const struct pf_stage_run good_run = {.region = 0, .pages = 1, .first = 0};
static const struct pf_stage_imm good_imm = {.stage = 0, .parts = 1, .generation = 0, .runs = 1};

#define FILL(name, member_run, member_imm)                                                         \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        struct pf_stage_run run = good_run;                                                        \
        struct pf_stage_imm imm = good_imm;                                                        \
        member_run;                                                                                \
        member_imm;                                                                                \
        fill(peer, run, imm);                                                                      \
    }

FILL(stage_there_is_none, (void)run, imm.stage = 63)
FILL(stage_of_no_parts, (void)run, imm.parts = 0)
FILL(stage_of_no_runs, (void)run, imm.runs = 0)
FILL(stage_of_too_many_runs, (void)run, imm.runs = 1023)
FILL(stage_of_old_generation, (void)run, imm.generation = 1000)
FILL(run_in_no_region, run.region = 5, (void)imm)
FILL(run_beyond_the_region, run.first = PEER_PAGES, (void)imm)
FILL(run_around_the_end, run.first = UINT64_MAX, (void)imm)
FILL(run_longer_than_the_region, run.pages = 0x7fffffff, (void)imm)
FILL(run_of_no_pages, run.pages = 0, (void)imm)
FILL(part_of_a_small_page, run.in_parts = true, (void)imm)
FILL(part_of_no_page, (run.in_parts = true, run.first = PEER_PAGES), (void)imm)
FILL(part_without_a_page, run.part = 1, (void)imm)

/* Before the switch: zeros where encoded pages should be. */
#define ENCODED(name, ...)                                                                         \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        fill(peer, pf_encoded_to_run((struct pf_encoded_run){__VA_ARGS__}), good_imm);             \
    }

ENCODED(encoded_in_no_region, .region = 7, .encoding = PF_ENCODING_ZEROS, .pages = 1)
ENCODED(encoded_beyond, .encoding = PF_ENCODING_ZEROS, .pages = 2, .first = PEER_PAGES - 1)
ENCODED(encoded_around, .encoding = PF_ENCODING_ZEROS, .pages = 2, .first = (1ull << 40) - 1)
ENCODED(encoded_empty, .encoding = PF_ENCODING_ZEROS)
ENCODED(encoded_otherwise, .encoding = 9, .pages = 1, .length = 100)
ENCODED(encoded_past_the_stage, .encoding = PF_ENCODING_PLAIN, .pages = 8, .length = 8 * RIG_PAGE)
ENCODED(encoded_shorter, .encoding = PF_ENCODING_PLAIN, .pages = 1, .length = RIG_PAGE - 1)
ENCODED(spoilt_difference, .encoding = PF_ENCODING_XBZRLE, .pages = 1, .length = 100)
ENCODED(spoilt_frame, .encoding = PF_ENCODING_ZSTD, .pages = 1, .length = 100)
ENCODED(spoilt_block, .encoding = PF_ENCODING_LZ4, .pages = 1, .length = 100)

/* Its sum is right, and then it says nothing that could be applied. */
static void summed_difference(struct peer *peer)
{
    struct pf_encoded_run run = {.encoding = PF_ENCODING_XBZRLE, .pages = 1, .length = 100};
    struct pf_stage_run packed = pf_encoded_to_run(run);
    uint8_t bytes[PF_RUN_BYTES + RIG_PAGE] = {0};
    uint8_t *data = bytes + PF_RUN_BYTES;
    struct pf_wire wire = pf_wire_over(data, PF_ENCODED_SUM_BYTES);
    memset(data + PF_ENCODED_SUM_BYTES, 0x7f, 96);
    pf_put_u32(&wire, pf_encoded_sum(&run, data + PF_ENCODED_SUM_BYTES));
    pf_stage_run_pack(&packed, bytes);
    peer_write(peer, &peer->session.rails[0].bulk, bytes, sizeof bytes,
               peer->stages_at + pf_stage_header_at(1), &peer->stages_key,
               pf_stage_to_imm(good_imm));
}

static void stage_without_credit(struct peer *peer)
{
    struct pf_stage_imm twice = good_imm;
    twice.parts = 2;
    fill(peer, good_run, twice);
    fill(peer, good_run, good_imm); /* another filling of a stage that is half full */
}

static void run_beyond_the_stage(struct peer *peer)
{
    /* 16 pages each, more than the four that fit. */
    struct pf_stage_run run = {.region = 0, .pages = PEER_PAGES, .first = 0};
    fill(peer, run, good_imm);
}

/* ---- trays
 * ------------------------------------------------------------------------------------------- */

static const struct pf_tray_imm good_tray = {.tray = 0, .runs = 1, .generation = 0};

/* A tray's header with one run, and its immediate. */
static void fill_tray(struct peer *peer, struct pf_stage_run run, struct pf_tray_imm imm)
{
    uint8_t bytes[PF_TRAY_VERDICT_BYTES + PF_RUN_BYTES + RIG_PAGE] = {0};
    pf_stage_run_pack(&run, bytes + PF_TRAY_VERDICT_BYTES);
    uint64_t to = peer->trays_at + PF_STAGE_PAGES - pf_tray_header_bytes(1);
    peer_write(peer, &peer->session.urgent, bytes, sizeof bytes, to, &peer->trays_key,
               pf_tray_to_imm(imm));
}

/* The job has asked for a page, and granted all trays with that. */
static void await_grant(struct peer *peer)
{
    while (peer->answers == 0)
        peer_settle(peer, 1);
}

static void tray_not_granted(struct peer *peer)
{
    fill_tray(peer, good_run, good_tray);
}

#define TRAY(name, member_run, member_imm)                                                         \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        struct pf_stage_run run = good_run;                                                        \
        struct pf_tray_imm imm = good_tray;                                                        \
        member_run;                                                                                \
        member_imm;                                                                                \
        await_grant(peer);                                                                         \
        fill_tray(peer, run, imm);                                                                 \
    }

TRAY(tray_there_is_none, (void)run, imm.tray = PF_TRAYS_MAX - 1)
TRAY(tray_of_no_runs, (void)run, imm.runs = 0)
TRAY(tray_of_old_generation, (void)run, imm.generation = UINT16_MAX)
TRAY(neighbour_in_no_region, run.region = 5, (void)imm)
TRAY(neighbour_beyond_the_region, run.first = PEER_PAGES, (void)imm)
TRAY(neighbour_around_the_end, run.first = UINT64_MAX, (void)imm)
TRAY(neighbours_without_pages, run.pages = 0, (void)imm)
TRAY(neighbours_beyond_the_tray, run.pages = PEER_PAGES, (void)imm)

static void tray_filled_twice(struct peer *peer)
{
    await_grant(peer);
    fill_tray(peer, good_run, good_tray);
    fill_tray(peer, good_run, good_tray);
}

static void neighbours_by_message(struct peer *peer)
{
    await_grant(peer);
    answer_of(peer, (struct pf_answer){0, 0, PF_ANSWER_NEIGHBOURS});
}

/* ---- windows --------------------------------------------------------------------------------- */

static void want(struct peer *peer, uint32_t region, uint64_t chunk)
{
    say_fields(peer, PF_MSG_WANT, 1, &region, 1, &chunk);
}

static void wants_a_window_of_no_region(struct peer *peer)
{
    want(peer, 1, 0);
}

static void wants_a_window_beyond(struct peer *peer)
{
    want(peer, 0, 1);
}

static void wants_a_window_far_beyond(struct peer *peer)
{
    want(peer, 0, UINT64_MAX);
}

static void wants_a_window_twice(struct peer *peer)
{
    want(peer, 0, 0);
    want(peer, 0, 0);
}

static void wants_half_a_window(struct peer *peer)
{
    say_fields(peer, PF_MSG_WANT, 1, (const uint32_t[]){0}, 0, NULL);
}

static void wants_a_window_late(struct peer *peer)
{
    peer_say(peer, PF_MSG_CLOSE_WINDOWS, "", 0);
    want(peer, 0, 0);
}

static void closes_windows_twice(struct peer *peer)
{
    peer_say(peer, PF_MSG_CLOSE_WINDOWS, "", 0);
    peer_say(peer, PF_MSG_CLOSE_WINDOWS, "", 0);
}

static void wants_a_window_after_listen(struct peer *peer)
{
    want(peer, 0, 0);
}

/* ---- before the switch
 * ---------------------------------------------------------------------------------- */

static const struct attack before[] = {
    {"garbage", PEER_CONNECTED, garbage, "no pageferry message"},
    {"short", PEER_CONNECTED, short_message, "no pageferry message"},
    {"long length", PEER_HELLO, long_length, "no pageferry message"},
    {"oversized", PEER_CONNECTED, oversized_message, ""},
    {"acknowledges", PEER_HELLO, acknowledges_too_much, "no pageferry message"},
    {"out of turn", PEER_CONNECTED, out_of_turn, "sent run where hello was due"},
    {"wild error", PEER_HELLO, wild_error_code, "malformed error"},
    {"truncated hello", PEER_CONNECTED, truncated_hello, "malformed message (hello)"},
    {"page size", PEER_CONNECTED, other_page_size, "base pages of 65536"},
    {"regions", PEER_CONNECTED, very_many_regions, "no job has that many"},
    {"region id", PEER_HELLO, region_of_wrong_id, "malformed message (region)"},
    {"huge pages", PEER_HELLO, region_of_huge_pages, "has pages of 2 MiB at the source"},
    {"impossible pages", PEER_HELLO, region_of_impossible_pages, "malformed message (region)"},
    {"long name", PEER_HELLO, region_of_long_name, "malformed message (region)"},
    {"escapes", PEER_HELLO, region_with_escapes, "region \"a?[31m?b\" does not exist"},
    {"states", PEER_REGIONS, too_many_states, "malformed message (states)"},
    {"unsent region", PEER_LANES, unsent_in_no_region, "malformed message (unsent)"},
    {"unsent beyond", PEER_LANES, unsent_beyond, "malformed message (unsent)"},
    {"unsent around", PEER_LANES, unsent_around_the_end, "malformed message (unsent)"},
    {"unsent half", PEER_LANES, half_an_unsent_run, "malformed message (unsent)"},
    {"state overlong", PEER_LANES, overlong_state, "malformed message (state)"},
    {"state elsewhere", PEER_LANES, state_elsewhere, "malformed message (state)"},
    {"state twice", PEER_SWITCH, state_twice, "malformed message (state)"},
    {"unsent late", PEER_SWITCH, unsent_beyond, "unsent out of turn"},
    {"listen early", PEER_LANES, listen_too_early, "listen out of turn"},
    {"listen payload", PEER_SWITCH, listen_with_payload, "malformed message (listen)"},
    {"run payload", PEER_LISTENING, run_with_payload, "malformed message (run)"},
    {"hang-up", PEER_SWITCH, hangs_up, "connection broke"},
    {"answer", PEER_LISTENING, answer_nobody_asked_for, "an answer that nobody asked for"},
    {"answer slot", PEER_LISTENING, answer_for_no_slot, "an answer that nobody asked for"},
    {"answer data", PEER_LISTENING, data_nobody_asked_for, "an answer that nobody asked for"},
    {"answer junk", PEER_LISTENING, junk_answer, "an answer that nobody asked for"},
    {"tray early", PEER_LISTENING, tray_not_granted, "an answer that nobody asked for"},
    {"bulk message", PEER_LANES, message_on_the_bulk_lane, "it has no credit for"},
    {"stage number", PEER_LISTENING, stage_there_is_none, "it has no credit for"},
    {"stage parts", PEER_LISTENING, stage_of_no_parts, "it has no credit for"},
    {"stage runs", PEER_LISTENING, stage_of_no_runs, "it has no credit for"},
    {"stage many runs", PEER_LISTENING, stage_of_too_many_runs, "it has no credit for"},
    {"stage generation", PEER_LISTENING, stage_of_old_generation, "it has no credit for"},
    {"stage credit", PEER_LISTENING, stage_without_credit, "it has no credit for"},
    {"run region", PEER_LISTENING, run_in_no_region, "could not be placed"},
    {"run beyond", PEER_LISTENING, run_beyond_the_region, "could not be placed"},
    {"run around", PEER_LISTENING, run_around_the_end, "could not be placed"},
    {"run long", PEER_LISTENING, run_longer_than_the_region, "could not be placed"},
    {"run empty", PEER_LISTENING, run_of_no_pages, "could not be placed"},
    {"part", PEER_LISTENING, part_of_a_small_page, "could not be placed"},
    {"part page", PEER_LISTENING, part_of_no_page, "could not be placed"},
    {"part alone", PEER_LISTENING, part_without_a_page, "could not be placed"},
    {"run stage", PEER_LISTENING, run_beyond_the_stage, "could not be placed"},
};

static void destination_outlives_every_attack(void)
{
    struct rig_run run;
    attack_start_destination(&run);
    for (unsigned i = 0; i < sizeof before / sizeof before[0]; i++)
        attack_strike(&run, &before[i], i + 1, 0);
    attack_finish_well(&run);
}

/* ---- in a round of pre-copy ------------------------------------------------------------------ */

static const struct attack in_a_round[] = {
    {"encoded region", PEER_LANES, encoded_in_no_region, "a stage is spoilt"},
    {"encoded beyond", PEER_LANES, encoded_beyond, "a stage is spoilt"},
    {"encoded around", PEER_LANES, encoded_around, "a stage is spoilt"},
    {"encoded empty", PEER_LANES, encoded_empty, "a stage is spoilt"},
    {"encoded otherwise", PEER_LANES, encoded_otherwise, "a stage is spoilt"},
    {"encoded long", PEER_LANES, encoded_past_the_stage, "a stage is spoilt"},
    {"encoded short", PEER_LANES, encoded_shorter, "a stage is spoilt"},
    {"difference", PEER_LANES, spoilt_difference, "a stage is spoilt"},
    {"difference summed", PEER_LANES, summed_difference, "a stage is spoilt"},
    {"zstd frame", PEER_LANES, spoilt_frame, "a stage is spoilt"},
    {"lz4 block", PEER_LANES, spoilt_block, "a stage is spoilt"},
    {"want region", PEER_LANES, wants_a_window_of_no_region, "wants a window that can't be"},
    {"want beyond", PEER_LANES, wants_a_window_beyond, "wants a window that can't be"},
    {"want far", PEER_LANES, wants_a_window_far_beyond, "wants a window that can't be"},
    {"want twice", PEER_LANES, wants_a_window_twice, "wants a window that can't be"},
    {"want half", PEER_LANES, wants_half_a_window, "malformed message (want)"},
    {"want late", PEER_LANES, wants_a_window_late, "wants a window that can't be"},
    {"close twice", PEER_LANES, closes_windows_twice, "close windows out of turn"},
    {"want listening", PEER_LISTENING, wants_a_window_after_listen, "want where run was due"},
    {"run region", PEER_LANES, run_in_no_region, "a stage is spoilt"},
    {"run beyond", PEER_LANES, run_beyond_the_region, "a stage is spoilt"},
    {"run around", PEER_LANES, run_around_the_end, "a stage is spoilt"},
    {"run long", PEER_LANES, run_longer_than_the_region, "a stage is spoilt"},
    {"run stage", PEER_LANES, run_beyond_the_stage, "a stage is spoilt"},
    {"part beyond", PEER_LANES, part_of_no_page, "a stage is spoilt"},
};

static void destination_outlives_every_round(void)
{
    struct rig_run run;
    attack_start_destination(&run);
    for (unsigned i = 0; i < sizeof in_a_round / sizeof in_a_round[0]; i++)
        attack_strike(&run, &in_a_round[i], i + 1, PF_HELLO_ROUNDS);
    attack_finish_well(&run);
}

/* ---- after the switch
 * ------------------------------------------------------------------------------------- */

static const struct attack after[] = {
    {"out of turn", PEER_RUNNING, out_of_turn, "spoke out of turn (run)"},
    {"answer", PEER_RUNNING, answer_for_no_slot, "an answer that nobody asked for"},
    {"stage", PEER_RUNNING, stage_of_old_generation, "it has no credit for"},
    {"run", PEER_RUNNING, run_beyond_the_region, "could not be placed"},
    {"tray number", PEER_RUNNING, tray_there_is_none, "an answer that nobody asked for"},
    {"tray runs", PEER_RUNNING, tray_of_no_runs, "an answer that nobody asked for"},
    {"tray generation", PEER_RUNNING, tray_of_old_generation, "an answer that nobody asked for"},
    {"tray twice", PEER_RUNNING, tray_filled_twice, "an answer that nobody asked for"},
    {"tray message", PEER_RUNNING, neighbours_by_message, "an answer that nobody asked for"},
    {"tray region", PEER_RUNNING, neighbour_in_no_region, "could not be placed"},
    {"tray beyond", PEER_RUNNING, neighbour_beyond_the_region, "could not be placed"},
    {"tray around", PEER_RUNNING, neighbour_around_the_end, "could not be placed"},
    {"tray empty", PEER_RUNNING, neighbours_without_pages, "could not be placed"},
    {"tray long", PEER_RUNNING, neighbours_beyond_the_tray, "could not be placed"},
    {"hang-up", PEER_RUNNING, hangs_up, "connection broke"},
};

static void running_job_is_ended(void)
{
    for (unsigned i = 0; i < sizeof after / sizeof after[0]; i++)
        attack_running(&after[i], 0);
}

/* ---- at random
 * -----------------------------------------------------------------------------------------------
 */

enum { ITERATIONS = 60 };

static void mutated_conversations(void)
{
    struct rig_run run;
    attack_start_destination(&run);
    for (unsigned seed = 1; seed <= ITERATIONS; seed++) {
        struct peer *peer = peer_new();
        peer->options.peer_timeout_ms = 1000;
        peer->mutation = seed;
        int error = peer_source(peer, rig_said(&run.destination, "uri"), PEER_SWITCH);
        if (!error)
            peer_settle(peer, 2);
        peer_free(peer);
        attack_await_lines(&run.destination, seed);
    }
    attack_finish_well(&run);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"destination_outlives_every_attack", destination_outlives_every_attack},
        {"destination_outlives_every_round", destination_outlives_every_round},
        {"running_job_is_ended", running_job_is_ended},
        {"mutated_conversations", mutated_conversations},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_source", tests, argc > 2 ? argv[2] : NULL);
}
