/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Firecracker's page fault handler protocol: a micro-VM that is restored from a snapshot hands its
 * guest memory over in one message on a unix socket, a JSON array and one userfaultfd, and hears
 * nothing back. See "userfaultfd" in Firecracker's docs/snapshotting.
 */
#ifndef PF_ADAPTERS_FIRECRACKER_H
#define PF_ADAPTERS_FIRECRACKER_H

#include "core/clients/clients.h"

/* The one region that a memory file is. */
#define PF_FIRECRACKER_REGION "memory"

extern const struct pf_client_kind pf_client_firecracker;

#endif
