/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cg: the preconditioned conjugate gradient on HPCG's problem, movable at any iteration.
 *
 * Each point of an nx x ny x nz grid is a row of a sparse matrix: 26 on the diagonal and -1 for
 * each of its up to 26 neighbours; the right side is such that the solution is 1 everywhere. The
 * preconditioner is HPCG's symmetric Gauss-Seidel sweep, here of one level and in the order of
 * eight colours: points of one colour (equal parity of x, y and z) are never neighbours, so that
 * threads can share a colour. Sums are made over blocks of fixed length, in order. So the answer
 * has the same bits with any number of threads, and a moved run that prints other ones has lost or
 * mixed up memory.
 */
#include "bench/jobs/pages.h"

#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEIGHBOURS = 27, COLOURS = 8, BLOCK = 4096, SIDE_MAX = 1024, ITERATIONS_MAX = 1000000 };

struct grid {
    long nx, ny, nz;
};

/* What travels with the job besides the regions. */
struct progress {
    long iteration; /* done */
    double rtz;     /* of the last iteration: r * z */
};

struct cg {
    struct grid grid;
    struct pages pages; /* of what is not the program's own memory */
    size_t rows;
    long iterations;
    struct progress at;
    double *history; /* |r| before the first iteration and after each */
    double *partial; /* one sum a block */
    /* The matrix by compressed rows. */
    double *values;
    int32_t *columns;
    int64_t *starts; /* rows + 1 */
    double *b, *x, *r, *z, *p, *ap;
};

/* ---- the problem ----------------------------------------------------------------------------- */

static size_t row_of(const struct grid *grid, long x, long y, long z)
{
    return ((size_t)z * (size_t)grid->ny + (size_t)y) * (size_t)grid->nx + (size_t)x;
}

static bool inside(const struct grid *grid, long x, long y, long z)
{
    return x >= 0 && x < grid->nx && y >= 0 && y < grid->ny && z >= 0 && z < grid->nz;
}

/* Append the row of one point. Returns where the next row starts. */
static int64_t build_row(struct cg *cg, long x, long y, long z, int64_t at)
{
    const struct grid *grid = &cg->grid;
    size_t row = row_of(grid, x, y, z);
    int64_t first = at;
    for (int neighbour = 0; neighbour < NEIGHBOURS; neighbour++) {
        long nx = x + neighbour % 3 - 1;
        long ny = y + neighbour / 3 % 3 - 1;
        long nz = z + neighbour / 9 - 1;
        if (!inside(grid, nx, ny, nz))
            continue;
        size_t column = row_of(grid, nx, ny, nz);
        cg->columns[at] = (int32_t)column;
        cg->values[at++] = column == row ? 26.0 : -1.0;
    }
    cg->b[row] = 26.0 - (double)(at - first - 1);
    cg->starts[row + 1] = at;
    return at;
}

static void build(struct cg *cg)
{
    int64_t at = 0;
    cg->starts[0] = 0;
    for (long z = 0; z < cg->grid.nz; z++)
        for (long y = 0; y < cg->grid.ny; y++)
            for (long x = 0; x < cg->grid.nx; x++)
                at = build_row(cg, x, y, z, at);
}

/* ---- linear algebra -------------------------------------------------------------------------- */

static double dot(const struct cg *cg, const double *left, const double *right)
{
    size_t blocks = (cg->rows + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static)
    for (size_t block = 0; block < blocks; block++) {
        size_t end = (block + 1) * BLOCK < cg->rows ? (block + 1) * BLOCK : cg->rows;
        double sum = 0;
        for (size_t i = block * BLOCK; i < end; i++)
            sum += left[i] * right[i];
        cg->partial[block] = sum;
    }
    double sum = 0;
    for (size_t block = 0; block < blocks; block++)
        sum += cg->partial[block];
    return sum;
}

/* out = left + scale * right; out may be one of them. */
static void add_scaled(const struct cg *cg, double *out, const double *left, double scale,
                       const double *right)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < cg->rows; i++)
        out[i] = left[i] + scale * right[i];
}

/* out = A in */
static void multiply(const struct cg *cg, double *out, const double *in)
{
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < cg->rows; row++) {
        double sum = 0;
        for (int64_t i = cg->starts[row]; i < cg->starts[row + 1]; i++)
            sum += cg->values[i] * in[cg->columns[i]];
        out[row] = sum;
    }
}

/* Solve one row for its own unknown. */
static void relax_row(const struct cg *cg, size_t row)
{
    double sum = cg->r[row];
    double diagonal = 1;
    for (int64_t i = cg->starts[row]; i < cg->starts[row + 1]; i++) {
        size_t column = (size_t)cg->columns[i];
        if (column == row)
            diagonal = cg->values[i];
        else
            sum -= cg->values[i] * cg->z[column];
    }
    cg->z[row] = sum / diagonal;
}

static void relax_colour(const struct cg *cg, int colour)
{
    const struct grid *grid = &cg->grid;
#pragma omp parallel for schedule(static)
    for (long z = colour >> 2; z < grid->nz; z += 2)
        for (long y = colour >> 1 & 1; y < grid->ny; y += 2)
            for (long x = colour & 1; x < grid->nx; x += 2)
                relax_row(cg, row_of(grid, x, y, z));
}

/* z = M^-1 r: one symmetric Gauss-Seidel sweep from zero. */
static void precondition(const struct cg *cg)
{
    memset(cg->z, 0, cg->rows * sizeof cg->z[0]);
    for (int colour = 0; colour < COLOURS; colour++)
        relax_colour(cg, colour);
    for (int colour = COLOURS - 1; colour >= 0; colour--)
        relax_colour(cg, colour);
}

/* ---- the iteration --------------------------------------------------------------------------- */

/* x starts as zero, so that the first residual is b. */
static void begin(struct cg *cg)
{
    build(cg);
    memset(cg->x, 0, cg->rows * sizeof cg->x[0]);
    memcpy(cg->r, cg->b, cg->rows * sizeof cg->r[0]);
    cg->history[0] = sqrt(dot(cg, cg->r, cg->r));
}

static void iterate(struct cg *cg)
{
    precondition(cg);
    double rtz = dot(cg, cg->r, cg->z);
    double beta = cg->at.iteration > 0 ? rtz / cg->at.rtz : 0;
    add_scaled(cg, cg->p, cg->z, beta, cg->p);
    multiply(cg, cg->ap, cg->p);
    double alpha = rtz / dot(cg, cg->p, cg->ap);
    add_scaled(cg, cg->x, cg->x, alpha, cg->p);
    add_scaled(cg, cg->r, cg->r, -alpha, cg->ap);
    cg->at.rtz = rtz;
    cg->history[++cg->at.iteration] = sqrt(dot(cg, cg->r, cg->r));
}

static double worst_error(const struct cg *cg)
{
    double worst = 0;
    for (size_t i = 0; i < cg->rows; i++)
        worst = fmax(worst, fabs(cg->x[i] - 1.0));
    return worst;
}

static void print_answer(const struct cg *cg)
{
    printf("cg: %ld x %ld x %ld grid, %zu rows, %lld nonzeros\n", cg->grid.nx, cg->grid.ny,
           cg->grid.nz, cg->rows, (long long)cg->starts[cg->rows]);
    for (long i = 0; i <= cg->at.iteration; i++)
        printf("cg: %3ld  residual %.17g\n", i, cg->history[i]);
    printf("cg: %ld iterations, error %.17g\n", cg->at.iteration, worst_error(cg));
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void *allocate(const struct cg *cg, struct ferry_job *job, const char *name, size_t bytes)
{
    return ferry_job_alloc(job, name, bytes, cg->pages.size, cg->pages.flags);
}

/* Memory of the program's own, with edges that are no page's. */
static double *protect(struct ferry_job *job, const char *name, size_t rows)
{
    double *vector = calloc(rows, sizeof *vector);
    if (vector && ferry_job_protect(job, name, vector, rows * sizeof *vector) < 0) {
        free(vector);
        return NULL;
    }
    return vector;
}

static bool declare(struct cg *cg, struct ferry_job *job)
{
    size_t vector = cg->rows * sizeof(double);
    size_t history = ((size_t)cg->iterations + 1) * sizeof(double);
    cg->history = calloc(1, history);
    cg->partial = calloc((cg->rows + BLOCK - 1) / BLOCK, sizeof(double));
    cg->values = allocate(cg, job, "values", NEIGHBOURS * vector);
    cg->columns = allocate(cg, job, "columns", NEIGHBOURS * cg->rows * sizeof(int32_t));
    cg->starts = allocate(cg, job, "starts", (cg->rows + 1) * sizeof(int64_t));
    cg->b = allocate(cg, job, "b", vector);
    cg->z = allocate(cg, job, "z", vector);
    cg->ap = allocate(cg, job, "ap", vector);
    cg->x = protect(job, "x", cg->rows);
    cg->r = protect(job, "r", cg->rows);
    cg->p = protect(job, "p", cg->rows);
    return cg->history && cg->partial && cg->values && cg->columns && cg->starts && cg->b &&
           cg->z && cg->ap && cg->x && cg->r && cg->p &&
           ferry_job_state(job, &cg->at, sizeof cg->at) == 0 &&
           ferry_job_state(job, cg->history, history) == 0;
}

/* After ferry_job_close(): an arrival may still have been filling them. */
static void release(struct cg *cg)
{
    free(cg->history);
    free(cg->partial);
    free(cg->x);
    free(cg->r);
    free(cg->p);
}

/* ---- the job --------------------------------------------------------------------------------- */

static int run(struct cg *cg, struct ferry_job *job)
{
    if (!declare(cg, job)) {
        fprintf(stderr, "cg: no memory for %zu rows\n", cg->rows);
        return 1;
    }
    int how = ferry_job_start(job);
    if (how < 0)
        return 1;
    if (how == FERRY_FRESH)
        begin(cg);
    /* A residual of zero is the end: the next step would divide by it. */
    while (cg->at.iteration < cg->iterations && cg->history[cg->at.iteration] > 0) {
        if (ferry_job_safepoint(job) == FERRY_MOVED)
            return 0;
        iterate(cg);
    }
    print_answer(cg);
    return 0;
}

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--nx N] [--ny N] [--nz N] [--iterations N] " PAGES_USAGE
            "   (sides of 2 to %d points)\n",
            program, SIDE_MAX);
    return 2;
}

static bool set_option(struct cg *cg, int option, const char *text)
{
    switch (option) {
    case 'x':
        cg->grid.nx = strtol(text, NULL, 10);
        return true;
    case 'y':
        cg->grid.ny = strtol(text, NULL, 10);
        return true;
    case 'z':
        cg->grid.nz = strtol(text, NULL, 10);
        return true;
    case 'i':
        cg->iterations = strtol(text, NULL, 10);
        return true;
    case 'p':
        return pages_parse(&cg->pages, text);
    case 'S':
        cg->pages.flags = FERRY_SHARED;
        return true;
    default:
        return false;
    }
}

static bool parse(struct cg *cg, int argc, char **argv)
{
    static const struct option options[] = {
        {"nx", required_argument, NULL, 'x'},
        {"ny", required_argument, NULL, 'y'},
        {"nz", required_argument, NULL, 'z'},
        {"iterations", required_argument, NULL, 'i'},
        {"pages", required_argument, NULL, 'p'},
        {"shared", no_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!set_option(cg, option, optarg))
            return false;
    const struct grid *grid = &cg->grid;
    return optind == argc && grid->nx >= 2 && grid->nx <= SIDE_MAX && grid->ny >= 2 &&
           grid->ny <= SIDE_MAX && grid->nz >= 2 && grid->nz <= SIDE_MAX && cg->iterations >= 1 &&
           cg->iterations <= ITERATIONS_MAX;
}

int main(int argc, char **argv)
{
    struct cg cg = {.grid = {32, 32, 32}, .iterations = 50};
    if (!parse(&cg, argc, argv))
        return usage(argv[0]);
    cg.rows = (size_t)cg.grid.nx * (size_t)cg.grid.ny * (size_t)cg.grid.nz;
    struct ferry_job *job;
    if (ferry_job_open(&job, NULL) < 0)
        return 1;
    int status = run(&cg, job);
    fflush(stdout);
    if (ferry_job_close(job) < 0)
        status = 1;
    release(&cg);
    return status;
}
