/* SPDX-License-Identifier: BSD-2-Clause */
/* Huge pages for tests: from the pool if some are free, else raised (which takes root). */
#ifndef PF_TESTS_HUGE_H
#define PF_TESTS_HUGE_H

#include <stdbool.h>
#include <stdio.h>

static inline long huge_count(unsigned kib, const char *what)
{
    char path[128];
    long count = -1;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%ukB/%s_hugepages", kib, what);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%ld", &count) != 1)
        count = -1;
    if (file)
        fclose(file);
    return count;
}

static inline long huge_free(unsigned kib)
{
    long count = huge_count(kib, "free");
    return count < 0 ? -1 : count - huge_count(kib, "resv");
}

/* Are so many huge pages of 2 MiB free? Raises the pool where it may; never lowers it. */
static inline bool huge_2m(long wanted)
{
    static const char path[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    long missing = wanted - huge_free(2048);
    if (missing > 0) {
        long all = huge_count(2048, "nr");
        FILE *file = fopen(path, "we");
        if (file) {
            fprintf(file, "%ld\n", all + missing);
            fclose(file);
        }
    }
    return huge_free(2048) >= wanted;
}

#endif
