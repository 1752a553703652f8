/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench.h"
#include "core/backends.h"
#include "transport/transport.h"
#include "transport/uri.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef PAGEFERRY_HAVE_VERBS
#include <arpa/inet.h>
#include <infiniband/verbs.h>

/* A RoCE port's GIDs hold the addresses of its network interface, IPv4 ones as ::ffff:a.b.c.d. */
static bool gid_address(const union ibv_gid *gid, char *out, size_t size)
{
    struct in6_addr address;
    memcpy(&address, gid->raw, sizeof address);
    if (!IN6_IS_ADDR_V4MAPPED(&address))
        return false;
    return inet_ntop(AF_INET, gid->raw + 12, out, (socklen_t)size) != NULL;
}

static bool port_address(struct ibv_context *context, uint8_t port, char *out, size_t size)
{
    struct ibv_port_attr attr;
    union ibv_gid gid;
    if (ibv_query_port(context, port, &attr) != 0 || attr.state != IBV_PORT_ACTIVE)
        return false;
    for (int i = 0; i < attr.gid_tbl_len; i++)
        if (ibv_query_gid(context, port, i, &gid) == 0 && gid_address(&gid, out, size))
            return true;
    return false;
}

static bool device_address(struct ibv_device *device, char *out, size_t size)
{
    struct ibv_device_attr attr;
    bool found = false;
    struct ibv_context *context = ibv_open_device(device);
    if (!context)
        return false;
    if (ibv_query_device(context, &attr) == 0)
        for (uint8_t port = 1; port <= attr.phys_port_cnt && !found; port++)
            found = port_address(context, port, out, size);
    ibv_close_device(context);
    return found;
}

/* libibverbs is not to be used across a fork: the device is closed again before the peer starts. */
static bool verbs_address(char *out, size_t size)
{
    int count = 0;
    bool found = false;
    struct ibv_device **devices = ibv_get_device_list(&count);
    for (int i = 0; devices && i < count && !found; i++)
        found = device_address(devices[i], out, size);
    if (devices)
        ibv_free_device_list(devices);
    return found;
}
#else
static bool verbs_address(char *out, size_t size)
{
    (void)out;
    (void)size;
    return false;
}
#endif

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static int complete(const char *scheme, char out[PF_URI_MAX], struct pf_why *why)
{
    char host[64] = "127.0.0.1";
    if (ends_with(scheme, "shm")) {
        snprintf(out, PF_URI_MAX, "%s://", scheme);
        return 0;
    }
    if (ends_with(scheme, "verbs") && !verbs_address(host, sizeof host))
        return pf_why(
            why, -ENODEV,
            "no active RDMA device with an IPv4 address was found: see `pageferry probe`, "
            "or name an address of the device's network interface: --transport "
            "%s://ADDRESS:0",
            scheme);
    snprintf(out, PF_URI_MAX, "%s://%s:0", scheme, host);
    return 0;
}

/* One address of the list. */
static int check(const char *text, char out[PF_URI_MAX], struct pf_why *why)
{
    struct pf_uri uri;
    int error = pf_uri_parse(text, &uri, why);
    if (error)
        return error;
    if (!pf_transport_find(pf_backends, text))
        return pf_why(why, -EPROTONOSUPPORT,
                      "no transport answers \"%.80s\": see `pageferry probe` for those built in",
                      text);
    if (ends_with(uri.scheme, "inproc"))
        return pf_why(why, -EINVAL,
                      "%s:// stays inside one process and can't be measured between two",
                      uri.scheme);
    if (!strstr(text, "://"))
        return complete(uri.scheme, out, why);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

int pf_bench_address(const char *text, char out[PF_BENCH_URI_MAX], struct pf_why *why)
{
    struct pf_uri_list list;
    int error = pf_uri_list_parse(text, &list, why);
    for (unsigned i = 0; i < list.count && !error; i++) {
        char one[PF_URI_MAX];
        strcpy(one, list.uris[i]);
        error = check(one, list.uris[i], why);
    }
    if (!error && pf_uri_list_format(&list, out, PF_BENCH_URI_MAX) != 0)
        error =
            pf_why(why, -EINVAL, "the addresses are longer than %d bytes", PF_BENCH_URI_MAX - 1);
    return error;
}
