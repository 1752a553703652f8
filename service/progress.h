/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a migration is shown while it runs: on a terminal one line that is redrawn, elsewhere plain
 * lines, one a second and one for each phase and round that lasts a tenth of that.
 */
#ifndef PF_SERVICE_PROGRESS_H
#define PF_SERVICE_PROGRESS_H

#include "service/record.h"

#include <stdbool.h>
#include <stdio.h>

struct pf_progress_view {
    FILE *out;
    bool terminal;
    bool drawn;          /* there is a bar to be wiped */
    uint64_t plain_ns;   /* time of the last plain line; 0: none yet */
    int64_t plain_round; /* and what it said */
    char plain_state[PF_RECORD_TEXT];
    uint64_t record_ns; /* time and remaining bytes of the last record, for the rate */
    int64_t record_remaining;
    int64_t rate;
};

void pf_progress_open(struct pf_progress_view *view, FILE *out);

/* A record without a rate gets the one that it and its predecessors show. */
void pf_progress_show(struct pf_progress_view *view, const struct pf_record *record);

/* Wipe the bar, so that what is printed next stands on a line of its own. */
void pf_progress_close(struct pf_progress_view *view);

/* The closing lines of a migration; the mean rate is worked out if the record has none. */
void pf_progress_summary(FILE *out, const struct pf_record *record);

/* For tests: the bar as drawn in that many columns, without cursor movements. */
void pf_progress_bar(const struct pf_record *record, unsigned columns, char *out, size_t size);

#endif
