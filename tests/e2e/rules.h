/* SPDX-License-Identifier: BSD-2-Clause */
/* The themes of e2e_rules: tables that end with {NULL, NULL}. */
#ifndef PF_TESTS_E2E_RULES_H
#define PF_TESTS_E2E_RULES_H

#include "tests/e2e/grid.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RULES_SANITIZED 1
#else
#define RULES_SANITIZED 0
#endif

extern const struct pf_test rules_moves[];
extern const struct pf_test rules_regions[];
extern const struct pf_test rules_faults[];
extern const struct pf_test rules_prefetch[];
extern const struct pf_test rules_refusals[];
extern const struct pf_test rules_release[];
extern const struct pf_test rules_memory[];
extern const struct pf_test rules_steer[];
extern const struct pf_test rules_unseen[];
extern const struct pf_test rules_rounds[];
extern const struct pf_test rules_cancel[];
extern const struct pf_test rules_prealloc[];
extern const struct pf_test rules_vanish[];

/* How many pages are in memory of the mapping that an address of a process is in. */
size_t rules_resident_pages(pid_t pid, uint64_t address);

#endif
