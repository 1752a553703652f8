/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/human.h"

#include <inttypes.h>
#include <stdio.h>

static void scaled(double value, double base, const char *const *units, unsigned count, char *out,
                   size_t size)
{
    unsigned unit = 0;
    /* 999.95 would be written as 1000.0. */
    while (unit + 1 < count && value >= base - 0.05) {
        value /= base;
        unit++;
    }
    snprintf(out, size, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void pf_human_bytes(int64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    scaled((double)bytes, 1024, units, 6, out, size);
}

void pf_human_rate(int64_t bytes_per_second, char *out, size_t size)
{
    static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
    scaled((double)bytes_per_second, 1000, units, 5, out, size);
}

void pf_human_time(int64_t us, char *out, size_t size)
{
    static const char *const units[] = {"us", "ms", "s"};
    int64_t seconds = us / 1000000;
    if (seconds < 100)
        scaled((double)us, 1000, units, 3, out, size);
    else if (seconds < 6000)
        snprintf(out, size, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    else
        snprintf(out, size, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds / 60 % 60);
}
