/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/strikes.h"

#include "core/encode/encoding.h"

/* ---- at any time ----------------------------------------------------------------------------- */

void out_of_turn(struct peer *peer)
{
    peer_say(peer, PF_MSG_RUN, "", 0);
}

void hangs_up(struct peer *peer)
{
    pf_shutdown(peer->session.control.endpoint);
}

/* ---- the other lanes
 * ------------------------------------------------------------------------------ */

static void answer_of(struct peer *peer, struct pf_answer answer)
{
    uint8_t bytes[PF_ANSWER_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u32(&wire, pf_answer_to_imm(answer));
    peer_send(peer, &peer->session.urgent, bytes, sizeof bytes);
}

void answer_nobody_asked_for(struct peer *peer)
{
    answer_of(peer, (struct pf_answer){0, 0, PF_ANSWER_ZERO});
}

void answer_for_no_slot(struct peer *peer)
{
    answer_of(peer, (struct pf_answer){4095, 0, PF_ANSWER_ZERO});
}

void data_nobody_asked_for(struct peer *peer)
{
    peer_write(peer, &peer->session.urgent, "data", 4, peer->slots_at, &peer->slots_key,
               pf_answer_to_imm((struct pf_answer){1, 0, PF_ANSWER_DATA}));
}

void junk_answer(struct peer *peer)
{
    peer_send(peer, &peer->session.urgent, "junk", 4);
}

void message_on_the_bulk_lane(struct peer *peer)
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
    void name(struct peer *peer)                                                                   \
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
    void name(struct peer *peer)                                                                   \
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
void summed_difference(struct peer *peer)
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

void stage_without_credit(struct peer *peer)
{
    struct pf_stage_imm twice = good_imm;
    twice.parts = 2;
    fill(peer, good_run, twice);
    fill(peer, good_run, good_imm); /* another filling of a stage that is half full */
}

void run_beyond_the_stage(struct peer *peer)
{
    /* 16 pages each, more than the four that fit. */
    struct pf_stage_run run = {.region = 0, .pages = PEER_PAGES, .first = 0};
    fill(peer, run, good_imm);
}

/* ---- trays
 * ---------------------------------------------------------------------------------------- */

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

void tray_not_granted(struct peer *peer)
{
    fill_tray(peer, good_run, good_tray);
}

#define TRAY(name, member_run, member_imm)                                                         \
    void name(struct peer *peer)                                                                   \
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

void tray_filled_twice(struct peer *peer)
{
    await_grant(peer);
    fill_tray(peer, good_run, good_tray);
    fill_tray(peer, good_run, good_tray);
}

void neighbours_by_message(struct peer *peer)
{
    await_grant(peer);
    answer_of(peer, (struct pf_answer){0, 0, PF_ANSWER_NEIGHBOURS});
}
