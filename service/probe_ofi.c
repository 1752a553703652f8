/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"
#include "service/probe.h"

static void not_built(struct pf_probe *probe)
{
    pf_probe_not_built(probe, "ofi", "build with -DPAGEFERRY_OFI=ON (libfabric)");
}

#ifdef PF_HAVE_OFI
#include <rdma/fabric.h>
#include <stdio.h>
#include <string.h>

/* Append a provider's name once; a list that is full stays as it is. */
static void add_provider(char *list, size_t size, const char *provider)
{
    size_t used = strlen(list);
    size_t length = strlen(provider);
    if (length == 0 || used + length + 2 > size)
        return;
    for (const char *at = list; (at = strstr(at, provider)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return;
    snprintf(list + used, size - used, "%s%s", used ? " " : "", provider);
}

void pf_probe_ofi(struct pf_probe *probe)
{
    if (!pf_transport_find(pf_backends, "ofi+tcp")) {
        not_built(probe);
        return;
    }
    struct fi_info *all = NULL;
    char providers[160] = "";
    int error = fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, NULL, &all);
    for (struct fi_info *info = all; info; info = info->next)
        if (info->fabric_attr && info->fabric_attr->prov_name)
            add_provider(providers, sizeof providers, info->fabric_attr->prov_name);
    if (all)
        fi_freeinfo(all);
    if (providers[0]) {
        pf_probe_yes(probe, "ofi", "libfabric providers: %s", providers);
        probe->transport = true;
    } else {
        pf_probe_remedy(
            pf_probe_no(probe, "ofi", "libfabric has no provider (%s)", fi_strerror(-error)),
            "see fi_info and FI_PROVIDER_PATH");
    }
}
#else
void pf_probe_ofi(struct pf_probe *probe)
{
    not_built(probe);
}
#endif
