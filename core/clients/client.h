/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One client: another process whose faults are served here. What it sent becomes a target.
 */
#ifndef PF_CORE_CLIENTS_CLIENT_H
#define PF_CORE_CLIENTS_CLIENT_H

#include "base/list.h"
#include "core/arrival/target.h"
#include "core/clients/client_link.h"
#include "core/clients/client_message.h"

enum pf_client_state {
    PF_CLIENT_READING, /* its message has not come whole */
    PF_CLIENT_WAITING, /* for an arrival to begin */
    PF_CLIENT_JOINING, /* the fault thread was asked to serve it */
    PF_CLIENT_SERVED,
    PF_CLIENT_LEAVING, /* the fault thread was asked to give it back */
    PF_CLIENT_KEPT,    /* not served any more, but its descriptor has no other holder */
};

struct pf_client {
    struct pf_list link;
    struct pf_client_link wire;
    struct pf_uffd uffd;
    struct pf_target target;
    enum pf_client_state state;
    bool zeropage;     /* UFFDIO_ZEROPAGE works on its ranges */
    uint64_t since_ns; /* connected */
    bool welcome;      /* has been told that it is served */
    bool gone;         /* hung up or ended */
};

/* More views than mappings: unmapping and remapping split them. */
enum { PF_CLIENT_VIEWS = 1024 };

/* An empty client with a target to be filled in, for a child that is yet to be forked; or NULL. */
struct pf_client *pf_client_spare(void);

/* Close what it has and free it. It may be on no list. */
void pf_client_free(struct pf_client *client);

/*
 * While no fault thread serves it: take its events, so that its threads don't wait for these.
 * Faults that are read with them are raised again by pf_client_wake(). A child that was forked is
 * another client, which *child gets. -errno: it can't be served.
 */
int pf_client_idle_events(struct pf_client *client, struct pf_client **child);

/* Let every thread that waits for a page fault once more. */
void pf_client_wake(const struct pf_client *client);

/*
 * Take over the descriptor that came with the message. -EBADF none came; -EINVAL it is no
 * userfaultfd, or UFFDIO_API was never done on it.
 */
int pf_client_take_uffd(struct pf_client *client, struct pf_why *why);

/*
 * Let the target show the mappings, and have the kernel register every one with the client's
 * userfaultfd: for ranges that the client registered that changes nothing, and it proves that the
 * descriptor belongs to memory that has these ranges. region ids come from `regions`.
 */
int pf_client_show(struct pf_client *client, const struct pf_client_message *message,
                   const struct pf_regions *regions, bool home, struct pf_why *why);

/* May a job with these regions be watched through these mappings? */
int pf_client_check_watch(const struct pf_client_message *message, const struct pf_regions *regions,
                          struct pf_why *why);

/* Make regions of a client's private memory: each name's mappings cover it from 0 to its end. */
int pf_client_make_regions(const struct pf_client_message *message, struct pf_regions *regions,
                           struct pf_why *why);

#endif
