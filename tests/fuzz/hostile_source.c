/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_source URI [TESTNAME]: what a destination makes of a source that breaks the protocol: one
 * clear line, and it waits for another.
 */
#include "tests/fuzz/attack.h"
#include "tests/fuzz/strikes.h"

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

/* With so many stretches from the first one on that are full; 0: it doesn't say. */
static void region_with(struct peer *peer, uint32_t id, const char *name, uint32_t shift,
                        uint64_t full)
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
    if (full) {
        pf_put_u64(&wire, 0);
        pf_put_u64(&wire, full);
    }
    peer_say(peer, PF_MSG_REGION, bytes, (size_t)(wire.at - bytes));
}

static void region_of(struct peer *peer, uint32_t id, const char *name, uint32_t shift)
{
    region_with(peer, id, name, shift, 0);
}

/* More of it is full than there is. */
static void region_that_overflows(struct peer *peer)
{
    region_with(peer, 0, "grid", PF_PAGE_SHIFT, UINT64_MAX);
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
    {"full stretches", PEER_HELLO, region_that_overflows, "malformed message (region)"},
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
        {"mutated_conversations", mutated_conversations},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_source", tests, argc > 2 ? argv[2] : NULL);
}
