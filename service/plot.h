/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `pageferry plot`: what a migration's records say about its rounds and its faults, as a picture.
 * plot_read.c takes the records in, plot_recipe.c writes the recipe for gnuplot (plot_rounds.c its
 * panels of rounds, plot_page.c what all panels share), plot_draw.c has it drawn.
 */
#ifndef PF_SERVICE_PLOT_H
#define PF_SERVICE_PLOT_H

#include "base/why.h"
#include "service/record.h"

#include <stdbool.h>
#include <stdio.h>

enum { PF_PLOT_BUCKETS_MAX = 512, PF_PLOT_THREADS_MAX = 512, PF_PLOT_POINTS_MAX = 4096 };
enum { PF_PLOT_ROUNDS_MAX = 4096 };

struct pf_plot_bucket {
    double from_us, to_us, count;
};

struct pf_plot_thread {
    char label[64]; /* name and tid */
    double faults, blocked_us, max_us;
};

/* How far the migration was at a time. */
struct pf_plot_point {
    double seconds, bytes;
};

/* A round of pre-copy; rates in bytes per second. */
struct pf_plot_round {
    double from_s, to_s;
    double link, dirtied;
    double dirty_bytes, left_bytes; /* at its beginning and its end */
    int64_t number;
    int throttle; /* percent */
};

struct pf_plot {
    struct pf_record record;      /* the last one */
    char name[64], transport[32]; /* of it, safe inside gnuplot's quotes, as the threads' labels */
    double p50_us, p99_us, p999_us, max_us, waits;
    struct pf_plot_bucket buckets[PF_PLOT_BUCKETS_MAX];
    unsigned bucket_count;
    struct pf_plot_thread threads[PF_PLOT_THREADS_MAX]; /* those blocked longest first */
    unsigned thread_count;
    double all_us; /* all were blocked at once */
    struct pf_plot_point points[PF_PLOT_POINTS_MAX];
    unsigned point_count;
    struct pf_plot_point left[PF_PLOT_POINTS_MAX]; /* yet to be sent, or sent again */
    unsigned left_count;
    struct pf_plot_round rounds[PF_PLOT_ROUNDS_MAX]; /* by their numbers */
    unsigned round_count;
    double switch_s; /* when the job went on at the destination; 0: not known */
};

/*
 * Read records, one after the other, as `migrate --json` and `status --json` print them. name: of
 * the file, for sentences. -EINVAL with a sentence when there is nothing to be drawn.
 */
int pf_plot_read(struct pf_plot *plot, FILE *in, const char *name, struct pf_why *why);

/* Write a gnuplot program that writes SVG to its standard output. */
void pf_plot_recipe(const struct pf_plot *plot, FILE *out);

/* Have gnuplot draw it into a file. -ENOENT no gnuplot, -EIO it failed, -errno. */
int pf_plot_draw(const struct pf_plot *plot, const char *path, struct pf_why *why);

#endif
