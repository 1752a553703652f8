/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hostile_running URI [TESTNAME]: what a destination makes of a source that breaks the protocol
 * once the job runs there: it ends with one clear line and a status of its own, and prints no
 * answer.
 */
#include "tests/fuzz/attack.h"
#include "tests/fuzz/strikes.h"

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

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"running_job_is_ended", running_job_is_ended},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1]))
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    return pf_suite_run("hostile_running", tests, argc > 2 ? argv[2] : NULL);
}
