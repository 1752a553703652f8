/* SPDX-License-Identifier: BSD-2-Clause */
/* What a measurement found: figures by key, in the order in which they are shown. */
#ifndef PF_BENCH_REPORT_H
#define PF_BENCH_REPORT_H

enum { PF_FIGURES_MAX = 20, PF_NOTE_MAX = 120 };

struct pf_figure {
    const char *key;   /* in JSON; documented in docs/bench.md */
    const char *label; /* for a person */
    const char *unit;  /* "us", "GB/s" or "" */
    double value;
};

struct pf_report {
    struct pf_figure figures[PF_FIGURES_MAX];
    unsigned count;
    char note[PF_NOTE_MAX]; /* how many samples the figures stand on; for a person */
};

void pf_report_add(struct pf_report *report, const char *key, const char *label, const char *unit,
                   double value);

#endif
