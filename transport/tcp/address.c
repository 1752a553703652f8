/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static bool add_address(struct pf_tcp_addresses *out, const struct sockaddr *addr, socklen_t len)
{
    struct pf_tcp_address *slot = &out->at[out->count];
    if (len > sizeof slot->v6 || (addr->sa_family != AF_INET && addr->sa_family != AF_INET6))
        return true;
    memset(slot, 0, sizeof *slot);
    memcpy(&slot->any, addr, len);
    slot->len = len;
    return ++out->count < PF_TCP_ADDRESSES;
}

int pf_tcp_resolve(const char *host, bool for_listen, struct pf_tcp_addresses *out,
                   struct pf_why *why)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (for_listen ? AI_PASSIVE : 0),
    };
    struct addrinfo *found = NULL;
    const char *name = host[0] ? host : NULL;
    out->count = 0;
    int status = getaddrinfo(name, "0", &hints, &found);
    if (status == EAI_NONAME) {
        hints.ai_flags &= ~AI_NUMERICHOST;
        status = getaddrinfo(name, "0", &hints, &found);
    }
    if (status)
        return pf_why(why, -ENODEV,
                      "looking up the host \"%s\": %s; check the name, or write a "
                      "numeric address",
                      host, gai_strerror(status));
    for (struct addrinfo *at = found; at; at = at->ai_next)
        if (!add_address(out, at->ai_addr, at->ai_addrlen))
            break;
    freeaddrinfo(found);
    if (out->count == 0)
        return pf_why(why, -ENODEV, "the host \"%s\" has no IPv4 or IPv6 address", host);
    return 0;
}

void pf_tcp_set_port(struct pf_tcp_address *address, unsigned port)
{
    if (address->any.sa_family == AF_INET6)
        address->v6.sin6_port = htons((uint16_t)port);
    else
        address->v4.sin_port = htons((uint16_t)port);
}

bool pf_tcp_address_equal(const struct pf_tcp_address *a, const struct pf_tcp_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

static bool is_loopback(const struct pf_tcp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) ||
           (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
}

bool pf_tcp_address_same_host(const struct pf_tcp_address *own, const struct pf_tcp_address *peer)
{
    struct pf_tcp_address a = *own, b = *peer;
    pf_tcp_set_port(&a, 0);
    pf_tcp_set_port(&b, 0);
    return pf_tcp_address_equal(&a, &b) || (is_loopback(&a) && is_loopback(&b));
}

static bool is_wildcard(const struct pf_tcp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static unsigned port_of(const struct pf_tcp_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

/* IPv4 only: it is reachable through a dual-stack wildcard too, and needs no scope. */
static void interface_host(char *host, size_t size)
{
    struct ifaddrs *all = NULL;
    snprintf(host, size, "127.0.0.1");
    if (getifaddrs(&all))
        return;
    for (struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET ||
            (at->ifa_flags & (IFF_UP | IFF_LOOPBACK)) != IFF_UP)
            continue;
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)at->ifa_addr;
        inet_ntop(AF_INET, &v4->sin_addr, host, (socklen_t)size);
        break;
    }
    freeifaddrs(all);
}

int pf_tcp_address_uri(const struct pf_tcp_address *bound, char *out, size_t size)
{
    struct pf_uri uri = {.scheme = "tcp"};
    if (is_wildcard(bound))
        interface_host(uri.host, sizeof uri.host);
    else if (getnameinfo(&bound->any, bound->len, uri.host, sizeof uri.host, NULL, 0,
                         NI_NUMERICHOST))
        return -EINVAL;
    snprintf(uri.port, sizeof uri.port, "%u", port_of(bound));
    return pf_uri_format(&uri, out, size);
}
