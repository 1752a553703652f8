/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long each thread of the job was blocked by faults during post-copy.
 *
 * A wait begins when the fault thread has read the fault and ends when the page has been placed (or
 * given back), by whichever thread. The kernel's message carries no time: what passed before it was
 * read is not in it. Several threads that wait for one page each count.
 *
 * Everything is of fixed size and without locks: the fault thread begins waits, any engine thread
 * ends them, any thread reads. A thread waits for one page at a time, so each has one entry.
 * Threads beyond the table are counted together in one more row.
 */
#ifndef PF_CORE_ARRIVAL_BLOCKED_H
#define PF_CORE_ARRIVAL_BLOCKED_H

#include "core/histogram.h"
#include "core/memory/pageset.h"

enum {
    PF_BLOCKED_THREADS = 256,
    PF_BLOCKED_OTHERS = PF_BLOCKED_THREADS, /* the row of those beyond */
    PF_BLOCKED_ROWS = PF_BLOCKED_THREADS + 1,
    PF_BLOCKED_STRAYS = 64, /* of those beyond, how many can wait at a time */
    PF_BLOCKED_WAITS = PF_BLOCKED_THREADS + PF_BLOCKED_STRAYS,
    PF_BLOCKED_HASH = 2 * PF_BLOCKED_THREADS,
    PF_BLOCKED_NAME = 16, /* as long as the kernel keeps them, with the closing 0 */
    /* A thread's own histogram is coarse: below 1 us, then a cell for each doubling. */
    PF_BLOCKED_CELLS = 24,
};

struct pf_blocked_row {
    _Atomic uint32_t tid;     /* 0 in the row of the others */
    _Atomic uint64_t name[2]; /* PF_BLOCKED_NAME bytes; 0: not known */
    _Atomic uint64_t faults;
    _Atomic uint64_t total_ns, max_ns;
    _Atomic uint32_t cells[PF_BLOCKED_CELLS];
};

struct pf_blocked_wait {
    _Atomic uint64_t page; /* region << 44 | page + 1; 0: waits for nothing */
    _Atomic uint64_t since_ns;
};

struct pf_blocked {
    struct pf_blocked_row rows[PF_BLOCKED_ROWS];
    _Atomic uint32_t count; /* rows in use, without the others' */
    /* A row's own entry, then those of the others. */
    struct pf_blocked_wait waits[PF_BLOCKED_WAITS];
    _Atomic uint32_t waiting;      /* entries in use */
    atomic_bool strays;            /* an entry of the others was used */
    _Atomic uint32_t turns;        /* orders the beginning of a wait and the placing of its page */
    _Atomic uint64_t all_since_ns; /* when the last known thread that ran was blocked */
    _Atomic uint64_t all_ns;       /* for how long all were blocked at once */
    struct pf_histogram latency;   /* of all waits */
    uint16_t rows_by_tid[PF_BLOCKED_HASH]; /* row + 1; the fault thread's own */
};

/* Forget everything. No thread that counts runs. */
void pf_blocked_reset(struct pf_blocked *blocked);

/*
 * A thread's fault was read at `now`, and its page is still to come. Look afterwards whether the
 * page has come meanwhile, and if so end the wait: whoever placed it may not have seen it. The
 * fault thread only, as the next one.
 */
void pf_blocked_begin(struct pf_blocked *blocked, uint32_t tid, unsigned region, size_t page,
                      uint64_t now);

/* A thread's fault was settled at once, after so long. */
void pf_blocked_settled(struct pf_blocked *blocked, uint32_t tid, uint64_t ns);

/* Pages are there now: end the waits for them. Any thread; costs next to nothing if none waits. */
void pf_blocked_end(struct pf_blocked *blocked, unsigned region, struct pf_run run);

/*
 * Look up the names of threads that have none yet. Reads files below /proc: not for the fault
 * thread. A thread that has ended before stays nameless.
 */
void pf_blocked_find_names(struct pf_blocked *blocked);

/* At most PF_BLOCKED_NAME - 1 bytes of it are kept. */
void pf_blocked_set_name(struct pf_blocked_row *row, const char *name);

/* The shortest wait, in microseconds, that falls in a cell of a row. */
static inline uint64_t pf_blocked_cell_from_us(unsigned cell)
{
    return cell > 0 ? 1ull << (cell - 1) : 0;
}

/* The name of a row; empty if it isn't known. */
void pf_blocked_name(const struct pf_blocked_row *row, char name[PF_BLOCKED_NAME]);

#endif
