/* SPDX-License-Identifier: BSD-2-Clause */
/* `receive --client`: this process is the destination, the memory is another process's. */
#ifndef PF_SERVICE_RECEIVE_CLIENT_H
#define PF_SERVICE_RECEIVE_CLIENT_H

#include "core/clients/clients.h"
#include "service/launch.h"

/* The kind of that name, or NULL. */
const struct pf_client_kind *pf_client_kind(const char *name);

/*
 * Wait for the client at the socket, then for the source at launch->uri, and serve the client's
 * page faults until all of its memory is there. Returns the exit status.
 */
int pf_receive_client(struct pf_launch *launch, const struct pf_client_kind *kind,
                      const char *socket);

#endif
