/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/attack.h"

static const char waits_again[] =
    "pageferry: error: a migration to here failed, waiting for another:";

static const struct grid_play play = {PEER_PAGES, PEER_STEPS, PEER_MOVE_AT, .declared = NULL};

static const char *const options[] = {"stages",          "2",   "slots", "4", "stage-size", "16K",
                                      "prefetch-window", "16K", NULL};

void attack_start_body(struct rig_run *run, rig_body body)
{
    struct rig_side side = {
        .body = body, .ctx = &play, .options = options, .destination = true, .persistent = true};
    memset(run, 0, sizeof *run);
    run->failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", rig_target());
    rig_launch(&run->destination, &side);
    CU_ASSERT_TRUE_FATAL(rig_await(&run->destination, "uri"));
}

void attack_start_destination(struct rig_run *run)
{
    attack_start_body(run, grid_job);
}

/* It has said why a session ended, so many times by now. */
void attack_await_lines(struct rig_process *process, unsigned lines)
{
    CU_ASSERT_TRUE(rig_await_failures(process, lines));
    CU_ASSERT_EQUAL(rig_times_said(process, waits_again), lines);
}

/* After all of it a well-behaved source is taken as if nothing had been. */
void attack_finish_body(struct rig_run *run, rig_body body)
{
    struct rig_side side = {.body = body, .ctx = &play};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&run->destination, "uri"));
    rig_launch(&run->source, &side);
    rig_assert_moved(run, grid_expected(PEER_PAGES, PEER_STEPS));
}

void attack_finish_well(struct rig_run *run)
{
    attack_finish_body(run, grid_job);
}

void attack_strike_as(struct rig_run *run, const struct attack *attack, unsigned number,
                      struct peer *peer)
{
    int error = peer_source(peer, rig_said(&run->destination, "uri"), attack->after);
    if (error)
        fprintf(stderr, "\n%s: %s\n", attack->name, peer->session.why.text);
    CU_ASSERT_EQUAL_FATAL(error, 0);
    attack->strike(peer);
    CU_ASSERT_TRUE(peer_await_end(peer));
    peer_free(peer);
    attack_await_lines(&run->destination, number);
    const char *said = rig_said(&run->destination, waits_again);
    if (!said || !strstr(said, attack->words))
        fprintf(stderr, "\n%s: \"%s\" lacks \"%s\"\n", attack->name, said ? said : "",
                attack->words);
    CU_ASSERT(said && strstr(said, attack->words) && strlen(said) > 10);
}

void attack_strike(struct rig_run *run, const struct attack *attack, unsigned number,
                   uint32_t flags)
{
    struct peer *peer = peer_new();
    peer->flags = flags;
    attack_strike_as(run, attack, number, peer);
}

void attack_running(const struct attack *attack, uint32_t flags)
{
    struct rig_run run;
    attack_start_destination(&run);
    struct peer *peer = peer_new();
    peer->flags = flags;
    CU_ASSERT_EQUAL(peer_source(peer, rig_said(&run.destination, "uri"), attack->after), 0);
    attack->strike(peer);
    CU_ASSERT_TRUE(peer_await_end(peer));
    peer_free(peer);
    rig_finish(&run.destination);
    CU_ASSERT_EQUAL(run.destination.status, FERRY_EXIT_DESTINATION_LOST);
    CU_ASSERT_EQUAL(rig_times_said(&run.destination, "answer"), 0);
    CU_ASSERT(rig_mentions(&run.destination, attack->words));
    rig_explain(&run);
}
