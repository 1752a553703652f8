/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.h and protocol.h: what is packed is unpacked the same, and nothing else is. */
#include "core/session/protocol.h"

#include "tests/suite.h"

/* ---- wire
 * ---------------------------------------------------------------------------------------- */

static void fields_round_trip(void)
{
    uint8_t bytes[64];
    char text[16];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u16(&wire, 0xfedc);
    pf_put_u32(&wire, 0xfedcba98);
    pf_put_u64(&wire, 0xfedcba9876543210);
    pf_put_string(&wire, "ferry");
    CU_ASSERT_FALSE(wire.bad);
    CU_ASSERT_EQUAL(wire.at - bytes, 2 + 4 + 8 + 2 + 5);
    CU_ASSERT_EQUAL(bytes[0], 0xdc); /* little-endian on every machine */
    wire = pf_wire_over(bytes, sizeof bytes);
    CU_ASSERT_EQUAL(pf_get_u16(&wire), 0xfedc);
    CU_ASSERT_EQUAL(pf_get_u32(&wire), 0xfedcba98);
    CU_ASSERT_EQUAL(pf_get_u64(&wire), 0xfedcba9876543210);
    pf_get_string(&wire, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "ferry");
    CU_ASSERT_FALSE(wire.bad);
}

static void the_end_is_never_passed(void)
{
    uint8_t bytes[16];
    memset(bytes, 0xee, sizeof bytes);
    struct pf_wire wire = pf_wire_over(bytes, 5);
    pf_put_u32(&wire, 0);
    pf_put_u16(&wire, 0);
    CU_ASSERT_TRUE(wire.bad);
    pf_put_bytes(&wire, "x", 1); /* would fit, but the message is spoilt */
    CU_ASSERT_EQUAL(bytes[4], 0xee);
    CU_ASSERT_EQUAL(bytes[5], 0xee);
    wire = pf_wire_over(bytes, 3);
    CU_ASSERT_EQUAL(pf_get_u32(&wire), 0);
    CU_ASSERT_TRUE(wire.bad);
    CU_ASSERT_EQUAL(pf_get_u16(&wire), 0);
}

static void strings_are_bounded(void)
{
    uint8_t bytes[32];
    char text[6];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_string(&wire, "sixsix");
    wire = pf_wire_over(bytes, sizeof bytes);
    pf_get_string(&wire, text, sizeof text);
    CU_ASSERT_TRUE(wire.bad);
    CU_ASSERT_STRING_EQUAL(text, "");

    wire = pf_wire_over(bytes, 4); /* shorter than it says */
    pf_get_string(&wire, text, sizeof text);
    CU_ASSERT_TRUE(wire.bad);

    uint8_t with_zero[] = {3, 0, 'a', 0, 'b'};
    wire = pf_wire_over(with_zero, sizeof with_zero);
    pf_get_string(&wire, text, sizeof text);
    CU_ASSERT_TRUE(wire.bad);
}

/* What a peer writes may be printed on a terminal. */
static void strings_print_safely(void)
{
    uint8_t bytes[] = {6, 0, 'a', '\n', 0x1b, '[', 0x7f, 'b'};
    char text[16];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_get_string(&wire, text, sizeof text);
    CU_ASSERT_FALSE(wire.bad);
    CU_ASSERT_STRING_EQUAL(text, "a??[?b");
}

/* ---- protocol
 * -------------------------------------------------------------------------------------- */

static void greeting(void)
{
    const struct pf_greeting said = {PF_PROTOCOL_VERSION + 1, PF_ROLE_BULK, 7, 0x123456789abcdef};
    uint8_t bytes[PF_GREETING_BYTES + 8] = {0};
    struct pf_greeting heard;
    pf_greeting_pack(&said, bytes);
    CU_ASSERT_EQUAL(pf_greeting_unpack(bytes, sizeof bytes, &heard), 0); /* padded */
    CU_ASSERT_EQUAL(heard.version, said.version);
    CU_ASSERT_EQUAL(heard.role, said.role);
    CU_ASSERT_EQUAL(heard.rail, said.rail);
    CU_ASSERT_EQUAL(heard.session, said.session);
    for (size_t i = 0; i < PF_GREETING_BYTES; i++)
        CU_ASSERT_EQUAL(pf_greeting_unpack(bytes, i, &heard), -EPROTO);
    bytes[6] = PF_ROLE_COUNT;
    CU_ASSERT_EQUAL(pf_greeting_unpack(bytes, PF_GREETING_BYTES, &heard), -EPROTO);
    bytes[6] = PF_ROLE_BULK;
    bytes[7] = PF_RAILS_MAX;
    CU_ASSERT_EQUAL(pf_greeting_unpack(bytes, PF_GREETING_BYTES, &heard), -EPROTO);
    bytes[7] = 0;
    bytes[0] ^= 1;
    CU_ASSERT_EQUAL(pf_greeting_unpack(bytes, PF_GREETING_BYTES, &heard), -EPROTO);
}

static int header_of(unsigned type, uint32_t length, size_t arrived, unsigned flipped)
{
    uint8_t bytes[64] = {0};
    struct pf_header header = {(uint16_t)type, length, 99};
    pf_header_pack(&header, bytes);
    if (flipped < PF_HEADER_BYTES)
        bytes[flipped] ^= 1;
    return pf_header_unpack(bytes, arrived, &header);
}

static void header(void)
{
    enum { NONE = PF_HEADER_BYTES };
    CU_ASSERT_EQUAL(header_of(PF_MSG_HELLO, 10, PF_HEADER_BYTES + 10, NONE), 0);
    CU_ASSERT_EQUAL(header_of(PF_MSG_HELLO, 10, PF_HEADER_BYTES + 9, NONE), -EPROTO);
    CU_ASSERT_EQUAL(header_of(PF_MSG_HELLO, 10, PF_HEADER_BYTES + 11, NONE), -EPROTO);
    CU_ASSERT_EQUAL(header_of(PF_MSG_HELLO, UINT32_MAX, PF_HEADER_BYTES - 1, NONE), -EPROTO);
    CU_ASSERT_EQUAL(header_of(0, 0, PF_HEADER_BYTES, NONE), -EPROTO);
    CU_ASSERT_EQUAL(header_of(PF_MSG_TYPE_END, 0, PF_HEADER_BYTES, NONE), -EPROTO);
    CU_ASSERT_EQUAL(header_of(PF_MSG_PING, 0, PF_HEADER_BYTES, 0), -EPROTO); /* magic */
    CU_ASSERT_EQUAL(header_of(PF_MSG_PING, 0, PF_HEADER_BYTES, 6), -EPROTO); /* version */
    for (size_t i = 0; i < PF_HEADER_BYTES; i++)
        CU_ASSERT_EQUAL(header_of(PF_MSG_PING, 0, i, NONE), -EPROTO);
}

static void page_request(void)
{
    const struct pf_page_request said = {PF_REQUEST_PAGE, 4095, 65535, 0, 0xffffffff, 1ull << 43};
    uint8_t bytes[PF_REQUEST_BYTES + 1] = {0};
    struct pf_page_request heard;
    pf_request_pack(&said, bytes);
    CU_ASSERT_EQUAL(pf_request_unpack(bytes, PF_REQUEST_BYTES, &heard), 0);
    CU_ASSERT_EQUAL(heard.kind, said.kind);
    CU_ASSERT_EQUAL(heard.slot, said.slot);
    CU_ASSERT_EQUAL(heard.generation, said.generation);
    CU_ASSERT_EQUAL(heard.extra, said.extra);
    CU_ASSERT_EQUAL(heard.region, said.region);
    CU_ASSERT_EQUAL(heard.page, said.page);
    for (size_t i = 0; i <= sizeof bytes; i++)
        CU_ASSERT_EQUAL(pf_request_unpack(bytes, i, &heard) == 0, i == PF_REQUEST_BYTES);
    /* Kind, slot (13 bits) and the reserved word. */
    static const unsigned refused[] = {0, 1, 3, 12, 13, 14, 15};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        pf_request_pack(&said, bytes);
        bytes[refused[i]] ^= 0x80;
        CU_ASSERT_EQUAL(pf_request_unpack(bytes, PF_REQUEST_BYTES, &heard), -EPROTO);
    }
}

/* An immediate of a tray is none of an answer, and the other way round. */
static void trays(void)
{
    for (unsigned i = 0; i < 4; i++) {
        struct pf_tray_imm said = {
            .tray = i & 1 ? PF_TRAYS_MAX - 1 : 0,
            .runs = i & 2 ? PF_TRAY_RUNS_MAX : 1,
            .generation = i & 1 ? 0 : UINT16_MAX,
        };
        uint32_t imm = pf_tray_to_imm(said);
        struct pf_tray_imm heard = pf_tray_from_imm(imm);
        CU_ASSERT_EQUAL(heard.tray, said.tray);
        CU_ASSERT_EQUAL(heard.runs, said.runs);
        CU_ASSERT_EQUAL(heard.generation, said.generation);
        CU_ASSERT_EQUAL(pf_answer_from_imm(imm).status, PF_ANSWER_NEIGHBOURS);
    }
    CU_ASSERT(pf_tray_header_bytes(PF_TRAY_RUNS_MAX) <= PF_STAGE_PAGES);
}

static void answers(void)
{
    const struct pf_answer said = {4095, 65535, PF_ANSWER_ELSEWHERE};
    struct pf_answer heard = pf_answer_from_imm(pf_answer_to_imm(said));
    CU_ASSERT_EQUAL(heard.slot, said.slot);
    CU_ASSERT_EQUAL(heard.generation, said.generation);
    CU_ASSERT_EQUAL(heard.status, said.status);
}

static void stages(void)
{
    const struct pf_stage_imm said = {63, PF_STAGE_PARTS_MAX, 1023, PF_STAGE_RUNS_MAX};
    struct pf_stage_imm heard = pf_stage_from_imm(pf_stage_to_imm(said));
    CU_ASSERT_EQUAL(heard.stage, said.stage);
    CU_ASSERT_EQUAL(heard.parts, said.parts);
    CU_ASSERT_EQUAL(heard.generation, said.generation);
    CU_ASSERT_EQUAL(heard.runs, said.runs);
    CU_ASSERT(pf_stage_header_at(PF_STAGE_RUNS_MAX) < PF_STAGE_PAGES);

    for (int kind = 0; kind < 4; kind++) {
        const struct pf_stage_run run = {
            .region = 0xffffffff,
            .pages = PF_RUN_PAGES_MAX,
            .first = (1ull << 40) - 1,
            .part = (1u << 24) - 1,
            .in_parts = kind & 1,
            .zero = kind & 2,
        };
        struct pf_stage_run back;
        uint8_t bytes[PF_RUN_BYTES];
        pf_stage_run_pack(&run, bytes);
        pf_stage_run_unpack(bytes, &back);
        CU_ASSERT_EQUAL(back.region, run.region);
        CU_ASSERT_EQUAL(back.pages, run.pages);
        CU_ASSERT_EQUAL(back.first, run.first);
        CU_ASSERT_EQUAL(back.part, run.part);
        CU_ASSERT_EQUAL(back.in_parts, run.in_parts);
        CU_ASSERT_EQUAL(back.zero, run.zero);
    }
}

static void every_message_has_a_name(void)
{
    for (unsigned type = PF_MSG_ACK; type < PF_MSG_TYPE_END; type++)
        CU_ASSERT_STRING_NOT_EQUAL(pf_message_name(type), "unknown");
    CU_ASSERT_STRING_EQUAL(pf_message_name(0), "unknown");
    CU_ASSERT_STRING_EQUAL(pf_message_name(PF_MSG_TYPE_END), "unknown");
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"fields_round_trip", fields_round_trip},
        {"the_end_is_never_passed", the_end_is_never_passed},
        {"strings_are_bounded", strings_are_bounded},
        {"strings_print_safely", strings_print_safely},
        {"greeting", greeting},
        {"header", header},
        {"page_request", page_request},
        {"trays", trays},
        {"answers", answers},
        {"stages", stages},
        {"every_message_has_a_name", every_message_has_a_name},
        {NULL, NULL},
    };
    return pf_suite_run("protocol", tests, argc > 1 ? argv[1] : NULL);
}
