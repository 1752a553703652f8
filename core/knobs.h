/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options that can be changed while a migration runs (`pageferry set`). Filled from the options
 * when one begins; engine threads read them here, where a change is seen at once.
 */
#ifndef PF_CORE_KNOBS_H
#define PF_CORE_KNOBS_H

#include "core/options.h"

#include <stdatomic.h>

/* Of struct pf_options, by the same names. */
#define PF_KNOBS(X)                                                                                \
    X(mode)                                                                                        \
    X(downtime)                                                                                    \
    X(bandwidth)                                                                                   \
    X(max_rounds)                                                                                  \
    X(pin)                                                                                         \
    X(fewer_bytes)                                                                                 \
    X(compress)                                                                                    \
    X(compress_level)                                                                              \
    X(compress_threads)                                                                            \
    X(xbzrle)                                                                                      \
    X(xbzrle_cache)                                                                                \
    X(throttle)                                                                                    \
    X(throttle_initial)                                                                            \
    X(throttle_step)                                                                               \
    X(throttle_max)

struct pf_knobs {
#define PF_KNOB_FIELD(name) _Atomic uint64_t name;
    PF_KNOBS(PF_KNOB_FIELD)
#undef PF_KNOB_FIELD
};

static inline void pf_knobs_fill(struct pf_knobs *knobs, const struct pf_options *options)
{
#define PF_KNOB_FILL(name) atomic_store_explicit(&knobs->name, options->name, memory_order_relaxed);
    PF_KNOBS(PF_KNOB_FILL)
#undef PF_KNOB_FILL
}

static inline uint64_t pf_knob(const _Atomic uint64_t *knob)
{
    return atomic_load_explicit(knob, memory_order_relaxed);
}

/* Whether the option at index can be changed while a migration runs. */
bool pf_knob_is(unsigned option);

/* The names of those that can, with commas between them. */
void pf_knob_names(char *out, size_t size);

#endif
