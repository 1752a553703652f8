/* SPDX-License-Identifier: BSD-2-Clause */
/* A job of one region of random words, moved from the peer to the calling process. */
#ifndef PF_BENCH_MOVE_H
#define PF_BENCH_MOVE_H

#include "bench/peer.h"
#include "bench/touch.h"
#include "pageferry.h"

#include <pthread.h>
#include <stdatomic.h>

/* The peer's part: make the job, fill its region, move it, wait until it is gone. */
int pf_move_away(const struct pf_bench *bench, const struct pf_peer_command *command,
                 struct pf_left *left, struct pf_why *why);

/* The CPU time of the calling process up to now, all threads, user and system. */
double pf_cpu_seconds(void);

/* The job at its destination. */
struct pf_moved {
    struct ferry_job *job;
    const char *memory;
    size_t bytes, page_size; /* of the region; of its host pages */
    uint64_t seed;
    uint64_t began_ns; /* when the job ran here */
    /* CPU time of this process: before, and from there until all memory was here. */
    double cpu_before_s, cpu_s;

    /* Waits for the peer's answer; a failure there ends our waiting for the job. */
    struct pf_peer *peer;
    pthread_t watcher;
    bool watching;
    bool prealloc;
    atomic_bool started; /* the job is here, or will not come */
    int peer_status;
    struct pf_why peer_why;
    struct pf_peer_command command;
};

/* Move a job here. On return it runs and its memory is on the way. pf_moved_close() in any case. */
int pf_move_here(struct pf_moved *moved, const struct pf_bench *bench, struct pf_peer *peer,
                 size_t bytes, bool background, struct pf_why *why);

/* How a job is moved, and what it does meanwhile. */
struct pf_move {
    size_t bytes;
    bool background;
    unsigned mode; /* enum pf_mode */
    uint64_t dirty_rate;
    size_t dirty_bytes; /* see struct pf_peer_command */
    /*
     * The region is written to here before: a machine that is virtual itself gives free memory back
     * to its host, and takes very long to have it again.
     */
    bool touched;
    bool prealloc; /* the destination's memory is made before the source is told to begin */
};

/* The same by another mode than post-copy; afterwards peer->left says what it was like there. */
int pf_move_by(struct pf_moved *moved, const struct pf_bench *bench, struct pf_peer *peer,
               const struct pf_move *how, struct pf_why *why);

/* Wait until all memory is here, and check it; *status gets the migration's counters. */
int pf_moved_complete(struct pf_moved *moved, struct ferry_status *status, struct pf_why *why);

void pf_moved_close(struct pf_moved *moved);

/* The first word of a page of 4 KiB, as the source wrote it: never zero. */
uint64_t pf_moved_word(uint64_t seed, size_t page);

static inline size_t pf_moved_pages(const struct pf_moved *moved)
{
    return moved->bytes / moved->page_size;
}

/* Touch a host page by the toucher's clock. False: another word is there than the source wrote. */
static inline bool pf_moved_touch(const struct pf_moved *moved, size_t page, uint64_t *ns)
{
    uint64_t word = pf_touch(moved->memory + page * moved->page_size, ns);
    return word == pf_moved_word(moved->seed, page * (moved->page_size / PF_TOUCH_PAGE));
}

/* A page arrived with another first word: -EIO and the sentence. */
int pf_moved_wrong(size_t page, struct pf_why *why);

#endif
