/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/report.h"

#include <assert.h>

void pf_report_add(struct pf_report *report, const char *key, const char *label, const char *unit,
                   double value)
{
    assert(report->count < PF_FIGURES_MAX);
    report->figures[report->count++] = (struct pf_figure){key, label, unit, value};
}
