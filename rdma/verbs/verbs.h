/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back end on libibverbs and librdmacm: verbs://HOST:PORT, HOST being an address of the NIC.
 *
 * A process that opened a device keeps its credentials as they are until it is closed (no setuid,
 * no dropping of capabilities): the kernel refuses the RDMA descriptors to changed ones (-EACCES).
 */
#ifndef PF_RDMA_VERBS_VERBS_H
#define PF_RDMA_VERBS_VERBS_H

#include "transport/transport.h"

extern const struct pf_transport pf_verbs_transport;

#endif
