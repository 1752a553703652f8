/* SPDX-License-Identifier: BSD-2-Clause */
/* The back ends that were built: the one place that names them all. */
#ifndef PF_CORE_BACKENDS_H
#define PF_CORE_BACKENDS_H

#include "transport/transport.h"

/* Ends with NULL; for pf_transport_find(). */
extern const struct pf_transport *const pf_backends[];

#endif
