/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/uri_list.h"

#include "transport/uri.h"

#include <errno.h>
#include <string.h>

static int take(struct pf_uri_list *list, const char *from, size_t length, struct pf_why *why)
{
    struct pf_uri parsed;
    if (list->count == PF_URIS_MAX)
        return pf_why(why, -EINVAL,
                      "more than %d addresses in one list: a migration has no more "
                      "rails",
                      PF_URIS_MAX);
    char *uri = list->uris[list->count];
    if (length >= PF_URI_MAX)
        return pf_why(why, -EINVAL, "the address \"%.60s...\" is too long", from);
    if (length == 0 && (list->count > 0 || *from == ','))
        return pf_why(why, -EINVAL, "an address of the list is missing: there is a comma too many");
    memcpy(uri, from, length);
    uri[length] = '\0';
    list->count++;
    return pf_uri_parse(uri, &parsed, why);
}

int pf_uri_list_parse(const char *text, struct pf_uri_list *list, struct pf_why *why)
{
    *list = (struct pf_uri_list){.count = 0};
    if (strlen(text) >= PF_URI_LIST_MAX)
        return pf_why(why, -EINVAL, "the list of addresses \"%.60s...\" is too long", text);
    for (;;) {
        size_t length = strcspn(text, ",");
        int error = take(list, text, length, why);
        if (error || text[length] == '\0')
            return error;
        text += length + 1;
    }
}

int pf_uri_list_format(const struct pf_uri_list *list, char *out, size_t size)
{
    size_t used = 0;
    for (unsigned i = 0; i < list->count; i++) {
        size_t length = strlen(list->uris[i]);
        if (used + length + 2 > size)
            return -ENAMETOOLONG;
        if (i > 0)
            out[used++] = ',';
        memcpy(out + used, list->uris[i], length);
        used += length;
    }
    out[used] = '\0';
    return 0;
}
