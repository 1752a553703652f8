/* SPDX-License-Identifier: BSD-2-Clause */
#include "numa/nic.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (!a || a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

static bool interface_with(const struct sockaddr *address, char nic[IF_NAMESIZE])
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return false;
    const struct ifaddrs *one = all;
    while (one && !same_host(one->ifa_addr, address))
        one = one->ifa_next;
    if (one)
        strncpy(nic, one->ifa_name, IF_NAMESIZE - 1);
    freeifaddrs(all);
    return one != NULL;
}

/* Our own address on the way to a peer. Connecting a datagram socket only looks up the route. */
static bool own_address(const struct addrinfo *peer, struct sockaddr_storage *own)
{
    socklen_t length = sizeof *own;
    int fd = socket(peer->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool found = connect(fd, peer->ai_addr, peer->ai_addrlen) == 0 &&
                 getsockname(fd, (struct sockaddr *)own, &length) == 0;
    close(fd);
    return found;
}

bool pf_nic_of_host(const char *host, bool local, char nic[IF_NAMESIZE])
{
    /* A port, because some systems refuse to connect to port 0; nothing is sent. */
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    memset(nic, 0, IF_NAMESIZE);
    if (host[0] == '\0' || getaddrinfo(host, "9", &hints, &found) != 0)
        return false;
    bool known =
        local ? interface_with(found->ai_addr, nic)
              : own_address(found, &own) && interface_with((const struct sockaddr *)&own, nic);
    freeaddrinfo(found);
    return known;
}

void pf_nic_find(const struct pf_topology *topology, const char *const *names,
                 struct pf_nic_place *place)
{
    *place = (struct pf_nic_place){.node = PF_NODE_UNKNOWN};
    for (; *names && place->node == PF_NODE_UNKNOWN; names++) {
        if (topology && **names)
            place->node = pf_topology_nic_node(topology, *names);
        if (place->node != PF_NODE_UNKNOWN || !place->name[0])
            snprintf(place->name, sizeof place->name, "%s", *names);
    }
}
