/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_rounds URI [TESTNAME]: what a destination makes of a source that lies while rounds run:
 * encoded pages that are not what they say, writes where there is no window, messages out of turn.
 * One clear line, nothing beside the region is touched, and it waits for another.
 */
#include "core/encode/encoding.h"
#include "core/encode/squeeze.h"
#include "tests/fuzz/attack.h"

#include <stdlib.h>
#include <sys/mman.h>

/* ---- the job ------------------------------------------------------------------------- */

enum { GUARD = '#', WHOLE = (PEER_PAGES + 2) * RIG_PAGE };

static size_t spoilt_guards(const char *memory)
{
    size_t spoilt = 0;
    for (size_t i = 0; i < RIG_PAGE; i++)
        spoilt += (memory[i] != GUARD) + (memory[WHOLE - 1 - i] != GUARD);
    return spoilt;
}

/* Until it is over, or the job has left. */
static int compute(struct rig_side *side, struct grid *grid)
{
    for (; grid->step < PEER_STEPS; grid->step++) {
        if (grid->step == PEER_MOVE_AT && !side->destination)
            return rig_move(side, side->uri);
        grid_step(grid);
    }
    return FERRY_CONTINUE;
}

/* As grid_job(), in a region that has the program's own pages on either side. */
static int guarded_job(struct rig_side *side)
{
    char *memory = mmap(NULL, WHOLE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct grid grid = {.words = (uint64_t *)(memory + RIG_PAGE), .pages = PEER_PAGES};
    memset(memory, GUARD, WHOLE);
    rig_open(side);
    if (ferry_job_state(side->job, &grid.step, sizeof grid.step) < 0 ||
        ferry_job_protect(side->job, "grid", grid.words, PEER_PAGES * RIG_PAGE) < 0)
        return 96;
    if (rig_start(side) == FERRY_FRESH)
        grid_fill(&grid);
    if (compute(side, &grid) == FERRY_MOVED)
        return rig_close(side);
    rig_say(side, "answer %llu", (unsigned long long)grid_sum(&grid));
    rig_say(side, "spoilt %zu", spoilt_guards(memory));
    return rig_close(side);
}

/* ---- encoded pages --------------------------------------------------------------------------- */

struct lie {
    struct pf_encoded_run run; /* length 0: as long as the data */
    const void *data;
    size_t bytes;
};

/* One stage with one run, whose sum is right. */
static void tell(struct peer *peer, struct lie lie)
{
    static const struct pf_stage_imm imm = {.stage = 0, .parts = 1, .generation = 0, .runs = 1};
    uint8_t bytes[PF_RUN_BYTES + PF_ENCODED_SUM_BYTES + PEER_STAGE_SIZE] = {0};
    uint8_t *data = bytes + PF_RUN_BYTES + PF_ENCODED_SUM_BYTES;
    struct pf_wire wire = pf_wire_over(bytes + PF_RUN_BYTES, PF_ENCODED_SUM_BYTES);
    if (lie.run.length == 0)
        lie.run.length = (uint32_t)(PF_ENCODED_SUM_BYTES + lie.bytes);
    struct pf_stage_run run = pf_encoded_to_run(lie.run);
    memcpy(data, lie.data, lie.bytes);
    pf_put_u32(&wire, pf_encoded_sum(&lie.run, data));
    pf_stage_run_pack(&run, bytes);
    peer_write(peer, &peer->session.rails[0].bulk, bytes,
               PF_RUN_BYTES + PF_ENCODED_SUM_BYTES + lie.bytes,
               peer->stages_at + pf_stage_header_at(1), &peer->stages_key, pf_stage_to_imm(imm));
}

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

/* A difference: how many pages and which, and the bytes. */
#define DIFFERENCE(name, pages_, first_, ...)                                                      \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        tell(peer,                                                                                 \
             (struct lie){{.encoding = PF_ENCODING_XBZRLE, .pages = pages_, .first = first_},      \
                          BYTES(__VA_ARGS__)});                                                    \
    }

/* A page's difference is its length; pairs of (unchanged, changed) lengths and what is new. */
DIFFERENCE(fewer_differences_than_pages, 2, 0, 3, 0, 1, 'x')
DIFFERENCE(more_differences_than_pages, 1, 0, 3, 0, 1, 'x', 3, 0, 1, 'y')
DIFFERENCE(difference_longer_than_the_run, 1, 0, 9, 0, 1, 'x')
DIFFERENCE(difference_longer_than_a_page, 1, 0, 0x80, 0x20, 0, 1, 'x')
DIFFERENCE(difference_of_overlong_length, 1, 0, 0x83, 0x00, 0, 1, 'x')
DIFFERENCE(difference_past_the_page, 1, 0, 5, 0xff, 0x1f, 2, 'x', 'y')
DIFFERENCE(difference_far_past_the_page, 1, 0, 4, 0xff, 0x7f, 1, 'x')
DIFFERENCE(difference_of_nothing, 1, 0, 2, 5, 0)
DIFFERENCE(difference_cut_off, 1, 0, 3, 0, 5, 'x')
DIFFERENCE(differences_beyond_the_region, 2, PEER_PAGES - 1, 0, 3, 0, 1, 'x')
DIFFERENCE(differences_around_the_end, 1, (1ull << 40) - 1, 3, 0, 1, 'x')
DIFFERENCE(differences_of_all_pages_there_are, PF_ENCODED_PAGES_MAX, 0, 0)
DIFFERENCE(differences_of_no_page, 0, 0, 0)

/* What a compressor makes of some pages, and what is said about it. */
struct squeezed {
    unsigned compress;    /* enum pf_compress */
    unsigned pages;       /* that were compressed */
    unsigned said, first; /* in the run */
    int longer;           /* bytes that are added, or missing */
    unsigned at, spoilt;  /* a byte of it that is another */
};

static void squeeze(struct peer *peer, struct squeezed what)
{
    static char pages[PEER_PAGES * RIG_PAGE];
    static uint8_t out[sizeof pages];
    struct pf_squeezer squeezer = {NULL, NULL, NULL};
    memset(pages, 'z', sizeof pages);
    int length = pf_squeeze(&squeezer, what.compress, 1, pages, what.pages * RIG_PAGE, out);
    pf_squeezer_free(&squeezer);
    CU_ASSERT_FATAL(length > 8 && length < PEER_STAGE_SIZE - 64);
    out[what.at] ^= (uint8_t)what.spoilt;
    tell(peer,
         (struct lie){
             {.encoding = pf_encoding_of(what.compress), .pages = what.said, .first = what.first},
             out,
             (size_t)(length + what.longer)});
}

#define SQUEEZED(name, ...)                                                                        \
    static void name##_by_zstd(struct peer *peer)                                                  \
    {                                                                                              \
        squeeze(peer, (struct squeezed){.compress = PF_COMPRESS_ZSTD, __VA_ARGS__});               \
    }                                                                                              \
    static void name##_by_lz4(struct peer *peer)                                                   \
    {                                                                                              \
        squeeze(peer, (struct squeezed){.compress = PF_COMPRESS_LZ4, __VA_ARGS__});                \
    }

SQUEEZED(fewer_pages, .pages = 1, .said = 2)
SQUEEZED(more_pages, .pages = 4, .said = 1)
SQUEEZED(cut_off, .pages = 4, .said = 4, .longer = -5)
SQUEEZED(and_more, .pages = 4, .said = 4, .longer = 7)
SQUEEZED(beyond, .pages = 4, .said = 4, .first = PEER_PAGES - 3)
SQUEEZED(too_many, .pages = 16, .said = 17)
SQUEEZED(spoilt, .pages = 4, .said = 4, .at = 4, .spoilt = 0xff)

/* Not a frame at all, and as long as a page: compressed pages are shorter. */
static void no_shorter(struct peer *peer)
{
    static const uint8_t noise[RIG_PAGE] = {1, 2, 3};
    tell(peer, (struct lie){{.encoding = PF_ENCODING_LZ4, .pages = 1}, noise, sizeof noise});
}

/* A match that begins before the page does. */
static void block_that_looks_back(struct peer *peer)
{
    tell(peer, (struct lie){
                   {.encoding = PF_ENCODING_LZ4, .pages = 1},
                   BYTES(0x1f, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0x50, 'a', 'a', 'a', 'a', 'a')});
}

/* Zeros are no data; each of these says otherwise, or is not in the region. */
#define ZEROS(name, ...)                                                                           \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        tell(peer, (struct lie){{.encoding = PF_ENCODING_ZEROS, __VA_ARGS__}, "", 0});             \
    }

ZEROS(zeros_with_data, .pages = 1, .length = 64)
ZEROS(zeros_beyond, .pages = PEER_PAGES, .first = 1, .length = 0)

/* ---- plain zeros ----------------------------------------------------------------------------- */

static void fill(struct peer *peer, struct pf_stage_run run)
{
    static const struct pf_stage_imm imm = {.stage = 0, .parts = 1, .generation = 0, .runs = 1};
    uint8_t bytes[PF_RUN_BYTES + RIG_PAGE] = {0};
    pf_stage_run_pack(&run, bytes);
    peer_write(peer, &peer->session.rails[0].bulk, bytes, sizeof bytes,
               peer->stages_at + pf_stage_header_at(1), &peer->stages_key, pf_stage_to_imm(imm));
}

#define RUN(name, ...)                                                                             \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        fill(peer, (struct pf_stage_run){__VA_ARGS__});                                            \
    }

RUN(zero_run_beyond, .pages = PEER_PAGES, .first = 1, .zero = true)
RUN(zero_run_around, .pages = 1, .first = (1ull << 40) - 1, .zero = true)
RUN(zero_run_endless, .pages = PF_RUN_PAGES_MAX, .zero = true)
RUN(zero_run_of_nothing, .pages = 0, .zero = true)
RUN(zero_run_in_no_region, .region = 1, .pages = 1, .zero = true)

/* ---- windows --------------------------------------------------------------------------------- */

static void write_at(struct peer *peer, uint64_t at, size_t bytes)
{
    static const uint8_t data[2 * RIG_PAGE] = {0};
    static const struct pf_stage_imm imm = {.stage = 0, .parts = 2, .generation = 0, .runs = 1};
    peer_write(peer, &peer->session.rails[0].bulk, data, bytes, at, &peer->window_key,
               pf_stage_to_imm(imm));
}

static void writes_before_the_window(struct peer *peer)
{
    write_at(peer, peer->window_at - RIG_PAGE, 2 * RIG_PAGE);
}

static void writes_behind_the_window(struct peer *peer)
{
    write_at(peer, peer->window_at + (PEER_PAGES - 1) * RIG_PAGE, RIG_PAGE + 1);
}

static void writes_around_all_memory(struct peer *peer)
{
    write_at(peer, UINT64_MAX - 7, 64);
}

static void writes_by_a_wrong_key(struct peer *peer)
{
    peer->window_key.key ^= 0x5555;
    write_at(peer, peer->window_at, RIG_PAGE);
}

static void writes_into_a_closed_window(struct peer *peer)
{
    peer_say(peer, PF_MSG_CLOSE_WINDOWS, "", 0);
    CU_ASSERT_EQUAL(peer_hear_up_to(peer, PF_MSG_WINDOWS_CLOSED), 0);
    write_at(peer, peer->window_at, RIG_PAGE);
}

/* ---- out of turn ----------------------------------------------------------------------------- */

#define SAYS(name, type)                                                                           \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        peer_say(peer, type, "", 0);                                                               \
    }

SAYS(listens_early, PF_MSG_LISTEN)
SAYS(runs_early, PF_MSG_RUN)
SAYS(says_bye, PF_MSG_BYE)
SAYS(says_keys, PF_MSG_KEYS)
SAYS(closes_windows, PF_MSG_CLOSE_WINDOWS)
SAYS(says_windows_closed, PF_MSG_WINDOWS_CLOSED)

static void closes_windows_with_payload(struct peer *peer)
{
    peer_say(peer, PF_MSG_CLOSE_WINDOWS, "x", 1);
}

static void hangs_up(struct peer *peer)
{
    pf_shutdown(peer->session.control.endpoint);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

#define SPOILT "a stage is spoilt"
#define BROKE  "the bulk connection broke"

static const struct attack lies[] = {
    {"fewer differences", PEER_LANES, fewer_differences_than_pages, SPOILT},
    {"more differences", PEER_LANES, more_differences_than_pages, SPOILT},
    {"long difference", PEER_LANES, difference_longer_than_the_run, SPOILT},
    {"page long difference", PEER_LANES, difference_longer_than_a_page, SPOILT},
    {"overlong difference", PEER_LANES, difference_of_overlong_length, SPOILT},
    {"difference past", PEER_LANES, difference_past_the_page, SPOILT},
    {"difference far past", PEER_LANES, difference_far_past_the_page, SPOILT},
    {"difference of nothing", PEER_LANES, difference_of_nothing, SPOILT},
    {"difference cut", PEER_LANES, difference_cut_off, SPOILT},
    {"differences beyond", PEER_LANES, differences_beyond_the_region, SPOILT},
    {"differences around", PEER_LANES, differences_around_the_end, SPOILT},
    {"differences endless", PEER_LANES, differences_of_all_pages_there_are, SPOILT},
    {"differences of no page", PEER_LANES, differences_of_no_page, SPOILT},
    {"no shorter", PEER_LANES, no_shorter, SPOILT},
    {"looks back", PEER_LANES, block_that_looks_back, SPOILT},
    {"zeros with data", PEER_LANES, zeros_with_data, SPOILT},
    {"zeros beyond", PEER_LANES, zeros_beyond, SPOILT},
    {"zero run beyond", PEER_LANES, zero_run_beyond, SPOILT},
    {"zero run around", PEER_LANES, zero_run_around, SPOILT},
    {"zero run endless", PEER_LANES, zero_run_endless, SPOILT},
    {"zero run of nothing", PEER_LANES, zero_run_of_nothing, SPOILT},
    {"zero run region", PEER_LANES, zero_run_in_no_region, SPOILT},
    {"write before", PEER_LANES, writes_before_the_window, BROKE},
    {"write behind", PEER_LANES, writes_behind_the_window, BROKE},
    {"write around", PEER_LANES, writes_around_all_memory, BROKE},
    {"write key", PEER_LANES, writes_by_a_wrong_key, BROKE},
    {"write closed", PEER_LANES, writes_into_a_closed_window, BROKE},
    {"listen early", PEER_LANES, listens_early, "listen out of turn"},
    {"run early", PEER_LANES, runs_early, "run out of turn"},
    {"bye", PEER_LANES, says_bye, "bye out of turn"},
    {"keys", PEER_LANES, says_keys, "keys out of turn"},
    {"windows closed", PEER_LANES, says_windows_closed, "windows closed out of turn"},
    {"close payload", PEER_LANES, closes_windows_with_payload, "malformed message (close windows)"},
    {"hang-up", PEER_LANES, hangs_up, "connection broke"},
    {"close after state", PEER_SWITCH, closes_windows, "close windows out of turn"},
    {"close listening", PEER_LISTENING, closes_windows, "close windows where run was due"},
    {"encoded late", PEER_LISTENING, fewer_differences_than_pages, "could not be placed"},
    {"zeros late", PEER_LISTENING, zero_run_beyond, "could not be placed"},
};

static const struct attack squeezed_zstd[] = {
    {"zstd fewer", PEER_LANES, fewer_pages_by_zstd, SPOILT},
    {"zstd more", PEER_LANES, more_pages_by_zstd, SPOILT},
    {"zstd cut", PEER_LANES, cut_off_by_zstd, SPOILT},
    {"zstd longer", PEER_LANES, and_more_by_zstd, SPOILT},
    {"zstd beyond", PEER_LANES, beyond_by_zstd, SPOILT},
    {"zstd too many", PEER_LANES, too_many_by_zstd, SPOILT},
    {"zstd spoilt", PEER_LANES, spoilt_by_zstd, SPOILT},
};

static const struct attack squeezed_lz4[] = {
    {"lz4 fewer", PEER_LANES, fewer_pages_by_lz4, SPOILT},
    {"lz4 more", PEER_LANES, more_pages_by_lz4, SPOILT},
    {"lz4 cut", PEER_LANES, cut_off_by_lz4, SPOILT},
    {"lz4 longer", PEER_LANES, and_more_by_lz4, SPOILT},
    {"lz4 beyond", PEER_LANES, beyond_by_lz4, SPOILT},
    {"lz4 too many", PEER_LANES, too_many_by_lz4, SPOILT},
    {"lz4 spoilt", PEER_LANES, spoilt_by_lz4, SPOILT},
};

static void outlives(const struct attack *attacks, size_t count)
{
    struct rig_run run;
    attack_start_body(&run, guarded_job);
    for (unsigned i = 0; i < count; i++) {
        struct peer *peer = peer_new();
        peer->flags = PF_HELLO_ROUNDS;
        peer->edges = 2;
        attack_strike_as(&run, &attacks[i], i + 1, peer);
    }
    attack_finish_body(&run, guarded_job);
    CU_ASSERT_EQUAL(rig_number(&run.destination, "spoilt"), 0);
}

static void destination_outlives_every_lie(void)
{
    outlives(lies, sizeof lies / sizeof lies[0]);
}

/* Where a compressor was not built in its pages are refused as what they are: unreadable. */
static void destination_outlives_what_is_compressed(void)
{
    unsigned built = pf_squeeze_built();
    if (built & 1u << PF_COMPRESS_ZSTD)
        outlives(squeezed_zstd, sizeof squeezed_zstd / sizeof squeezed_zstd[0]);
    if (built & 1u << PF_COMPRESS_LZ4)
        outlives(squeezed_lz4, sizeof squeezed_lz4 / sizeof squeezed_lz4[0]);
}

/* A job that runs does not get pages of rounds. */
static void running_job_is_ended(void)
{
    static const struct attack after[] = {
        {"encoded", PEER_RUNNING, fewer_differences_than_pages, "could not be placed"},
        {"want", PEER_RUNNING, closes_windows, "spoke out of turn (close windows)"},
    };
    for (unsigned i = 0; i < sizeof after / sizeof after[0]; i++)
        attack_running(&after[i], PF_HELLO_ROUNDS);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"destination_outlives_every_lie", destination_outlives_every_lie},
        {"destination_outlives_what_is_compressed", destination_outlives_what_is_compressed},
        {"running_job_is_ended", running_job_is_ended},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_rounds", tests, argc > 2 ? argv[2] : NULL);
}
