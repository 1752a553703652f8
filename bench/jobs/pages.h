/* SPDX-License-Identifier: BSD-2-Clause */
/* The options --pages and --shared of the jobs: what their regions are made of. */
#ifndef PF_BENCH_JOBS_PAGES_H
#define PF_BENCH_JOBS_PAGES_H

#include "pageferry.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct pages {
    size_t size;    /* FERRY_PAGE_... */
    unsigned flags; /* FERRY_ANON or FERRY_SHARED */
};

#define PAGES_USAGE "[--pages 4k|2m|1g] [--shared]"

/* False if the word names no page size. */
static inline bool pages_parse(struct pages *pages, const char *word)
{
    static const struct {
        const char *word;
        size_t size;
    } sizes[] = {{"4k", FERRY_PAGE_DEFAULT}, {"2m", FERRY_PAGE_2M}, {"1g", FERRY_PAGE_1G}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcmp(sizes[i].word, word) == 0) {
            pages->size = sizes[i].size;
            return true;
        }
    return false;
}

#endif
