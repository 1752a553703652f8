/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ofi back end: libfabric. ofi+PROVIDER://HOST:PORT, for example ofi+tcp://10.0.0.2:7471,
 * ofi+verbs://10.0.0.2:7471 or ofi+shm://NAME:PORT (one host; NAME is any word, and without one
 * a listener makes a fresh name). ?ep=rdm takes a provider's unconnected endpoints where it has
 * both kinds.
 *
 * Opening a device sets FI_MR_CACHE_MONITOR=disabled in the environment unless it is set already
 * (see device.c).
 */
#ifndef PF_RDMA_OFI_OFI_H
#define PF_RDMA_OFI_OFI_H

#include "transport/transport.h"

extern const struct pf_transport pf_ofi_transport;

#endif
