/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heat: a 2-D Jacobi stencil that can be moved at any time step.
 *
 * A plate is hot along its upper edge; each step makes every inner point the mean of its four
 * neighbours. Two grids take turns. The checksum at the end depends on every bit of the result, so
 * a moved run that prints another one has lost or mixed up memory.
 */
#include "bench/jobs/kernels.h"
#include "bench/jobs/pages.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct heat {
    size_t side; /* points in a row, and rows */
    long steps;
    long step; /* travels with the job */
    struct pages pages;
    double *grids[2];
};

static void initialise(struct heat *heat)
{
    size_t n = heat->side;
    for (int g = 0; g < 2; g++) {
#pragma omp parallel for schedule(static)
        for (size_t row = 0; row < n; row++)
            for (size_t column = 0; column < n; column++)
                heat->grids[g][row * n + column] =
                    row == 0 ? 100.0 : 1.0 / (1.0 + (double)((row * 31 + column * 17) % 97));
    }
}

static void relax(const struct heat *heat)
{
    size_t n = heat->side;
    const double *from = heat->grids[heat->step % 2];
    double *to = heat->grids[(heat->step + 1) % 2];
#pragma omp parallel for schedule(static)
    for (size_t row = 1; row < n - 1; row++)
        heat_relax_row(from + row * n, to + row * n, n);
}

/* The same in whatever order it is summed. */
static uint64_t checksum(const struct heat *heat)
{
    size_t points = heat->side * heat->side;
    const double *grid = heat->grids[heat->step % 2];
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (size_t i = 0; i < points; i++) {
        uint64_t bits;
        memcpy(&bits, &grid[i], sizeof bits);
        sum += (bits ^ i) * 0x9e3779b97f4a7c15u;
    }
    return sum;
}

static int run(struct heat *heat, struct ferry_job *job)
{
    size_t bytes = heat->side * heat->side * sizeof(double);
    heat->grids[0] = ferry_job_alloc(job, "even", bytes, heat->pages.size, heat->pages.flags);
    heat->grids[1] = ferry_job_alloc(job, "odd", bytes, heat->pages.size, heat->pages.flags);
    if (!heat->grids[0] || !heat->grids[1] ||
        ferry_job_state(job, &heat->step, sizeof heat->step) < 0)
        return 1;

    int how = ferry_job_start(job);
    if (how < 0)
        return 1;
    if (how == FERRY_FRESH)
        initialise(heat);
    for (; heat->step < heat->steps; heat->step++) {
        if (ferry_job_safepoint(job) == FERRY_MOVED)
            return 0;
        relax(heat);
    }
    printf("heat: %zu x %zu points, %ld steps, checksum %016llx\n", heat->side, heat->side,
           heat->steps, (unsigned long long)checksum(heat));
    return 0;
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--mib MIB] [--steps STEPS] " PAGES_USAGE "\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"mib", required_argument, NULL, 'm'},
        {"steps", required_argument, NULL, 's'},
        {"pages", required_argument, NULL, 'p'},
        {"shared", no_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    size_t mib = 64;
    struct heat heat = {.steps = 100};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'm')
            mib = strtoul(optarg, NULL, 10);
        else if (option == 's')
            heat.steps = strtol(optarg, NULL, 10);
        else if (option == 'S')
            heat.pages.flags = FERRY_SHARED;
        else if (option != 'p' || !pages_parse(&heat.pages, optarg))
            return usage(argv[0]);
    }
    if (mib == 0 || heat.steps < 0 || optind < argc)
        return usage(argv[0]);
    /* Two grids of doubles in all that memory. */
    while ((heat.side + 1) * (heat.side + 1) * 2 * sizeof(double) <= mib << 20)
        heat.side++;

    struct ferry_job *job;
    if (ferry_job_open(&job, NULL) < 0)
        return 1;
    int status = run(&heat, job);
    /* Out before close: what was printed is the job's answer, however the goodbye goes. */
    fflush(stdout);
    return ferry_job_close(job) < 0 ? 1 : status;
}
