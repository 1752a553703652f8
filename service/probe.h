/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this host can do: a report of lines, each yes with a value or no with a reason and a remedy.
 * Each probe_*.c adds the lines of one subject.
 */
#ifndef PF_SERVICE_PROBE_H
#define PF_SERVICE_PROBE_H

#include <stdbool.h>

struct pf_probe_line {
    char name[48];
    bool ok;
    char value[540];
    char reason[160]; /* of a no */
    char remedy[256]; /* of a no */
};

enum { PF_PROBE_LINES_MAX = 64 };

struct pf_probe {
    struct pf_probe_line lines[PF_PROBE_LINES_MAX];
    unsigned count;
    bool postcopy;  /* userfaultfd does all that post-copy needs */
    bool transport; /* at least one transport works */
};

/* Add a yes; a report that is full takes no more lines. */
void pf_probe_yes(struct pf_probe *probe, const char *name, const char *value, ...)
    __attribute__((format(printf, 3, 4)));

/* Add a no. The line is returned so that the caller can add a remedy; never NULL. */
struct pf_probe_line *pf_probe_no(struct pf_probe *probe, const char *name, const char *reason, ...)
    __attribute__((format(printf, 3, 4)));

void pf_probe_remedy(struct pf_probe_line *line, const char *remedy, ...)
    __attribute__((format(printf, 2, 3)));

/* The no of a transport that was left out of the build. */
void pf_probe_not_built(struct pf_probe *probe, const char *name, const char *remedy);

void pf_probe_userfaultfd(struct pf_probe *probe); /* sets postcopy */
void pf_probe_pagemap(struct pf_probe *probe);
void pf_probe_tracking(struct pf_probe *probe);
void pf_probe_memlock(struct pf_probe *probe);
void pf_probe_huge_pages(struct pf_probe *probe);
void pf_probe_machine(struct pf_probe *probe); /* kernel, CPUs, nodes, placement */

/* Each asks the library that its transport uses; they set transport. */
void pf_probe_tcp(struct pf_probe *probe);
void pf_probe_verbs(struct pf_probe *probe);
void pf_probe_ofi(struct pf_probe *probe);

#endif
