/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket addresses: of the side connection, and of providers that use them as their own. */
#include "rdma/ofi/internal.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A numeric host is not looked up anywhere, so nothing blocks; a name may ask a name server. */
int pf_ofi_address_socket(const struct pf_uri *uri, bool passive, struct sockaddr *out,
                          socklen_t *length, struct pf_why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *found;
    int error = getaddrinfo(uri->host[0] ? uri->host : NULL, uri->port[0] ? uri->port : "0", &hints,
                            &found);
    if (error) {
        pf_why(why, -EINVAL, "%s://%s: the host can't be resolved (%s)", uri->scheme, uri->host,
               gai_strerror(error));
        return -EINVAL;
    }
    *length = found->ai_addrlen;
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int replace(void **address, size_t *size, const void *with, size_t length)
{
    void *copy = malloc(length);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, with, length);
    free(*address);
    *address = copy;
    *size = length;
    return 0;
}

static void set_port(struct sockaddr *address, in_port_t port)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = port;
    else if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = port;
}

static in_port_t get_port(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                          : ((const struct sockaddr_in *)address)->sin_port;
}

/* A URI without a host keeps the address that the device was opened with. */
int pf_ofi_address_source(struct fi_info *info, const struct pf_uri *uri, struct pf_why *why)
{
    struct sockaddr_storage address = {0};
    socklen_t length = 0;
    int error = pf_ofi_address_socket(uri, true, (struct sockaddr *)&address, &length, why);
    if (error)
        return error;
    if (!uri->host[0] && info->src_addr) {
        set_port(info->src_addr, get_port((struct sockaddr *)&address));
        return 0;
    }
    return replace(&info->src_addr, &info->src_addrlen, &address, length);
}

int pf_ofi_address_target(struct fi_info *info, const struct pf_uri *uri, struct pf_why *why)
{
    struct sockaddr_storage address = {0};
    socklen_t length = 0;
    if (!uri->host[0] || !uri->port[0])
        return pf_why(why, -EINVAL, "%s://%s: connecting needs a host and a port", uri->scheme,
                      uri->host);
    int error = pf_ofi_address_socket(uri, false, (struct sockaddr *)&address, &length, why);
    if (error)
        return error;
    return replace(&info->dest_addr, &info->dest_addrlen, &address, length);
}

/* A device opened for listening knows a port; a connection made from it needs a free one. */
void pf_ofi_address_any_port(struct fi_info *info)
{
    if (info->src_addr)
        set_port(info->src_addr, 0);
}

static bool any_address(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* An address of this host that others can reach, for who listens on all of them. */
static void first_address(int family, struct sockaddr_storage *out)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next)
        if (at->ifa_addr && at->ifa_addr->sa_family == family && (at->ifa_flags & IFF_UP) &&
            !(at->ifa_flags & IFF_LOOPBACK)) {
            in_port_t port = get_port((struct sockaddr *)out);
            memcpy(out, at->ifa_addr,
                   family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
            set_port((struct sockaddr *)out, port);
            break;
        }
    freeifaddrs(all);
}

/* Set host and port of a URI from a bound address. */
int pf_ofi_address_uri(const void *address, struct pf_uri *uri)
{
    struct sockaddr_storage copy = {0};
    int family = ((const struct sockaddr *)address)->sa_family;
    socklen_t length =
        family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(&copy, address, length);
    if (any_address((struct sockaddr *)&copy))
        first_address(family, &copy);
    int error = getnameinfo((struct sockaddr *)&copy, length, uri->host, sizeof uri->host,
                            uri->port, sizeof uri->port, NI_NUMERICHOST | NI_NUMERICSERV);
    return error ? -EADDRNOTAVAIL : 0;
}
