/* SPDX-License-Identifier: BSD-2-Clause */
/* What a measurement found: figures by key, in the order in which they are shown. */
#ifndef PF_BENCH_REPORT_H
#define PF_BENCH_REPORT_H

enum { PF_FIGURES_MAX = 128, PF_REPORT_NOTE_MAX = 120, PF_COLUMNS_MAX = 10 };

struct pf_figure {
    const char *key;   /* in JSON; documented in docs/bench.md */
    const char *label; /* for a person */
    const char *unit;  /* "us", "ns", "GB/s" or "" */
    double value;
};

struct pf_report {
    struct pf_figure figures[PF_FIGURES_MAX];
    unsigned count;
    /* The first rows * columns figures are a table, row by row; a row's first label is its name. */
    unsigned rows, columns;
    const char *heads[PF_COLUMNS_MAX];
    char note[PF_REPORT_NOTE_MAX]; /* how many samples the figures stand on; for a person */
};

void pf_report_add(struct pf_report *report, const char *key, const char *label, const char *unit,
                   double value);

#endif
