/* SPDX-License-Identifier: BSD-2-Clause */
/* SCHEME://HOST:PORT?key=value&key=value: the name of a transport and a place on it. */
#ifndef PF_TRANSPORT_URI_H
#define PF_TRANSPORT_URI_H

#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>

struct pf_uri {
    char scheme[32]; /* "tcp", "verbs", "ofi+shm", "fault+tcp" */
    char host[128];  /* without the brackets of an IPv6 address; may be empty */
    char port[16];   /* digits; empty if there was none */
    char query[128]; /* what follows '?', without it */
};

/*
 * Take a URI apart. A bare scheme ("ofi+tcp") is accepted and leaves host and port empty.
 * -EINVAL with a sentence that quotes the URI and shows the form.
 */
int pf_uri_parse(const char *text, struct pf_uri *uri, struct pf_why *why);

/* The opposite; brackets an IPv6 host. -ENAMETOOLONG if it does not fit. */
int pf_uri_format(const struct pf_uri *uri, char *out, size_t size);

/* Copy the value of a query key; false if the key is not there or does not fit. */
bool pf_uri_option(const struct pf_uri *uri, const char *key, char *value, size_t size);

#endif
