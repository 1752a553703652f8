/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/progress.h"

/* In the order of the wire: a new one goes to the end. */
#define TOLD(X)                                                                                    \
    X(remaining_bytes)                                                                             \
    X(received_bytes)                                                                              \
    X(faults)                                                                                      \
    X(duplicates)                                                                                  \
    X(given_back_pages)                                                                            \
    X(service_p50_ns)                                                                              \
    X(service_p99_ns)                                                                              \
    X(service_p999_ns)                                                                             \
    X(read_p50_ns)                                                                                 \
    X(request_p50_ns)                                                                              \
    X(answer_p50_ns)                                                                               \
    X(place_p50_ns)

/* Counted at the destination in pull mode, and by the source itself otherwise. */
#define PULLED(X)                                                                                  \
    X(requests)                                                                                    \
    X(elsewhere)                                                                                   \
    X(zero_pages)                                                                                  \
    X(normal_pages)                                                                                \
    X(sent_bytes)

void pf_progress_put(struct pf_wire *payload, const struct pf_counters *counters)
{
#define PUT(name) pf_put_u64(payload, pf_count_get(&counters->name));
    TOLD(PUT)
    PULLED(PUT)
#undef PUT
}

void pf_progress_get(struct pf_wire *payload, struct pf_counters *counters, bool pulled)
{
#define GET(name) pf_count_set(&counters->name, pf_get_u64(payload));
    TOLD(GET)
    if (pulled) {
        PULLED(GET)
    } else {
#define SKIP(name) pf_get_u64(payload);
        PULLED(SKIP)
#undef SKIP
    }
#undef GET
}
