/* SPDX-License-Identifier: BSD-2-Clause */
/* The back ends that this build of the contract suite can be pointed at. */
#ifndef PF_TESTS_CONTRACT_BACKENDS_H
#define PF_TESTS_CONTRACT_BACKENDS_H

#include "transport/transport.h"

/* Ends with NULL. */
extern const struct pf_transport *const contract_backends[];

/* Both ends live in one process: tests that need a second one do not apply. */
bool contract_one_process_only(const char *uri);

/*
 * A process that is killed can take the survivor with it: libfabric's shm provider keeps spinlocks
 * in the memory that both share, and nobody unlocks what a dead process had locked. Seen with
 * libfabric 1.17 in 3 of 25 kills; nothing outside the provider can help.
 */
bool contract_death_may_hang(const char *uri);

/*
 * The wire tells the writer why a write was refused. False where the library below only cuts the
 * connection (libfabric's providers): there any error counts as the refusal.
 */
bool contract_refusal_is_named(const char *uri);

#endif
