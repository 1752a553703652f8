/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inproc://NAME: the contract inside one process, over in-memory queues. The reference back end:
 * what it does is what the contract means.
 */
#ifndef PF_TRANSPORT_INPROC_INPROC_H
#define PF_TRANSPORT_INPROC_INPROC_H

#include "transport/transport.h"

extern const struct pf_transport pf_inproc_transport;

#endif
