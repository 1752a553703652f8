/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"
#include "service/probe.h"

static void not_built(struct pf_probe *probe)
{
    pf_probe_not_built(probe, "verbs", "build with -DPAGEFERRY_VERBS=ON (libibverbs, librdmacm)");
}

#ifdef PF_HAVE_VERBS
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

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
        snprintf(name, sizeof name, "verbs:%.28s:%d", device, number);
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
    if (!pf_transport_find(pf_backends, "verbs")) {
        not_built(probe);
        return;
    }
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
    not_built(probe);
}
#endif
