/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keeps the fault thread's read of userfaultfd events apart from the placers' UFFDIO_COPY.
 *
 * Reading a REMOVE event lets the job's madvise() go on. A placer that had looked just before and
 * copies just after would put stale bytes into memory that the job was promised zeros in, and there
 * is no way to take them back. So: while a placer is between looking and having copied, no event is
 * read; while events are read and marked, no placer looks. The fault thread has precedence, and a
 * placer is inside for one short copy at a time.
 */
#ifndef PF_CORE_SESSION_GATE_H
#define PF_CORE_SESSION_GATE_H

#include <sched.h>
#include <stdatomic.h>

struct pf_gate {
    atomic_int closed; /* the fault thread is reading, or waits to */
    atomic_int inside; /* placers between look and copy */
};

/*
 * Sequentially consistent on both sides: each stores its own flag and then loads the other's
 * (Dekker), so at least one of them sees the other.
 */
static inline void pf_gate_enter(struct pf_gate *gate)
{
    for (;;) {
        atomic_fetch_add(&gate->inside, 1);
        if (!atomic_load(&gate->closed))
            return;
        atomic_fetch_sub(&gate->inside, 1);
        while (atomic_load(&gate->closed))
            sched_yield();
    }
}

static inline void pf_gate_leave(struct pf_gate *gate)
{
    atomic_fetch_sub(&gate->inside, 1);
}

static inline void pf_gate_close(struct pf_gate *gate)
{
    atomic_store(&gate->closed, 1);
    while (atomic_load(&gate->inside))
        sched_yield();
}

static inline void pf_gate_open(struct pf_gate *gate)
{
    atomic_store(&gate->closed, 0);
}

#endif
