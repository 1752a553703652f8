/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hostile source does to the urgent and the bulk lane, and what it does at any time: for
 * tables of attacks (attack.h), before the switch and after it.
 */
#ifndef PF_TESTS_FUZZ_STRIKES_H
#define PF_TESTS_FUZZ_STRIKES_H

#include "tests/fuzz/peer.h"

void out_of_turn(struct peer *peer);
void hangs_up(struct peer *peer);
void answer_nobody_asked_for(struct peer *peer);
void answer_for_no_slot(struct peer *peer);
void data_nobody_asked_for(struct peer *peer);
void junk_answer(struct peer *peer);
void message_on_the_bulk_lane(struct peer *peer);
void summed_difference(struct peer *peer);
void stage_without_credit(struct peer *peer);
void run_beyond_the_stage(struct peer *peer);
void tray_not_granted(struct peer *peer);
void tray_filled_twice(struct peer *peer);
void neighbours_by_message(struct peer *peer);
void stage_there_is_none(struct peer *peer);
void stage_of_no_parts(struct peer *peer);
void stage_of_no_runs(struct peer *peer);
void stage_of_too_many_runs(struct peer *peer);
void stage_of_old_generation(struct peer *peer);
void run_in_no_region(struct peer *peer);
void run_beyond_the_region(struct peer *peer);
void run_around_the_end(struct peer *peer);
void run_longer_than_the_region(struct peer *peer);
void run_of_no_pages(struct peer *peer);
void part_of_a_small_page(struct peer *peer);
void part_of_no_page(struct peer *peer);
void part_without_a_page(struct peer *peer);
void encoded_in_no_region(struct peer *peer);
void encoded_beyond(struct peer *peer);
void encoded_around(struct peer *peer);
void encoded_empty(struct peer *peer);
void encoded_otherwise(struct peer *peer);
void encoded_past_the_stage(struct peer *peer);
void encoded_shorter(struct peer *peer);
void spoilt_difference(struct peer *peer);
void spoilt_frame(struct peer *peer);
void spoilt_block(struct peer *peer);
void tray_there_is_none(struct peer *peer);
void tray_of_no_runs(struct peer *peer);
void tray_of_old_generation(struct peer *peer);
void neighbour_in_no_region(struct peer *peer);
void neighbour_beyond_the_region(struct peer *peer);
void neighbour_around_the_end(struct peer *peer);
void neighbours_without_pages(struct peer *peer);
void neighbours_beyond_the_tray(struct peer *peer);

#endif
