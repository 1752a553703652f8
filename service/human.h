/* SPDX-License-Identifier: BSD-2-Clause */
/* Quantities as a person reads them. */
#ifndef PF_SERVICE_HUMAN_H
#define PF_SERVICE_HUMAN_H

#include <stddef.h>
#include <stdint.h>

/* Powers of 1024: "512 B", "3.4 MiB". */
void pf_human_bytes(int64_t bytes, char *out, size_t size);

/* Powers of 1000, as link speeds are given: "1.2 GB/s". */
void pf_human_rate(int64_t bytes_per_second, char *out, size_t size);

/* "17 us", "3.1 ms", "12.5 s", "3 min 20 s". */
void pf_human_time(int64_t us, char *out, size_t size);

#endif
