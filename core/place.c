/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/place.h"

#include "numa/nic.h"
#include "transport/uri.h"

#include <string.h>

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
    request->nic = rail->nic.name[0] ? rail->nic.name : NULL;
    return pf_placement_choose(topology, request, &rail->placement, &session->why);
}

int pf_session_place(struct pf_session *session)
{
    struct pf_topology topology;
    struct pf_placement_request request = {.mode = session->options->placement};
    int error = pf_process_affinity(&request.job, &session->why);
    if (!error)
        error = pf_topology_load(&topology, &session->why);
    if (error)
        return error;
    pf_topology_allowed_cpus(&topology, &request.allowed);
    for (unsigned i = 0; i < session->rails_open && !error; i++)
        error = place_rail(&topology, &session->rails[i], &request, session);
    pf_topology_unload(&topology);
    return error;
}
