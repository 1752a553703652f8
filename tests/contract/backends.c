/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/contract/backends.h"

#include "transport/fault/fault.h"
#include "transport/inproc/inproc.h"
#include "transport/tcp/tcp.h"

#include <string.h>
#ifdef PAGEFERRY_HAVE_VERBS
#include "rdma/verbs/verbs.h"
#endif
#ifdef PAGEFERRY_HAVE_OFI
#include "rdma/ofi/ofi.h"
#endif

const struct pf_transport *const contract_backends[] = {
    &pf_inproc_transport,
    &pf_tcp_transport,
    &pf_fault_transport,
#ifdef PAGEFERRY_HAVE_VERBS
    &pf_verbs_transport,
#endif
#ifdef PAGEFERRY_HAVE_OFI
    &pf_ofi_transport,
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

bool contract_death_may_hang(const char *uri)
{
    return strstr(uri, "ofi+shm:") != NULL;
}

bool contract_refusal_is_named(const char *uri)
{
    return strncmp(uri, "ofi+", 4) != 0 && !strstr(uri, "+ofi+");
}
