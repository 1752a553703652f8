/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_pulled_source URI [TESTNAME]: what a destination that is to pull the pages makes of a
 * source that tells nonsense about where they are, or doesn't let them be read.
 */
#include "tests/fuzz/attack.h"

#include <stdint.h>

static void unsent_pages(struct peer *peer)
{
    uint8_t bytes[20];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, 0);
    pf_put_u64(&wire, 0);
    pf_put_u64(&wire, PEER_PAGES);
    peer_say(peer, PF_MSG_UNSENT, bytes, sizeof bytes);
}

#define KEYS(name, ...)                                                                            \
    static void name(struct peer *peer)                                                            \
    {                                                                                              \
        static const struct peer_extent list[] = {__VA_ARGS__};                                    \
        peer_say_keys(peer, list, sizeof list / sizeof list[0]);                                   \
    }

KEYS(keys_of_no_region, {.region = 1, .pages = 1})
KEYS(keys_with_a_filled_gap, {.zero = 1, .pages = 1})
KEYS(keys_beyond, {.first = PEER_PAGES, .pages = 1})
KEYS(keys_longer_than_the_region, {.first = 1, .pages = PEER_PAGES})
KEYS(keys_around_the_end, {.first = 1, .pages = UINT64_MAX})
KEYS(keys_of_no_pages, {.first = 1, .pages = 0})
KEYS(keys_that_overlap, {.pages = 4}, {.first = 3, .pages = 4})
KEYS(keys_backwards, {.first = 8, .pages = 4}, {.first = 0, .pages = 4})
KEYS(keys_twice, {.pages = PEER_PAGES}, {.pages = PEER_PAGES})
KEYS(keys_at_an_odd_address, {.pages = PEER_PAGES, .address = 1})
KEYS(keys_around_the_address_space, {.pages = PEER_PAGES, .address = UINT64_MAX - 4095})
KEYS(good_keys, {.pages = PEER_PAGES})
KEYS(some_keys, {.pages = 2}, {.first = 3, .pages = PEER_PAGES - 3})

static void half_an_extent(struct peer *peer)
{
    peer_say(peer, PF_MSG_KEYS, "0123456789", 10);
}

static void keys_of_no_kind(struct peer *peer)
{
    /* All bits set is no key on tcp: the upper half of one is 0. */
    uint8_t bytes[32 + 2 * PF_RKEY_BYTES];
    memset(bytes, 0xff, sizeof bytes);
    memset(bytes, 0, 32);
    bytes[16] = 1;
    peer_say(peer, PF_MSG_KEYS, bytes, sizeof bytes);
}

static void state(struct peer *peer)
{
    uint64_t words[] = {0, PEER_MOVE_AT};
    peer_say(peer, PF_MSG_STATE, words, sizeof words);
}

static void keys_after_state(struct peer *peer)
{
    state(peer);
    good_keys(peer);
}

static void a_page_without_key(struct peer *peer)
{
    unsent_pages(peer);
    some_keys(peer);
    state(peer);
    peer_say(peer, PF_MSG_LISTEN, "", 0);
}

static void say_listen(struct peer *peer)
{
    peer_say(peer, PF_MSG_LISTEN, "", 0);
}

static void no_keys_at_all(struct peer *peer)
{
    unsent_pages(peer);
    state(peer);
    peer_say(peer, PF_MSG_LISTEN, "", 0);
}

static void nothing(struct peer *peer)
{
    (void)peer;
}

/* ---- before the switch -----------------------------------------------------------------------
 */

static const char misplaced[] = "outside of it, out of order or overlapping";

static const struct attack before[] = {
    {"region", PEER_LANES, keys_of_no_region, "keys for region 1"},
    {"gap", PEER_LANES, keys_with_a_filled_gap, "malformed message (keys)"},
    {"beyond", PEER_LANES, keys_beyond, misplaced},
    {"long", PEER_LANES, keys_longer_than_the_region, misplaced},
    {"around", PEER_LANES, keys_around_the_end, misplaced},
    {"empty", PEER_LANES, keys_of_no_pages, misplaced},
    {"overlap", PEER_LANES, keys_that_overlap, misplaced},
    {"backwards", PEER_LANES, keys_backwards, misplaced},
    {"twice", PEER_LANES, keys_twice, misplaced},
    {"address", PEER_LANES, keys_at_an_odd_address, misplaced},
    {"address space", PEER_LANES, keys_around_the_address_space, misplaced},
    {"half", PEER_LANES, half_an_extent, "malformed message (keys)"},
    {"no key", PEER_LANES, keys_of_no_kind, "malformed message (keys)"},
    {"late", PEER_LANES, keys_after_state, "keys out of turn"},
    {"uncovered", PEER_LANES, a_page_without_key, "no key for page 2 of region"},
    /* The key is good, but gives no right to read: seen when the background begins. */
    {"refused", PEER_SWITCH, say_listen, "refused access"},
    {"none", PEER_LANES, no_keys_at_all, "no key for page 0 of region"},
};

static void destination_outlives_every_attack(void)
{
    struct rig_run run;
    attack_start_destination(&run);
    for (unsigned i = 0; i < sizeof before / sizeof before[0]; i++)
        attack_strike(&run, &before[i], i + 1, PF_HELLO_PULL);
    attack_finish_well(&run);
}

static void only_what_was_agreed_is_taken(void)
{
    static const struct attack flags = {"flags", PEER_HELLO, nothing, "not known here (flags 0x81"};
    static const struct attack unasked = {"unasked", PEER_LANES, good_keys, "keys out of turn"};
    struct rig_run run;
    attack_start_destination(&run);
    attack_strike(&run, &flags, 1, PF_HELLO_PULL | 0x80);
    attack_strike(&run, &unasked, 2, 0);
    attack_finish_well(&run);
}

/* ---- after the switch ------------------------------------------------------------------------
 */

static void run_job(struct peer *peer)
{
    peer_say(peer, PF_MSG_RUN, "", 0);
}

/* Without a background it is seen when the job needs a page. */
static void running_job_is_ended(void)
{
    static const struct attack refused = {"refused", PEER_LISTENING, run_job, "refused access"};
    attack_running(&refused, PF_HELLO_PULL | PF_HELLO_NO_BACKGROUND);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"destination_outlives_every_attack", destination_outlives_every_attack},
        {"only_what_was_agreed_is_taken", only_what_was_agreed_is_taken},
        {"running_job_is_ended", running_job_is_ended},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_pulled_source", tests, argc > 2 ? argv[2] : NULL);
}
