/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/transport.h"

#include <string.h>

/* A scheme that ends in '+' is a family: it answers every longer scheme that begins with it. */
static bool answers(const struct pf_transport *transport, const char *uri, size_t scheme_length)
{
    size_t own = strlen(transport->scheme);
    if (own > 0 && transport->scheme[own - 1] == '+')
        return scheme_length > own && strncmp(uri, transport->scheme, own) == 0;
    return scheme_length == own && strncmp(uri, transport->scheme, own) == 0;
}

const struct pf_transport *pf_transport_find(const struct pf_transport *const *table,
                                             const char *uri)
{
    size_t scheme_length = strcspn(uri, ":");
    for (; *table; table++)
        if (answers(*table, uri, scheme_length))
            return *table;
    return NULL;
}

static bool inside_registration(const struct pf_sge *sge)
{
    const char *start = sge->addr;
    if (start < sge->mr->addr)
        return false;
    size_t offset = (size_t)(start - sge->mr->addr);
    return offset <= sge->mr->len && sge->len <= sge->mr->len - offset;
}

bool pf_sgl_valid(const struct pf_caps *caps, const struct pf_sge *sgl, unsigned count,
                  size_t *total)
{
    size_t sum = 0;
    bool unregistered = false;
    if (count == 0 || count > caps->max_gather)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (sgl[i].len == 0 || sgl[i].len > caps->max_message - sum)
            return false;
        if (!sgl[i].mr)
            unregistered = true;
        else if (!inside_registration(&sgl[i]))
            return false;
        sum += sgl[i].len;
    }
    *total = sum;
    return !unregistered || sum <= caps->inline_size;
}
