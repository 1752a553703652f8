/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the job's memory while the job runs: its threads may unmap it, take its rights away or
 * cut off its file at that moment, which would end the process by SIGSEGV or SIGBUS. Inside a
 * guarded read such a fault ends the read instead. All other faults go on to the handler that was
 * there before, as if nobody had looked at them: jobs have handlers of their own.
 */
#ifndef PF_CORE_MEMORY_GUARDED_H
#define PF_CORE_MEMORY_GUARDED_H

#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Take the process's SIGSEGV and SIGBUS, for the first who asks, and give them back when the last
 * has ended. If somebody has put a handler of his own over ours meanwhile, that one stays, and
 * ours beneath it. -errno and a sentence. Any thread.
 */
int pf_guarded_begin(struct pf_why *why);
void pf_guarded_end(void);

/*
 * Call read(ctx), which reads `bytes` at addr. 0, or -EFAULT: a part of it is not there, and read()
 * was left where it was: it must not hold a lock or memory while it reads. The thread lets SIGSEGV
 * and SIGBUS through from its first guarded read on: blocked, they would end the process. Costs
 * some 30 ns. Without pf_guarded_begin() it is a plain call.
 */
int pf_guarded(const void *addr, size_t bytes, void (*read)(void *ctx), void *ctx);

/* Copy, as pf_snapshot() does. 0 or -EFAULT. */
int pf_guarded_copy(void *to, const void *from, size_t bytes);

/* As pf_same_kind(); 0: a part of it is not there. */
size_t pf_guarded_same_kind(const char *first, size_t page_size, size_t pages, bool *zero);

#endif
