/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source's side of a migration: what its files share. source_connect.c makes the connections,
 * source.c does the rest in order.
 */
#ifndef PF_CORE_SOURCE_SOURCE_H
#define PF_CORE_SOURCE_SOURCE_H

#include "core/arrival/landing.h"
#include "core/encode/encoder.h"
#include "core/job/job.h"
#include "core/send/mover.h"
#include "core/send/responder.h"
#include "core/send/source_keys.h"
#include "core/send/source_memory.h"
#include "core/session/attendant.h"
#include "core/session/session.h"
#include "core/source/release.h"
#include "core/source/rounds.h"
#include "core/source/weighing.h"

struct pf_source {
    struct ferry_job *job;
    struct pf_session session;
    struct pf_source_memory memory;
    struct pf_landing *landings; /* the destination's word: one for each region */
    struct pf_rounds rounds;
    struct pf_encoder encoder; /* open where there are rounds */
    struct pf_weighing weighing;
    struct pf_release release;
    struct pf_responder responder;
    struct pf_mover movers[PF_RAILS_MAX]; /* one for each rail */
    struct pf_source_keys keys;           /* pull mode: instead of these */
    struct pf_attendant attendants[1 + PF_RAILS_MAX];
    /* The destination's word: it is its memory. */
    unsigned stages, rails_accepted, trays;
    uint64_t stage_size, tray_size;
    uint64_t populated; /* bytes of the regions that have content, about: what may be pinned */
    uint64_t began_ns;
    uint64_t asked_ns, paused_ns; /* when the job was to stand still, and did; 0: not yet */
    bool run_sent;                /* from here on the job never goes on at this side */
    bool complete;                /* the destination has all of it */
};

/* Open the device and connect the control lane. */
int pf_source_connect(struct pf_source *source);

/* After ACCEPTED: connect the urgent lane and the rails. */
int pf_source_open_lanes(struct pf_source *source);

/* After the switch: tell the destination of rails that have broken. */
int pf_source_attend_rails(struct pf_source *source);

/* The destination's word on a broken rail: what of it was not placed is the others' to send. */
int pf_source_settle_rail(struct pf_source *source, struct pf_message *message);

/* Take the destination's word where slots and stages are. */
int pf_source_take_aim(struct pf_source *source);

/* ---- the switch, step by step (source_switch.c) ---------------------------------------------- */

/* Prepare for sending, with nothing unsent yet: before the first round, or after the pause. */
int pf_source_open_memory(struct pf_source *source);

/*
 * What is registered from here on where that pins: enum pf_pin. -ENOMEM and a sentence: the memlock
 * limit; with PF_PIN_AUTO nothing is then.
 */
int pf_source_pin(struct pf_source *source, unsigned pin);

/* The engine's threads take the urgent lane and the rails over; pages leave in rounds only. */
int pf_source_start_threads(struct pf_source *source);

/* Ask for the job to stand at a safe point; does it? Wait until it does; let it run again. */
void pf_source_ask_pause(struct pf_source *source);
bool pf_source_paused(struct pf_source *source);
int pf_source_pause(struct pf_source *source);
void pf_source_unpause(struct pf_source *source);

/* The job stands: find what is to follow it. */
int pf_source_scan(struct pf_source *source);

int pf_source_tell_unsent(struct pf_source *source);
int pf_source_tell_keys(struct pf_source *source);
int pf_source_tell_state(struct pf_source *source);
int pf_source_listen_and_run(struct pf_source *source);

#endif
