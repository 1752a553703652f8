/* SPDX-License-Identifier: BSD-2-Clause */
/* What a migration counts. Written by engine threads, read by any; relaxed, for people to look at.
 */
#ifndef PF_CORE_COUNTERS_H
#define PF_CORE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* One list gives the fields and their keys in JSON; core/session/progress.c says which are told the
 * source.
 */
#define PF_COUNTERS(X)                                                                             \
    X(total_bytes)                                                                                 \
    X(remaining_bytes)                                                                             \
    X(sent_bytes)                                                                                  \
    X(received_bytes)                                                                              \
    X(faults)                                                                                      \
    X(requests)                                                                                    \
    X(duplicates)                                                                                  \
    X(zero_pages)                                                                                  \
    X(normal_pages)                                                                                \
    X(elsewhere)                                                                                   \
    X(given_back_pages)                                                                            \
    X(prefetched_pages)                                                                            \
    X(prefetch_useful_pages)                                                                       \
    X(prefetch_useless_pages)                                                                      \
    X(service_p50_ns)                                                                              \
    X(service_p99_ns)                                                                              \
    X(service_p999_ns)                                                                             \
    X(read_p50_ns)                                                                                 \
    X(request_p50_ns)                                                                              \
    X(answer_p50_ns)                                                                               \
    X(place_p50_ns)                                                                                \
    X(round)                                                                                       \
    X(precopy_bytes)                                                                               \
    X(dirty_bytes_per_s)                                                                           \
    X(bandwidth_bytes_per_s)                                                                       \
    X(expected_downtime_us)                                                                        \
    X(eta_ms)                                                                                      \
    X(throttle_percent)                                                                            \
    X(discard_us)                                                                                  \
    X(saved_bytes)                                                                                 \
    X(xbzrle_pages)                                                                                \
    X(xbzrle_bytes)                                                                                \
    X(xbzrle_misses)                                                                               \
    X(xbzrle_miss_percent)                                                                         \
    X(xbzrle_overflows)                                                                            \
    X(compressed_pages)                                                                            \
    X(compressed_bytes)                                                                            \
    X(made_bytes)                                                                                  \
    X(released_bytes)                                                                              \
    X(downtime_us)                                                                                 \
    X(pause_us)                                                                                    \
    X(scan_us)                                                                                     \
    X(rest_us)                                                                                     \
    X(listen_us)                                                                                   \
    X(state_us)                                                                                    \
    X(resume_us)                                                                                   \
    X(total_us)

struct pf_counters {
#define PF_COUNTER_FIELD(name) _Atomic uint64_t name;
    PF_COUNTERS(PF_COUNTER_FIELD)
#undef PF_COUNTER_FIELD
};

static inline void pf_counters_reset(struct pf_counters *counters)
{
#define PF_COUNTER_RESET(name) atomic_store_explicit(&counters->name, 0, memory_order_relaxed);
    PF_COUNTERS(PF_COUNTER_RESET)
#undef PF_COUNTER_RESET
}

static inline void pf_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static inline void pf_count_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t pf_count_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
