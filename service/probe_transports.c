/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transports that were built, asked about their devices through the libraries they use. A
 * transport that was left out of the build is a no.
 */
#include "core/backends.h"
#include "service/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void not_built(struct pf_probe *probe, const char *name, const char *remedy)
{
    pf_probe_remedy(pf_probe_no(probe, name, "this build was made without it"), "%s", remedy);
}

void pf_probe_tcp(struct pf_probe *probe)
{
    if (!pf_transport_find(pf_backends, "tcp")) {
        not_built(probe, "tcp", "use a build that has it");
        return;
    }
    struct sockaddr_in loopback = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0 &&
        listen(fd, 1) == 0) {
        pf_probe_yes(probe, "tcp", "sockets work");
        probe->transport = true;
    } else {
        pf_probe_no(probe, "tcp", "can't listen on a TCP socket: %s", strerror(errno));
    }
    if (fd >= 0)
        close(fd);
}

#ifdef PF_HAVE_VERBS
#include <infiniband/verbs.h>

static const char *link_layer(const struct ibv_port_attr *port)
{
    return port->link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "InfiniBand";
}

/* One line for each port; an inactive one is a no. */
static void probe_ports(struct pf_probe *probe, struct ibv_context *context, const char *device)
{
    struct ibv_device_attr attr;
    if (ibv_query_device(context, &attr) != 0) {
        pf_probe_no(probe, device, "can't query the device");
        return;
    }
    for (int number = 1; number <= attr.phys_port_cnt; number++) {
        struct ibv_port_attr port;
        char name[48];
        snprintf(name, sizeof name, "verbs:%.32s:%d", device, number);
        if (ibv_query_port(context, (uint8_t)number, &port) != 0) {
            pf_probe_no(probe, name, "can't query the port");
        } else if (port.state != IBV_PORT_ACTIVE) {
            pf_probe_remedy(
                pf_probe_no(probe, name, "the port is %s", ibv_port_state_str(port.state)),
                "bring its network interface up, or see to the cable");
        } else {
            pf_probe_yes(probe, name, "active, %s", link_layer(&port));
            probe->transport = true;
        }
    }
}

static void probe_device(struct pf_probe *probe, struct ibv_device *device)
{
    char name[48];
    struct ibv_context *context = ibv_open_device(device);
    if (context) {
        probe_ports(probe, context, ibv_get_device_name(device));
        ibv_close_device(context);
        return;
    }
    snprintf(name, sizeof name, "verbs:%.40s", ibv_get_device_name(device));
    pf_probe_remedy(pf_probe_no(probe, name, "can't open the device: %s", strerror(errno)),
                    "look at the permissions of /dev/infiniband/uverbs*");
}

void pf_probe_verbs(struct pf_probe *probe)
{
    int count = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    for (int i = 0; devices && i < count; i++)
        probe_device(probe, devices[i]);
    if (count == 0)
        pf_probe_remedy(pf_probe_no(probe, "verbs", "no RDMA device"),
                        "load the NIC's driver, or make a software one: modprobe rdma_rxe && "
                        "rdma link add rxe0 type rxe netdev eth0");
    if (devices)
        ibv_free_device_list(devices);
}
#else
void pf_probe_verbs(struct pf_probe *probe)
{
    not_built(probe, "verbs", "build with -DPAGEFERRY_VERBS=ON (libibverbs, librdmacm)");
}
#endif

#ifdef PF_HAVE_OFI
#include <rdma/fabric.h>

/* Append a provider's name once. */
static void add_provider(char *list, size_t size, const char *provider)
{
    char padded[160];
    char wanted[80];
    snprintf(padded, sizeof padded, " %s ", list);
    snprintf(wanted, sizeof wanted, " %.60s ", provider);
    if (strstr(padded, wanted))
        return;
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? " " : "", provider);
}

void pf_probe_ofi(struct pf_probe *probe)
{
    struct fi_info *all = NULL;
    char providers[160] = "";
    int error = fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, NULL, &all);
    for (struct fi_info *info = all; info; info = info->next)
        if (info->fabric_attr && info->fabric_attr->prov_name)
            add_provider(providers, sizeof providers, info->fabric_attr->prov_name);
    if (all)
        fi_freeinfo(all);
    if (providers[0]) {
        pf_probe_yes(probe, "ofi", "libfabric providers: %s", providers);
        probe->transport = true;
    } else {
        pf_probe_remedy(
            pf_probe_no(probe, "ofi", "libfabric has no provider (%s)", fi_strerror(-error)),
            "see fi_info and FI_PROVIDER_PATH");
    }
}
#else
void pf_probe_ofi(struct pf_probe *probe)
{
    not_built(probe, "ofi", "build with -DPAGEFERRY_OFI=ON (libfabric)");
}
#endif
