/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client says about itself: the mappings whose faults are to be served, as JSON. Described
 * in docs/clients.md. Whatever is wrong with it becomes a sentence.
 */
#ifndef PF_CORE_CLIENTS_CLIENT_MESSAGE_H
#define PF_CORE_CLIENTS_CLIENT_MESSAGE_H

#include "core/memory/region.h"

#include <json-c/json.h>

enum { PF_CLIENT_MAPPINGS_MAX = 1024, PF_CLIENT_MESSAGE_MAX = 256 * 1024 };

struct pf_client_mapping {
    uint64_t addr, bytes; /* in the client's address space */
    uint64_t offset;      /* of addr, in the region */
    uint64_t page_size;
    char region[PF_REGION_NAME];
};

struct pf_client_message {
    struct pf_client_mapping *list; /* malloc'ed */
    unsigned count;
};

/* Another program's words for the same; see adapters/. NULL: the key is not used. */
struct pf_client_words {
    const char *addr, *bytes, *offset, *page_size, *page_size_before;
    const char *region;      /* the key that names the region, */
    const char *only_region; /* or the one that all mappings show */
};

/* Take a whole message: -EINVAL, -E2BIG (too many mappings), -ENOMEM; then nothing is kept. */
int pf_client_message_take(struct pf_client_message *message, struct json_object *json,
                           struct pf_why *why);
void pf_client_message_free(struct pf_client_message *message);

/* Take an array of mappings, in the given words. Errors as above. */
int pf_client_mappings_take(struct pf_client_message *message, struct json_object *array,
                            const struct pf_client_words *words, struct pf_why *why);

#endif
