/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_windows URI [TESTNAME]: what a source makes of a destination that lies about windows, or
 * speaks out of turn, while rounds run: one clear line, nobody watches its memory any more, and the
 * job goes on to the right answer.
 */
#include "core/job/job.h"
#include "core/memory/uffd.h"
#include "tests/fuzz/peer.h"

#include <unistd.h>

/* When the destination strikes. */
enum moment {
    OFFERING, /* instead of windows for whole regions, before ARENA */
    SENDING,  /* the source is in its round */
    ASKED,    /* it has asked for the window of the only chunk */
    CLOSING,  /* it got the window, and has closed it */
    CLOSED,   /* and heard that it is closed */
};

struct attack {
    const char *name;
    enum moment at;
    void (*strike)(struct peer *peer);
    const char *words; /* in what the source says */
};

/* ---- the source ------------------------------------------------------------------------------ */

/* Something is left for after the switch: so windows are closed before the pause. */
static int after_a_round(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct rig_side *side = ctx;
    volatile char *page = side->job->regions.list[0].addr;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND)
        return 0;
    page[0] = page[0];
    ferry_job_switch(side->job);
    return 0;
}

static void watch_rounds(struct rig_side *side, struct grid *grid)
{
    (void)grid;
    if (ferry_job_notify(side->job, after_a_round, side) < 0)
        _exit(94);
}

static void say_watched(struct rig_side *side, struct grid *grid)
{
    struct pf_why why = {""};
    struct pf_uffd uffd;
    int error = pf_uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, &why);
    if (!error)
        error = pf_uffd_register_writes(&uffd, (char *)grid->words, PEER_PAGES * RIG_PAGE);
    rig_say(side, "watched %d", error);
    pf_uffd_close(&uffd);
}

static const struct grid_play play = {PEER_PAGES, PEER_STEPS, PEER_MOVE_AT,
                                      .declared = watch_rounds, .stayed = say_watched};

static void start_source(struct rig_run *run, struct peer *peer)
{
    static const char *const hybrid[] = {"mode", "hybrid", NULL};
    struct rig_side side = {.body = grid_job, .ctx = &play, .options = hybrid};
    memset(run, 0, sizeof *run);
    run->failures_before = CU_get_number_of_failures();
    CU_ASSERT_EQUAL_FATAL(peer_listen(peer), 0);
    snprintf(side.uri, sizeof side.uri, "%s", peer->uri);
    rig_launch(&run->source, &side);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* What WINDOW says; nothing of it need be true. */
struct window {
    uint32_t region, kind;
    uint64_t first, pages, address;
    bool keyless, wrong_key, cut, long_winded;
};

static void say_window(struct peer *peer, struct window window)
{
    uint8_t bytes[128];
    uint8_t key[PF_RKEY_BYTES] = {0};
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    if (!window.keyless)
        pf_rkey_pack(peer->mr, peer->session.rails[0].bulk.endpoint, key);
    key[0] ^= window.wrong_key ? 0x55 : 0;
    pf_put_u32(&wire, window.region);
    pf_put_u32(&wire, window.kind);
    pf_put_u64(&wire, window.first);
    pf_put_u64(&wire, window.pages);
    if (window.kind == PF_WINDOW_MSG_OPEN && !window.cut) {
        pf_put_u64(&wire,
                   window.address ? window.address : (uintptr_t)peer->memory + PEER_WINDOW_AT);
        pf_put_bytes(&wire, key, sizeof key);
    }
    if (window.long_winded)
        pf_put_u64(&wire, 0);
    peer_say_wire(peer, PF_MSG_WINDOW, &wire, bytes);
}

#define WINDOW(name, ...)                                                                          \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        say_window(peer, (struct window){__VA_ARGS__});                                            \
    }

WINDOW(good_window, .pages = PEER_PAGES)
WINDOW(window_of_no_region, .region = 1, .pages = PEER_PAGES)
WINDOW(window_of_far_region, .region = UINT32_MAX, .pages = PEER_PAGES)
WINDOW(window_of_a_part, .pages = PEER_PAGES - 1)
WINDOW(window_beyond, .pages = PEER_PAGES + 1)
WINDOW(window_of_all_pages_there_are, .pages = UINT64_MAX)
WINDOW(window_from_the_second_page, .first = 1, .pages = PEER_PAGES - 1)
WINDOW(window_around_the_end, .first = UINT64_MAX, .pages = PEER_PAGES + 1)
WINDOW(window_refused, .kind = PF_WINDOW_MSG_REFUSED, .pages = PEER_PAGES)
WINDOW(window_never, .kind = PF_WINDOW_MSG_NEVER, .pages = PEER_PAGES)
WINDOW(window_of_other_kind, .kind = 3, .pages = PEER_PAGES)
WINDOW(window_without_key, .pages = PEER_PAGES, .keyless = true)
WINDOW(window_with_wrong_key, .pages = PEER_PAGES, .wrong_key = true)
WINDOW(window_elsewhere, .pages = PEER_PAGES, .address = 4096)
WINDOW(window_around_all_memory, .pages = PEER_PAGES, .address = UINT64_MAX - 4095)
WINDOW(window_cut_short, .pages = PEER_PAGES, .cut = true)
WINDOW(window_with_more, .pages = PEER_PAGES, .long_winded = true)

static void window_twice(struct peer *peer)
{
    good_window(peer);
    good_window(peer);
}

static void refused_then_open(struct peer *peer)
{
    window_refused(peer);
    good_window(peer);
}

/* ---- other messages -------------------------------------------------------------------------- */

#define SAYS(name, type)                                                                           \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        peer_say(peer, type, "", 0);                                                               \
    }

SAYS(windows_closed, PF_MSG_WINDOWS_CLOSED)
SAYS(says_listening, PF_MSG_LISTENING)
SAYS(says_running, PF_MSG_RUNNING)
SAYS(says_complete, PF_MSG_COMPLETE)
SAYS(says_want, PF_MSG_WANT)

static void windows_closed_with_payload(struct peer *peer)
{
    peer_say(peer, PF_MSG_WINDOWS_CLOSED, "x", 1);
}

static void asks_for_a_page(struct peer *peer)
{
    uint8_t bytes[PF_REQUEST_BYTES];
    struct pf_page_request fields = {.kind = PF_REQUEST_PAGE};
    pf_request_pack(&fields, bytes);
    peer_send(peer, &peer->session.urgent, bytes, sizeof bytes);
}

static void gives_credit(struct peer *peer)
{
    uint8_t bytes[PF_CREDIT_BYTES];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, PF_PROTOCOL_MAGIC);
    pf_put_u16(&wire, 0);
    pf_put_u16(&wire, 0);
    peer_send(peer, &peer->session.rails[0].bulk, bytes, sizeof bytes);
}

static void hangs_up(struct peer *peer)
{
    pf_shutdown(peer->session.control.endpoint);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static const char cannot_be[] = "offers a window that can't be";

static const struct attack attacks[] = {
    {"whole region", OFFERING, window_of_no_region, cannot_be},
    {"whole far", OFFERING, window_of_far_region, cannot_be},
    {"whole part", OFFERING, window_of_a_part, cannot_be},
    {"whole beyond", OFFERING, window_beyond, cannot_be},
    {"whole endless", OFFERING, window_of_all_pages_there_are, cannot_be},
    {"whole refused", OFFERING, window_refused, cannot_be},
    {"whole kind", OFFERING, window_of_other_kind, cannot_be},
    {"whole twice", OFFERING, window_twice, cannot_be},
    {"whole keyless", OFFERING, window_without_key, "unusable keys"},
    {"whole wrong key", OFFERING, window_with_wrong_key, "the bulk connection broke"},
    {"whole elsewhere", OFFERING, window_elsewhere, "the bulk connection broke"},
    {"whole cut", OFFERING, window_cut_short, "unusable keys"},
    {"whole long", OFFERING, window_with_more, "malformed message (window)"},
    {"closed early", SENDING, windows_closed, "out of turn (windows closed)"},
    {"listening", SENDING, says_listening, "out of turn (listening)"},
    {"running", SENDING, says_running, "out of turn (running)"},
    {"complete", SENDING, says_complete, "out of turn (complete)"},
    {"want", SENDING, says_want, "out of turn (want)"},
    {"request", SENDING, asks_for_a_page, "untimely page request"},
    {"credit", SENDING, gives_credit, "a credit that was not due"},
    {"hang-up", SENDING, hangs_up, "connection broke"},
    {"closed", ASKED, windows_closed, "out of turn (windows closed)"},
    {"region", ASKED, window_of_no_region, cannot_be},
    {"part", ASKED, window_of_a_part, cannot_be},
    {"beyond", ASKED, window_beyond, cannot_be},
    {"endless", ASKED, window_of_all_pages_there_are, cannot_be},
    {"second page", ASKED, window_from_the_second_page, cannot_be},
    {"around", ASKED, window_around_the_end, cannot_be},
    {"never", ASKED, window_never, cannot_be},
    {"kind", ASKED, window_of_other_kind, cannot_be},
    {"twice", ASKED, window_twice, cannot_be},
    {"refused and open", ASKED, refused_then_open, cannot_be},
    {"keyless", ASKED, window_without_key, "unusable keys"},
    {"wrong key", ASKED, window_with_wrong_key, "the bulk connection broke"},
    {"elsewhere", ASKED, window_elsewhere, "the bulk connection broke"},
    {"all memory", ASKED, window_around_all_memory, "the bulk connection broke"},
    {"cut", ASKED, window_cut_short, "unusable keys"},
    {"hang-up asked", ASKED, hangs_up, "connection broke"},
    {"answer late", CLOSING, good_window, "window where windows closed was due"},
    {"refused late", CLOSING, window_refused, "window where windows closed was due"},
    {"closed payload", CLOSING, windows_closed_with_payload, "malformed message (windows closed)"},
    {"listening closing", CLOSING, says_listening, "listening where windows closed was due"},
    {"hang-up closing", CLOSING, hangs_up, "connection broke"},
    /* Whether it waits for the pause still, or for LISTENING already. */
    {"closed twice", CLOSED, windows_closed, "windows closed"},
    {"open again", CLOSED, good_window, "window"},
};

/* As a well-behaved destination up to a moment. */
static int behave(struct peer *peer, enum moment until)
{
    int error = peer_destination(peer, PEER_LANES);
    if (!error && until >= ASKED)
        error = peer_hear_up_to(peer, PF_MSG_WANT);
    if (!error && until >= CLOSING) {
        good_window(peer);
        error = peer_hear_up_to(peer, PF_MSG_CLOSE_WINDOWS);
    }
    if (!error && until >= CLOSED)
        windows_closed(peer);
    return error;
}

static void strike(const struct attack *attack)
{
    struct rig_run run;
    struct peer *peer = peer_new();
    peer->offer = attack->at == OFFERING ? attack->strike : NULL;
    start_source(&run, peer);
    int error = behave(peer, attack->at);
    if (error)
        fprintf(stderr, "\n%s: %s\n", attack->name, peer->session.why.text);
    CU_ASSERT_EQUAL(error, 0);
    if (attack->at != OFFERING)
        attack->strike(peer);
    CU_ASSERT_TRUE(peer_await_end(peer));
    peer_free(peer);
    rig_assert_stayed(&run, grid_expected(PEER_PAGES, PEER_STEPS));
    CU_ASSERT_EQUAL(rig_number(&run.source, "watched"), 0);
    const char *why = rig_said(&run.source, "why");
    if (!why || !strstr(why, attack->words))
        fprintf(stderr, "\n%s: \"%s\" lacks \"%s\"\n", attack->name, why ? why : "", attack->words);
    CU_ASSERT(why && strstr(why, attack->words));
}

static void source_goes_on_after_every_lie(void)
{
    for (unsigned i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
        strike(&attacks[i]);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"source_goes_on_after_every_lie", source_goes_on_after_every_lie},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_windows", tests, argc > 2 ? argv[2] : NULL);
}
