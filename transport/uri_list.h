/* SPDX-License-Identifier: BSD-2-Clause */
/* URI,URI,...: one address for each rail, the first of which carries control and requests, too. */
#ifndef PF_TRANSPORT_URI_LIST_H
#define PF_TRANSPORT_URI_LIST_H

#include "base/why.h"

#include <stddef.h>

enum {
    PF_URI_MAX = 256, /* bytes of one, with its terminator */
    PF_URIS_MAX = 8,
    PF_URI_LIST_MAX = 1024, /* bytes of a list, with its terminator */
};

struct pf_uri_list {
    unsigned count;
    char uris[PF_URIS_MAX][PF_URI_MAX];
};

/*
 * Take a list apart and check each address. A comma always separates: no address has one. -EINVAL
 * with a sentence that quotes what is wrong.
 */
int pf_uri_list_parse(const char *text, struct pf_uri_list *list, struct pf_why *why);

/* The opposite. -ENAMETOOLONG if it does not fit. */
int pf_uri_list_format(const struct pf_uri_list *list, char *out, size_t size);

#endif
