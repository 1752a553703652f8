/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's side of a migration: what its files share. destination_accept.c takes
 * connections, destination_compare.c compares the two jobs, destination_pull.c is what differs
 * when pages are pulled, destination_report.c tells how it goes, destination.c does the rest in
 * order.
 */
#ifndef PF_CORE_DESTINATION_DESTINATION_H
#define PF_CORE_DESTINATION_DESTINATION_H

#include "core/arrival/faults.h"
#include "core/arrival/offer.h"
#include "core/arrival/placer.h"
#include "core/arrival/populator.h"
#include "core/arrival/puller.h"
#include "core/job/job.h"
#include "core/memory/memory_locks.h"
#include "core/session/session.h"

struct pf_destination;

/* What a rail is listened on with. */
struct pf_door {
    struct pf_destination *destination;
    unsigned rail;
    struct pf_listener *listener;
};

struct pf_destination {
    struct ferry_job *job;

    /* These outlive a session that fails before the job runs, so that another source can come. */
    struct pf_session session; /* its device and control lane do, the rest is renewed */
    struct pf_door doors[PF_RAILS_MAX];
    struct pf_request *waiting; /* a source that came while a failed session was ending */
    struct pf_greeting waiting_greeting;

    /* One session's. */
    struct pf_arrival arrival;
    struct pf_fault_thread faults;
    struct pf_placer placers[PF_RAILS_MAX]; /* one for each rail */
    struct pf_squeeze_pool pool;            /* theirs */
    struct pf_fetch fetch;                  /* pull mode: instead of them */
    struct pf_puller pullers[PF_RAILS_MAX];
    struct pf_offers offers; /* pre-copy: where the source may write */
    struct pf_populator populator;
    bool rounds; /* there is pre-copy */
    struct pf_memory_locks locks;
    bool greeted;            /* a source has the control connection */
    bool ending;             /* the session has failed: the next source may wait */
    bool background;         /* pull mode: not only pages that are needed */
    bool lanes_ready;        /* slots and stages are there: urgent and bulk may connect */
    bool tells_received;     /* the source wants to know what it can give up */
    struct pf_pageset *told; /* of each region, the chunks it knows of; NULL: none yet */
    bool ran;                /* the job runs here: failure is loss from here on */
    uint32_t regions_expected, pieces_expected;
    uint64_t bytes_expected;
    uint8_t *blob;
    size_t blob_filled;
    uint64_t began_ns, told_ns;
};

/* Listen at the job's address; connections are taken from pf_session_step(). */
int pf_destination_listen(struct pf_destination *destination);

/* Take the source that came while the last session was ending, if one did. */
void pf_destination_take_waiting(struct pf_destination *destination);

/* Refuse new sources from here on. */
void pf_destination_stop_listening(struct pf_destination *destination);

/*
 * Compare what the source describes with the job here, and ask the notifiers. A difference is an
 * error with a sentence that names it.
 */
int pf_destination_compare(struct pf_destination *destination);

/* ---- the switch, step by step (destination_switch.c) ----------------------------------------- */

/* While nobody has come yet: make the memory of all regions, if that is wanted. */
int pf_destination_prealloc(struct pf_destination *destination);

/*
 * When the two jobs match and landings are open: empty the regions, if pages are to come before the
 * switch, and begin to make memory for them.
 */
int pf_destination_empty(struct pf_destination *destination);

/* Make ready for pre-copy, if there is to be some: before ARENA. */
int pf_destination_open_rounds(struct pf_destination *destination);

/* What comes before LISTEN: wants of windows, unsent runs, keys, state. */
int pf_destination_take_switch(struct pf_destination *destination);

/* Empty what is missing, arm it, and say so. */
int pf_destination_start_listen(struct pf_destination *destination);

/* Wait for RUN and let the job go. */
int pf_destination_run_job(struct pf_destination *destination);

/* ---- telling --------------------------------------------------------------------------------- */

/* Tell the source how it goes; and at the end, that nothing is missing and who waited how long. */
int pf_destination_tell_progress(struct pf_destination *destination);
int pf_destination_tell_complete(struct pf_destination *destination);
/* Forget what has been told; before the arrival is closed. */
void pf_destination_close_told(struct pf_destination *destination);

/* ---- pull mode ------------------------------------------------------------------------------- */

/* After the switch: see to rails that have broken. */
int pf_destination_attend_rails(struct pf_destination *destination);

/* Instead of the placers: tables and pullers. */
int pf_destination_open_pull(struct pf_destination *destination);

/* One KEYS message. */
int pf_destination_take_keys(struct pf_destination *destination, struct pf_message *message);

/* All keys have come. Before any thread starts. */
int pf_destination_ready_pull(struct pf_destination *destination);

int pf_destination_start_pull(struct pf_destination *destination);
void pf_destination_stop_pull(struct pf_destination *destination);
/* After hanging up. Harmless if it was not opened. */
void pf_destination_close_pull(struct pf_destination *destination);

#endif
