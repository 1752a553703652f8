/* SPDX-License-Identifier: BSD-2-Clause */
/* What userfaultfd itself costs on this machine, without any network: the floor of the engine. */
#ifndef PF_BENCH_LOCAL_H
#define PF_BENCH_LOCAL_H

#include "bench/samples.h"
#include "core/options.h"

/*
 * Local faults: a thread that does what the engine's fault thread does less the network (reads the
 * fault, places a page that is in a slot already, waits as the options say) serves the calling
 * thread, which touches pages in random order until `most` have been touched or about budget_ns
 * have passed.
 */
int pf_local_faults(const struct pf_options *options, struct pf_samples *samples, size_t most,
                    uint64_t budget_ns, struct pf_why *why);

/*
 * UFFDIO_COPY in 64 KiB runs, from a warm ring as large as the engine's stages into fresh memory,
 * by one thread. GB/s of 10^9 bytes.
 */
int pf_local_copy_rate(const struct pf_options *options, uint64_t budget_ns, double *rate,
                       struct pf_why *why);

#endif
