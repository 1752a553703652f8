/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clients of a job at its destination, served by a thread of its own: it takes their
 * connections, checks what they send, hands their targets to the fault thread and gets them back.
 * It touches no region. What is said is described in docs/clients.md.
 */
#ifndef PF_CORE_CLIENTS_CLIENTS_H
#define PF_CORE_CLIENTS_CLIENTS_H

#include "core/arrival/arrival.h"
#include "core/clients/client_message.h"

struct ferry_job;
struct pf_clients;

/* How clients speak: our own protocol, or another program's (adapters/). */
struct pf_client_kind {
    const char *name;
    bool answers; /* they are told what became of them; and hanging up means leaving */
    int (*take)(struct pf_client_message *message, struct json_object *json, struct pf_why *why);
};

extern const struct pf_client_kind pf_client_generic;

struct pf_clients_attr {
    struct ferry_job *job;
    const char *path; /* of the socket */
    const struct pf_client_kind *kind;
    bool home;            /* the first client's memory is the job's: see pf_clients_await_home() */
    unsigned patience_ms; /* for a message to come whole */
};

enum { PF_CLIENT_PATIENCE_MS = 5000 };

/* Where clients of a job of this name connect: NAME.clients beside its control socket. */
int pf_clients_path(const char *name, char *out, size_t size, struct pf_why *why);

int pf_clients_open(struct pf_clients **clients, const struct pf_clients_attr *attr,
                    struct pf_why *why);
/* After the last arrival was detached. NULL is fine, here and below. */
void pf_clients_close(struct pf_clients *clients);

/* Wait for the client whose memory is the job's; its regions are the job's then. -ECANCELED. */
int pf_clients_await_home(struct pf_clients *clients);

/*
 * An arrival begins, its fault thread does not run yet: clients are its targets from here on,
 * those that are there and those that come.
 */
void pf_clients_attach(struct pf_clients *clients, struct pf_arrival *arrival);

/*
 * Does a client watch already that can't be given minor faults? What it watches is placed by copy:
 * it waits for missing pages only, and in place it would read a page that is half written.
 */
bool pf_clients_watch_blind(struct pf_clients *clients);

/*
 * The fault thread has ended. complete: every page is here; clients are let go and told so.
 * Otherwise they wait for another arrival.
 */
void pf_clients_detach(struct pf_clients *clients, bool complete);

/* Has the client ended whose memory is the job's? 0, or -ESRCH and the sentence. */
int pf_clients_failure(struct pf_clients *clients, struct pf_why *why);

#endif
