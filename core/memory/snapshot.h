/* SPDX-License-Identifier: BSD-2-Clause */
/* A copy of memory that others may be writing to: each of its words is one that was there. */
#ifndef PF_CORE_MEMORY_SNAPSHOT_H
#define PF_CORE_MEMORY_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ThreadSanitizer would call memcpy() a race, which it is, and which is meant. */
__attribute__((no_sanitize_thread)) static inline void pf_snapshot(void *to, const void *from,
                                                                   size_t bytes)
{
#ifdef __SANITIZE_THREAD__
    volatile uint64_t *out = to;
    const volatile uint64_t *in = from;
    for (size_t i = 0; i < bytes / sizeof *in; i++)
        out[i] = in[i];
    const volatile char *rest = from;
    for (size_t i = bytes / sizeof *in * sizeof *in; i < bytes; i++)
        ((volatile char *)to)[i] = rest[i];
#else
    memcpy(to, from, bytes);
#endif
}

#endif
