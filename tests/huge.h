/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Huge pages for tests: from the pool if some are free, else it is raised (which takes root), and
 * lowered again by as much when the process exits.
 */
#ifndef PF_TESTS_HUGE_H
#define PF_TESTS_HUGE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static inline void huge_add(long pages)
{
    static const char path[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    long all = huge_count(2048, "nr") + pages;
    FILE *file = fopen(path, "we");
    if (file) {
        fprintf(file, "%ld\n", all > 0 ? all : 0);
        fclose(file);
    }
}

/* What a process has raised the pool by; its children have not. */
struct huge_raised {
    pid_t by;
    long pages;
};

static inline struct huge_raised *huge_raised(void)
{
    static struct huge_raised raised;
    return &raised;
}

/* Pages that are in use go when they are free. */
static inline void huge_put_back(void)
{
    struct huge_raised *raised = huge_raised();
    if (raised->by == getpid())
        huge_add(-raised->pages);
    raised->pages = 0; /* a child has its parent's handler and its own */
}

/* Are so many huge pages of 2 MiB free? Raises the pool where it may. */
static inline bool huge_2m(long wanted)
{
    long before = huge_count(2048, "nr");
    struct huge_raised *raised = huge_raised();
    if (huge_free(2048) < wanted)
        huge_add(wanted - huge_free(2048));
    long more = huge_count(2048, "nr") - before;
    if (more > 0 && raised->by != getpid()) {
        *raised = (struct huge_raised){.by = getpid()};
        atexit(huge_put_back);
    }
    raised->pages += more > 0 ? more : 0;
    return huge_free(2048) >= wanted;
}

#endif
