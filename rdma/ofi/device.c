/* SPDX-License-Identifier: BSD-2-Clause */
/* A device: libfabric's fabric and domain. */
#include "rdma/ofi/internal.h"

#include "rdma/ofi/ofi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * libfabric's registration cache would watch memory through a userfaultfd of its own, and a range
 * can be registered with only one: it would take the job's regions away from us. The cache's
 * monitor is chosen when libfabric is first used in the process, and by the environment alone; a
 * value of the user's stays. setenv() is not thread-safe against getenv() elsewhere, so this is
 * the one place that does it, and a program with other threads may set the variable itself.
 */
static void disable_cache_monitor(void)
{
    if (!getenv("FI_MR_CACHE_MONITOR"))
        setenv("FI_MR_CACHE_MONITOR", "disabled", 0);
}

static int parse(const char *text, struct pf_uri *uri, struct pf_why *why)
{
    int error = pf_uri_parse(text, uri, why);
    if (error)
        return error;
    if (strncmp(uri->scheme, "ofi+", 4) == 0)
        return 0;
    pf_why(why, -EINVAL, "\"%.100s\": the ofi back end serves ofi+PROVIDER:// only", text);
    return -EINVAL;
}

static bool can_sleep(struct pf_ofi_device *device)
{
    struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_FD, .size = 1};
    struct fid_cq *cq;
    int fd;
    if (fi_cq_open(device->domain, &attr, &cq, NULL))
        return false;
    bool works = fi_control(&cq->fid, FI_GETWAIT, &fd) == 0;
    fi_close(&cq->fid);
    return works;
}

/*
 * The software providers verify a key at the target, but none of them tells the writer: shm drops a
 * small write without a word and leaves a large one posted for ever. There we check first. The
 * stream providers (tcp, net) break the connection, which is answer enough.
 */
static bool silent_about_keys(const struct fi_info *info)
{
    return strncmp(info->fabric_attr->prov_name, "shm", 3) == 0;
}

/* Providers for hardware say which NIC they use; tcp and shm don't. */
static void name_nic(const struct fid_nic *from, struct pf_nic *nic)
{
    if (from && from->device_attr && from->device_attr->name)
        snprintf(nic->name, sizeof nic->name, "%s", from->device_attr->name);
    if (!from || !from->bus_attr || from->bus_attr->bus_type != FI_BUS_PCI)
        return;
    const struct fi_pci_attr *pci = &from->bus_attr->attr.pci;
    snprintf(nic->bus, sizeof nic->bus, "%04x:%02x:%02x.%x", pci->domain_id, pci->bus_id,
             pci->device_id, pci->function_id);
}

static void describe(struct pf_ofi_device *device)
{
    const struct fi_info *info = device->info;
    bool messages = info->ep_attr->type == FI_EP_MSG;
    device->device.transport = &pf_ofi_transport;
    pf_ofi_info_caps(info, &device->device.caps);
    device->device.caps.can_sleep = can_sleep(device);
    name_nic(info->nic, &device->device.nic);
    device->cm = messages ? &pf_ofi_cm_msg : &pf_ofi_cm_side;
    device->local = info->addr_format == FI_ADDR_STR;
    device->imm_takes_rx = (info->mode & FI_RX_CQ_DATA) != 0;
    device->orders_sends = (info->tx_attr->msg_order & FI_ORDER_SAW) != 0;
    device->checks_keys = silent_about_keys(info);
}

static int open_domain(struct pf_ofi_device *device, struct pf_why *why)
{
    const char *provider = device->info->fabric_attr->prov_name;
    int error = fi_fabric(device->info->fabric_attr, &device->fabric, NULL);
    if (error)
        return pf_why(why, pf_ofi_error(error), "opening libfabric's %s provider: %s", provider,
                      fi_strerror(-error));
    error = fi_domain(device->fabric, device->info, &device->domain, NULL);
    if (error) {
        fi_close(&device->fabric->fid);
        return pf_why(why, pf_ofi_error(error), "opening %s of libfabric's %s provider: %s",
                      device->info->domain_attr->name, provider, fi_strerror(-error));
    }
    return 0;
}

int pf_ofi_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                       struct pf_why *why)
{
    struct pf_uri uri;
    int error = parse(attr->uri, &uri, why);
    if (error)
        return error;
    struct pf_ofi_device *opened = calloc(1, sizeof *opened);
    if (!opened) {
        pf_why(why, -ENOMEM, "opening %s: out of memory", attr->uri);
        return -ENOMEM;
    }
    disable_cache_monitor();
    error = pf_ofi_info_find(&uri, attr->for_listen, &opened->info, why);
    if (error)
        goto free_device;
    error = open_domain(opened, why);
    if (error)
        goto free_info;
    pthread_mutex_init(&opened->lock, NULL);
    pf_list_init(&opened->graves);
    describe(opened);
    *device = &opened->device;
    return 0;

free_info:
    fi_freeinfo(opened->info);
free_device:
    free(opened);
    return error;
}

void pf_ofi_device_close(struct pf_device *device)
{
    struct pf_ofi_device *closed = pf_ofi_device_of(device);
    pf_ofi_grave_sweep(closed);
    pthread_mutex_destroy(&closed->lock);
    fi_close(&closed->domain->fid);
    fi_close(&closed->fabric->fid);
    fi_freeinfo(closed->info);
    free(closed);
}

/* Whether a provider can sleep shows only on an open domain, so a query opens one. */
int pf_ofi_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why)
{
    struct pf_device *device;
    int error = pf_ofi_device_open(attr, &device, why);
    if (error)
        return error;
    *caps = device->caps;
    pf_ofi_device_close(device);
    return 0;
}
