/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/fault/internal.h"
#include "transport/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char prefix[] = "fault+";

static const char *const kind_names[] = {
    [FAULT_FAIL] = "fail",   [FAULT_CUT] = "cut",         [FAULT_DROP] = "drop",
    [FAULT_DELAY] = "delay", [FAULT_CORRUPT] = "corrupt",
};

static bool parse_number(const struct pf_uri *uri, const char *key, unsigned *number)
{
    char text[16], *end;
    if (!pf_uri_option(uri, key, text, sizeof text))
        return true;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *number = (unsigned)value;
    return errno == 0 && end != text && *end == '\0' && value <= 1000000000;
}

static bool parse_kind(const struct pf_uri *uri, enum fault_kind *kind)
{
    char name[16];
    *kind = FAULT_FAIL;
    if (!pf_uri_option(uri, "do", name, sizeof name))
        return true;
    for (*kind = FAULT_FAIL; *kind <= FAULT_CORRUPT; ++*kind)
        if (strcmp(name, kind_names[*kind]) == 0)
            return true;
    return false;
}

static bool is_own_key(const char *option, size_t length)
{
    static const char *const keys[] = {"at", "do", "ms", "pins"};
    size_t key_length = strcspn(option, "=&");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (key_length < length && strlen(keys[i]) == key_length &&
            strncmp(option, keys[i], key_length) == 0)
            return true;
    return false;
}

/* Leave the inner back end its own options. */
static void strip_query(char *query)
{
    char *out = query;
    for (const char *at = query; *at;) {
        size_t length = strcspn(at, "&");
        const char *next = at + length + (at[length] == '&');
        if (!is_own_key(at, length)) {
            if (out != query)
                *out++ = '&';
            memmove(out, at, length);
            out += length;
        }
        at = next;
    }
    *out = '\0';
}

int pf_fault_parse(const char *uri, char inner[FAULT_URI_BYTES], struct fault_plan *plan,
                   struct pf_why *why)
{
    struct pf_uri parts;
    int err = pf_uri_parse(uri, &parts, why);
    if (err)
        return err;
    *plan = (struct fault_plan){.ms = 100};
    if (!parse_number(&parts, "at", &plan->at) || !parse_number(&parts, "ms", &plan->ms) ||
        !parse_number(&parts, "pins", &plan->pins))
        return pf_why(why, -EINVAL, "\"%s\": at=, ms= and pins= take a number, for example at=17",
                      uri);
    if (!parse_kind(&parts, &plan->kind))
        return pf_why(why, -EINVAL, "\"%s\": do= takes fail, cut, drop, delay or corrupt", uri);
    strip_query(parts.query);
    size_t skip = strncmp(parts.scheme, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
    memmove(parts.scheme, parts.scheme + skip, strlen(parts.scheme + skip) + 1);
    if (!strchr(uri, '/')) { /* a bare scheme stays one */
        snprintf(inner, FAULT_URI_BYTES, "%s", parts.scheme);
        return 0;
    }
    err = pf_uri_format(&parts, inner, FAULT_URI_BYTES);
    return err ? pf_why(why, err, "\"%s\" is too long for an address", uri) : 0;
}

enum fault_kind pf_fault_next(struct fault_device *device)
{
    unsigned number = atomic_fetch_add(&device->count, 1) + 1;
    if (number != device->plan.at || atomic_exchange(&device->fired, true))
        return FAULT_NONE;
    return device->plan.kind;
}

void pf_fault_uncount(struct fault_device *device, enum fault_kind kind)
{
    atomic_fetch_sub(&device->count, 1);
    if (kind != FAULT_NONE)
        atomic_store(&device->fired, false);
}

void pf_fault_sleep(const struct fault_device *device)
{
    struct timespec left = {.tv_sec = device->plan.ms / 1000,
                            .tv_nsec = (long)(device->plan.ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

unsigned pf_fault_count(const struct pf_device *device)
{
    const struct fault_device *self =
        (const struct fault_device *)((const char *)device - offsetof(struct fault_device, base));
    return atomic_load(&self->count);
}

bool pf_fault_fired(const struct pf_device *device)
{
    const struct fault_device *self =
        (const struct fault_device *)((const char *)device - offsetof(struct fault_device, base));
    return atomic_load(&self->fired);
}
