/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool copy_part(char *out, size_t size, const char *from, size_t length)
{
    if (length >= size)
        return false;
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

static bool scheme_ok(const char *scheme)
{
    if (!isalpha((unsigned char)scheme[0]))
        return false;
    for (; *scheme; scheme++)
        if (!isalnum((unsigned char)*scheme) && !strchr("+-._;", *scheme))
            return false;
    return true;
}

static bool port_ok(const char *port)
{
    unsigned value = 0;
    for (; *port; port++) {
        if (!isdigit((unsigned char)*port))
            return false;
        value = value * 10 + (unsigned)(*port - '0');
        if (value > 65535)
            return false;
    }
    return true;
}

/* HOST, HOST:PORT or [IPV6]:PORT, up to end. */
static bool parse_authority(const char *at, const char *end, struct pf_uri *uri)
{
    const char *host = at;
    const char *host_end;
    const char *rest;
    if (at < end && *at == '[') {
        host++;
        host_end = memchr(at, ']', (size_t)(end - at));
        if (!host_end)
            return false;
        rest = host_end + 1;
    } else {
        host_end = memchr(at, ':', (size_t)(end - at));
        if (!host_end)
            host_end = end;
        rest = host_end;
    }
    if (!copy_part(uri->host, sizeof uri->host, host, (size_t)(host_end - host)))
        return false;
    if (rest == end)
        return true;
    return *rest == ':' && rest + 1 < end &&
           copy_part(uri->port, sizeof uri->port, rest + 1, (size_t)(end - rest - 1)) &&
           port_ok(uri->port);
}

int pf_uri_parse(const char *text, struct pf_uri *uri, struct pf_why *why)
{
    *uri = (struct pf_uri){.scheme = ""};
    size_t scheme_length = strcspn(text, ":");
    bool ok =
        copy_part(uri->scheme, sizeof uri->scheme, text, scheme_length) && scheme_ok(uri->scheme);
    if (ok && text[scheme_length] == ':') {
        const char *at = text + scheme_length;
        ok = strncmp(at, "://", 3) == 0;
        if (ok) {
            at += 3;
            const char *end = at + strcspn(at, "?");
            ok = parse_authority(at, end, uri) &&
                 (*end == '\0' ||
                  copy_part(uri->query, sizeof uri->query, end + 1, strlen(end + 1)));
        }
    }
    if (!ok)
        return pf_why(why, -EINVAL,
                      "\"%.100s\" is not a transport address: write SCHEME://HOST:PORT, for "
                      "example tcp://10.0.0.2:7471, verbs://10.0.0.2:7471 or ofi+tcp://10.0.0.2",
                      text);
    return 0;
}

int pf_uri_format(const struct pf_uri *uri, char *out, size_t size)
{
    bool v6 = strchr(uri->host, ':') != NULL;
    int length = snprintf(out, size, "%s://%s%s%s%s%s%s%s", uri->scheme, v6 ? "[" : "", uri->host,
                          v6 ? "]" : "", uri->port[0] ? ":" : "", uri->port,
                          uri->query[0] ? "?" : "", uri->query);
    return length >= 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

bool pf_uri_option(const struct pf_uri *uri, const char *key, char *value, size_t size)
{
    size_t key_length = strlen(key);
    for (const char *at = uri->query; *at;) {
        size_t length = strcspn(at, "&");
        if (length > key_length && strncmp(at, key, key_length) == 0 && at[key_length] == '=')
            return copy_part(value, size, at + key_length + 1, length - key_length - 1);
        at += length + (at[length] == '&');
    }
    return false;
}
