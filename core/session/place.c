/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/place.h"

#include "numa/nic.h"
#include "transport/uri.h"

#include <unistd.h>

/* The NIC by the names that are known, the best first: the node is by the first that tells it. */
static void find_nic(const struct pf_topology *topology, struct pf_rail *rail, bool local)
{
    struct pf_uri uri;
    char interface[IF_NAMESIZE] = "";
    if (pf_uri_parse(rail->uri, &uri, NULL) == 0 && uri.host[0])
        pf_nic_of_host(uri.host, local, interface);
    const struct pf_nic *nic = &rail->device->nic;
    const char *const names[] = {nic->name, nic->bus, interface, NULL};
    pf_nic_find(topology, names, &rail->nic);
}

static int place_rail(const struct pf_topology *topology, struct pf_rail *rail,
                      struct pf_placement_request *request, struct pf_session *session)
{
    find_nic(topology, rail, session->for_listen);
    request->nic = topology && rail->nic.name[0] ? rail->nic.name : NULL;
    return pf_placement_choose(topology, request, &rail->placement, &session->why);
}

static int place_rails(const struct pf_topology *topology, struct pf_placement_request *request,
                       struct pf_session *session)
{
    int error = 0;
    for (unsigned i = 0; i < session->rails_open && !error; i++)
        error = place_rail(topology, &session->rails[i], request, session);
    return error;
}

/* All CPUs: too few to pin anything to some of them. */
static int place_anywhere(unsigned cpus, struct pf_placement_request *request,
                          struct pf_session *session)
{
    CPU_ZERO(&request->allowed);
    for (unsigned i = 0; i < cpus; i++)
        CPU_SET(i, &request->allowed);
    return place_rails(NULL, request, session);
}

int pf_session_place(struct pf_session *session)
{
    struct pf_topology topology;
    struct pf_placement_request request = {.mode = session->options->placement};
    unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (!pf_placement_needs_topology(request.mode, cpus, pf_topology_one_node()))
        return place_anywhere(cpus, &request, session);
    int error = pf_process_affinity(&request.job, &session->why);
    if (!error)
        error = pf_topology_load(&topology, &session->why);
    if (error)
        return error;
    pf_topology_allowed_cpus(&topology, &request.allowed);
    error = place_rails(&topology, &request, session);
    pf_topology_unload(&topology);
    return error;
}
