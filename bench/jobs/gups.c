/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gups: the RandomAccess update of the HPC Challenge suite, movable between batches of updates.
 *
 * A table of 2^n words starts as T[i] = i. Each update takes the next number r of the sequence
 * r <- 2 r over GF(2) modulo x^63 + x^2 + x + 1 and does T[r mod 2^n] ^= r; there are four times
 * as many updates as words in a pass. Running all updates a second time undoes them, since x ^ r ^
 * r = x: every word that is then not its own index is an update that was lost or done twice. (HPC
 * Challenge allows 1 % for races of its parallel version; this one is serial and allows none.)
 */
#include "bench/jobs/kernels.h"
#include "bench/jobs/pages.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 4096 };

/* What travels with the job. */
struct progress {
    unsigned pass;
    uint64_t done; /* updates of this pass */
    uint64_t random;
};

struct gups {
    uint64_t words;
    unsigned passes; /* even */
    uint64_t *table;
    struct progress at;
    struct pages pages;
};

static void update_batch(struct gups *gups)
{
    gups->at.random = gups_update(gups->table, gups->words - 1, gups->at.random, BATCH);
    gups->at.done += BATCH;
}

static uint64_t wrong_words(const struct gups *gups)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < gups->words; i++)
        wrong += gups->table[i] != i;
    return wrong;
}

/* FERRY_MOVED when the job has left in mid-pass. */
static int run_pass(struct gups *gups, struct ferry_job *job)
{
    while (gups->at.done < 4 * gups->words) {
        if (ferry_job_safepoint(job) == FERRY_MOVED)
            return FERRY_MOVED;
        update_batch(gups);
    }
    return FERRY_CONTINUE;
}

static int run(struct gups *gups, struct ferry_job *job)
{
    gups->table = ferry_job_alloc(job, "table", gups->words * sizeof(uint64_t), gups->pages.size,
                                  gups->pages.flags);
    if (!gups->table || ferry_job_state(job, &gups->at, sizeof gups->at) < 0)
        return 1;
    int how = ferry_job_start(job);
    if (how < 0)
        return 1;
    if (how == FERRY_FRESH) {
        for (uint64_t i = 0; i < gups->words; i++)
            gups->table[i] = i;
        gups->at.random = 1;
    }
    while (gups->at.pass < gups->passes) {
        if (run_pass(gups, job) == FERRY_MOVED)
            return 0;
        gups->at = (struct progress){.pass = gups->at.pass + 1, .random = 1};
    }
    uint64_t wrong = wrong_words(gups);
    printf("gups: %" PRIu64 " words, %" PRIu64 " updates, %" PRIu64 " wrong\n", gups->words,
           4 * gups->words * gups->passes, wrong);
    return wrong > 0;
}

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--mib MIB] [--passes N] " PAGES_USAGE
            "   (a power of two; an even number)\n",
            program);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"mib", required_argument, NULL, 'm'},
        {"passes", required_argument, NULL, 'n'},
        {"pages", required_argument, NULL, 'p'},
        {"shared", no_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    uint64_t mib = 64;
    unsigned passes = 2;
    struct pages pages = {FERRY_PAGE_DEFAULT, FERRY_ANON};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'm')
            mib = strtoull(optarg, NULL, 10);
        else if (option == 'n')
            passes = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'S')
            pages.flags = FERRY_SHARED;
        else if (option != 'p' || !pages_parse(&pages, optarg))
            return usage(argv[0]);
    }
    if (mib == 0 || mib & (mib - 1) || passes == 0 || passes % 2 || optind < argc)
        return usage(argv[0]);

    struct gups gups = {.words = (mib << 20) / sizeof(uint64_t), .passes = passes, .pages = pages};
    struct ferry_job *job;
    if (ferry_job_open(&job, NULL) < 0)
        return 1;
    int status = run(&gups, job);
    fflush(stdout);
    return ferry_job_close(job) < 0 ? 1 : status;
}
