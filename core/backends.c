/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"

#include "transport/fault/fault.h"
#include "transport/inproc/inproc.h"
#include "transport/tcp/tcp.h"

#ifdef PAGEFERRY_HAVE_VERBS
#include "rdma/verbs/verbs.h"
#endif
#ifdef PAGEFERRY_HAVE_OFI
#include "rdma/ofi/ofi.h"
#endif

const struct pf_transport *const pf_backends[] = {
#ifdef PAGEFERRY_HAVE_VERBS
    &pf_verbs_transport,
#endif
#ifdef PAGEFERRY_HAVE_OFI
    &pf_ofi_transport,
#endif
    &pf_tcp_transport,   &pf_inproc_transport, &pf_fault_transport, NULL,
};
