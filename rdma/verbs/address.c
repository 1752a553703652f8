/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/objects.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

int pf_verbs_resolve(const char *host, const char *port, struct sockaddr_storage *address,
                     struct pf_why *why)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int rc = getaddrinfo(host, port[0] ? port : "0", &hints, &found);
    if (rc != 0)
        return pf_why(why, -EINVAL,
                      "looking up the address of \"%s\": %s; name the host by its IP address on "
                      "the RDMA network",
                      host, gai_strerror(rc));
    memset(address, 0, sizeof *address);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

bool pf_verbs_host_is_any(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

void pf_verbs_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

const char *pf_verbs_address_text(const struct sockaddr_storage *address,
                                  char text[PF_VERBS_ADDRESS_TEXT])
{
    socklen_t size =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getnameinfo((const struct sockaddr *)address, size, text, PF_VERBS_ADDRESS_TEXT, NULL, 0,
                    NI_NUMERICHOST) != 0)
        snprintf(text, PF_VERBS_ADDRESS_TEXT, "?");
    return text;
}

/* Only the connection manager knows which addresses are those of RDMA devices: ask by binding. */
static bool is_rdma(const struct sockaddr *address)
{
    struct rdma_cm_id *id;
    if (rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP) != 0)
        return false;
    bool bound = rdma_bind_addr(id, (struct sockaddr *)address) == 0 && id->verbs;
    rdma_destroy_id(id);
    return bound;
}

static bool find_among(const struct ifaddrs *all, int family, struct sockaddr_storage *address)
{
    for (; all; all = all->ifa_next) {
        if (!all->ifa_addr || all->ifa_addr->sa_family != family || !(all->ifa_flags & IFF_UP) ||
            (all->ifa_flags & IFF_LOOPBACK) || !is_rdma(all->ifa_addr))
            continue;
        memset(address, 0, sizeof *address);
        memcpy(address, all->ifa_addr,
               family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        return true;
    }
    return false;
}

int pf_verbs_first_local(struct sockaddr_storage *address, struct pf_why *why)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return pf_why(why, -errno, "listing this host's network addresses: %m");
    bool found = find_among(all, AF_INET, address) || find_among(all, AF_INET6, address);
    freeifaddrs(all);
    if (!found)
        return pf_why(why, -ENODEV,
                      "no RDMA device of this host has an IP address: give its network interface "
                      "one (ip address add), RoCE and the connection manager need it");
    return 0;
}
