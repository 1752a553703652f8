/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/contract/backends.h"

#include "transport/inproc/inproc.h"

#include <string.h>
#if __has_include("transport/tcp/tcp.h")
#include "transport/tcp/tcp.h"
#define HAVE_TCP
#endif
#if __has_include("transport/fault/fault.h")
#include "transport/fault/fault.h"
#define HAVE_FAULT
#endif
#if defined(PAGEFERRY_HAVE_VERBS) && __has_include("rdma/verbs/verbs.h")
#include "rdma/verbs/verbs.h"
#define HAVE_VERBS
#endif
#if defined(PAGEFERRY_HAVE_OFI) && __has_include("rdma/ofi/ofi.h")
#include "rdma/ofi/ofi.h"
#define HAVE_OFI
#endif

const struct pf_transport *const contract_backends[] = {
    &pf_inproc_transport,
#ifdef HAVE_TCP
    &pf_tcp_transport,
#endif
#ifdef HAVE_VERBS
    &pf_verbs_transport,
#endif
#ifdef HAVE_OFI
    &pf_ofi_transport,
#endif
#ifdef HAVE_FAULT
    &pf_fault_transport,
#endif
    NULL,
};

bool contract_one_process_only(const char *uri)
{
    size_t scheme = strcspn(uri, ":");
    const char *own = pf_inproc_transport.scheme;
    size_t length = strlen(own);
    return scheme >= length && strncmp(uri + scheme - length, own, length) == 0;
}

bool contract_refusal_is_named(const char *uri)
{
    return strncmp(uri, "ofi+", 4) != 0 && !strstr(uri, "+ofi+");
}
