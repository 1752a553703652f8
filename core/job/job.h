/* SPDX-License-Identifier: BSD-2-Clause */
/* The inside of struct ferry_job: what the API fills and the migrations use. */
#ifndef PF_CORE_JOB_JOB_H
#define PF_CORE_JOB_JOB_H

#include "core/arrival/blocked.h"
#include "core/counters.h"
#include "core/debt.h"
#include "core/job/round_log.h"
#include "core/job/state.h"
#include "core/knobs.h"
#include "core/memory/region.h"
#include "core/options.h"
#include "core/runtime_dir.h"
#include "numa/nic.h"
#include "numa/placement.h"
#include "pageferry.h"
#include "transport/uri_list.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PF_NOTIFIERS_MAX = 16 };

/* Where the job is in its life, as `status` shows it. Each has a name in pf_phase_name(). */
enum pf_phase {
    PF_PHASE_SETUP,      /* declaring its memory */
    PF_PHASE_WAITING,    /* destination: nobody has connected yet */
    PF_PHASE_RUNNING,    /* runs here, nothing is being moved */
    PF_PHASE_CONNECTING, /* source: asked to move */
    PF_PHASE_ADVISE,     /* the two sides compare what they have */
    PF_PHASE_PRECOPY,    /* rounds, while the job runs at the source */
    PF_PHASE_DISCARD,    /* paused: page sets and state go over */
    PF_PHASE_LISTENING,  /* the destination is armed */
    PF_PHASE_POSTCOPY,   /* runs at the destination, memory follows */
    PF_PHASE_COMPLETE,   /* source: gone for good */
    PF_PHASE_FAILED,     /* the link broke after the destination may have started */
};

/* Why a safe point looks further; bits. */
enum {
    PF_ATTEND_PAUSE = 1 << 0, /* the job is to stop there */
    PF_ATTEND_PACE = 1 << 1,  /* safe points are counted, and the job may be slowed down there */
};

/* What a safe point is to do. */
enum pf_verdict { PF_VERDICT_NONE, PF_VERDICT_CONTINUE, PF_VERDICT_MOVED };

struct pf_notifier {
    ferry_notify_fn notify;
    void *ctx;
};

/* How the latest migration ended. */
struct pf_outcome {
    unsigned serial; /* counts migrations, so that a watcher sees its own end */
    int error;       /* 0 or -errno */
    int exit_status; /* what a command that waits for it exits with */
    bool ended;
    struct pf_why why; /* of an error */
};

/* What of the latest migration can still be changed; core/job/steer.c says how. */
enum pf_course {
    PF_COURSE_ROUNDS,    /* there are rounds of pre-copy, or will be */
    PF_COURSE_NO_ROUNDS, /* there never were to be any */
    PF_COURSE_SETTLED,   /* they are over: it is decided how the rest goes */
};

/* What the engine chose by itself, in words, for `status`. */
enum pf_note {
    PF_NOTE_TRACKER,     /* how written pages are found */
    PF_NOTE_PINNED,      /* what is registered of the memory, and why not more */
    PF_NOTE_FEWER_BYTES, /* compress and xbzrle, as `--fewer-bytes auto` chose them */
    PF_NOTE_THROTTLED,   /* how the job is slowed down */
    PF_NOTE_COUNT,
};

enum { PF_NOTE_MAX = 160 };

/* One rail, for `status`. */
struct pf_rail_report {
    char uri[PF_URI_MAX]; /* the peer's, or where we listen */
    struct pf_nic_place nic;
    struct pf_placement placement;
    uint64_t bytes; /* page data that it carried */
    bool alive;
};

struct pf_agent;
struct pf_clients;
struct pf_session;

struct ferry_job {
    char name[PF_JOB_NAME_MAX + 1]; /* empty: nobody can ask for it by name */
    struct pf_options options;
    struct pf_regions regions;
    struct pf_state state;
    struct pf_notifier notifiers[PF_NOTIFIERS_MAX];
    unsigned notifier_count;
    unsigned hold; /* the job thread's own: safe points up to the one that waits; 0: none does */
    struct pf_counters counters;
    struct pf_blocked blocked;
    _Atomic uint64_t began_ns; /* when the latest migration did; 0: the source is yet to come */

    char incoming[PF_URI_LIST_MAX]; /* where to listen; empty: the job starts here */
    bool once;                      /* destination: end at the first failed session */
    void (*ready)(void *ctx, const char *uri);
    void *ready_ctx;

    struct pf_pageset *_Atomic marked; /* of each region: what ferry_job_dirty() named */

    atomic_uint attention;              /* what a safe point looks at, and at hold: PF_ATTEND_* */
    _Atomic unsigned safepoint_percent; /* of its time that the job sleeps at its safe points */
    _Atomic uint64_t safepoints;        /* passed while PF_ATTEND_PACE was set */
    struct pf_debt debt;                /* the job thread's own */
    atomic_bool cancel;
    atomic_bool switch_now; /* source: no further round, go to post-copy */
    atomic_int phase;       /* enum pf_phase */
    struct pf_knobs knobs;  /* of the migration that is under way */

    /* Everything below is guarded by the lock; changes are signalled. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started;
    bool destination; /* the latest migration came here */
    bool closing;     /* no further migration may start */
    bool committed;   /* too late to cancel */
    bool refused;     /* the destination has not accepted the job: `before` holds again */
    bool paused;
    bool migrating; /* the session thread runs */
    bool joinable;
    bool arrived; /* destination: run */
    enum pf_course course;
    struct pf_options before; /* source: the options of the time before this migration */
    unsigned peer_squeezes; /* source: what the destination can decompress; all bits: not known yet.
                               Written by the control thread */
    enum pf_verdict verdict;
    pthread_t session_thread;
    struct pf_session *session;               /* to be woken; NULL between migrations */
    int arrival_error;                        /* destination: it won't */
    char uri[PF_URI_LIST_MAX];                /* the peer's, or where we listen */
    struct pf_rail_report rails[PF_URIS_MAX]; /* of the latest migration */
    unsigned rail_count;
    struct pf_outcome outcome;
    struct pf_round_log rounds;             /* of the latest migration */
    char notes[PF_NOTE_COUNT][PF_NOTE_MAX]; /* of the latest migration; empty: nothing to say */
    struct pf_why why;                      /* of the latest failure */
    char why_shown[sizeof(struct pf_why)];  /* what ferry_job_why() gave out */
    struct pf_agent *agent;
    struct pf_clients *clients; /* at a destination that has a name */
};

const char *pf_phase_name(enum pf_phase phase);

static inline void pf_job_set_phase(struct ferry_job *job, enum pf_phase phase)
{
    atomic_store(&job->phase, (int)phase);
}

/* What there is to tell of the rails of the latest migration. The control thread's to call. */
void pf_job_report_rails(struct ferry_job *job, const struct pf_session *session);

/* What there is to tell of a choice; a later word replaces the earlier. Any thread. */
void pf_job_note(struct ferry_job *job, enum pf_note note, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A round of pre-copy has ended: for the log, for who watches, for notifiers. Control thread. */
void pf_job_end_round(struct ferry_job *job, const struct pf_round_record *round);

/* One set of marks for each region; -ENOMEM. Freed when the job is closed. */
int pf_job_make_marks(struct ferry_job *job, struct pf_why *why);
void pf_job_free_marks(struct ferry_job *job);

/* ---- between the job's thread and the session's ---------------------------------------------- */

/* Keep a sentence for ferry_job_why(). Any thread. */
void pf_job_note_failure(struct ferry_job *job, const struct pf_why *why);

/* Ask for the job to stop at its next safe point; the attached session is woken when it has. */
void pf_job_want_pause(struct ferry_job *job);
bool pf_job_paused(struct ferry_job *job);
/* Let it go on for now: it stood still for a moment only. */
void pf_job_unpause(struct ferry_job *job);

/* Count safe points from now on, or no longer; then the job also runs at full speed again. */
void pf_job_pace(struct ferry_job *job, bool on);

/* While they are counted: the job sleeps there for so many percent of its time. Heeded at once. */
void pf_job_slow_down(struct ferry_job *job, unsigned percent);

/* The peer's address, or the one we listen on, for `status`. */
void pf_job_set_uri(struct ferry_job *job, const char *uri);

/* Which session a safe point, a cancel or a status wakes; NULL at its end. */
void pf_job_attach_session(struct ferry_job *job, struct pf_session *session);

/* Ask all notifiers; -errno and a sentence if one objects (to a probe). */
int pf_job_notify(struct ferry_job *job, enum ferry_event event, struct pf_why *why);

/*
 * The last moment at which a migration can be cancelled: -ECANCELED if it was, else it can't be any
 * more. The source's is before RUN; the destination's before it says that it listens, since the
 * source may send RUN at any moment after that.
 */
int pf_job_commit(struct ferry_job *job, struct pf_why *why);

/* The session that committed has failed before the job ran: it can be cancelled again. */
void pf_job_uncommit(struct ferry_job *job);

/* Destination: let ferry_job_start() return with FERRY_ARRIVED. The state has been restored. */
void pf_job_arrive(struct ferry_job *job);

/*
 * A migration has ended: remember how, for `status`, for watchers and for ferry_job_why(); let the
 * job's thread go, on here (CONTINUE) or off (MOVED) from its safe point, or out of
 * ferry_job_start() with the error. The session thread takes no lock of the job after this.
 */
void pf_job_end_migration(struct ferry_job *job, int error, int exit_status,
                          const struct pf_why *why, enum pf_verdict verdict);

/*
 * The link broke when neither side can go on: tell who watches, then end the process with the
 * given status, without running exit handlers or flushing the program's output. Threads that wait
 * for a page are killed where they are: they never see the zeros.
 */
_Noreturn void pf_job_lost(struct ferry_job *job, int error, int exit_status,
                           const struct pf_why *why);

/* The session threads' bodies. */
void *pf_source_thread(void *job);
void *pf_destination_thread(void *job);

#endif
