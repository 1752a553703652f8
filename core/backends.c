/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"

#include "transport/inproc/inproc.h"
#include "transport/tcp/tcp.h"

const struct pf_transport *const pf_backends[] = {
    &pf_tcp_transport,
    &pf_inproc_transport,
    NULL,
};
