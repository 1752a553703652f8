/* SPDX-License-Identifier: BSD-2-Clause */
#include "adapters/firecracker.h"

/* [{"base_host_virt_addr": N, "size": N, "offset": N, "page_size": N, "page_size_kib": N}, ...] */
static int take(struct pf_client_message *message, struct json_object *json, struct pf_why *why)
{
    static const struct pf_client_words words = {
        .addr = "base_host_virt_addr",
        .bytes = "size",
        .offset = "offset",
        .page_size = "page_size",
        .page_size_before = "page_size_kib", /* deprecated; bytes, too, whatever its name says */
        .only_region = PF_FIRECRACKER_REGION,
    };
    return pf_client_mappings_take(message, json, &words, why);
}

const struct pf_client_kind pf_client_firecracker = {"firecracker", false, take};
