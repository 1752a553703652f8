/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a session's connections are made of. A rail is one NIC with the bulk lane on it; the first
 * rail's device carries the control and urgent lanes, too.
 */
#ifndef PF_CORE_SESSION_RAIL_H
#define PF_CORE_SESSION_RAIL_H

#include "core/session/protocol.h"
#include "numa/nic.h"
#include "numa/placement.h"
#include "transport/uri_list.h"

#include <assert.h>
#include <stdatomic.h>

struct pf_session;

/* One connection and its lane. */
struct pf_port {
    struct pf_session *session;
    enum pf_role role;
    unsigned rail;
    struct pf_lane *lane;
    struct pf_endpoint *endpoint;
    bool connected;
    /* 0 while the connection is well. Set by the lane's thread, read by the control thread. */
    atomic_int status;
};

enum pf_rail_state {
    PF_RAIL_UP,
    PF_RAIL_BROKEN,  /* its connection is lost, what becomes of its pages is being settled */
    PF_RAIL_SETTLED, /* they have arrived, or the other rails carry them */
};

struct pf_rail {
    char uri[PF_URI_MAX]; /* the peer's, or where we listen */
    struct pf_device *device;
    struct pf_nic_place nic;       /* which it is, as far as that is known */
    struct pf_placement placement; /* where its threads and buffers go */
    _Atomic uint64_t bytes;        /* page data that its bulk lane carried */
    enum pf_rail_state state;      /* the control thread's */
    struct pf_port bulk;
    struct pf_port door; /* destination, but for the first rail: the lane that its listener is on */
};

/* Control, urgent, the rails' bulk lanes and doors. */
enum { PF_PORTS_MAX = 2 + 2 * PF_RAILS_MAX };

static_assert((int)PF_RAILS_MAX == (int)PF_URIS_MAX, "an address for each rail");

/* "control", "urgent", "bulk". */
const char *pf_role_name(enum pf_role role);

void pf_port_init(struct pf_port *port, struct pf_session *session, enum pf_role role,
                  unsigned rail);

/* Open a port's lane on a device. Nothing is connected yet. */
int pf_port_open(struct pf_port *port, struct pf_device *device);

/* The endpoint attributes for a port: events that keep the port's state, queue depths. */
struct pf_endpoint_attr pf_port_attr(struct pf_port *port, unsigned sends, unsigned receives,
                                     size_t receive_size);

/*
 * The connection is of no use any more: remember the first reason and wake the control thread. Any
 * thread.
 */
void pf_port_lose(struct pf_port *port, int status);

static inline bool pf_port_lost(struct pf_port *port)
{
    return atomic_load(&port->status) != 0;
}

/* Close the connection: no write of the peer lands any more. The lane's owner only. */
void pf_port_hang_up(struct pf_port *port);

/* Hang up and close the lane. */
void pf_port_close(struct pf_port *port);

/* Open the device that the rail's URI names (for_listen), or that leads to it. */
int pf_rail_open(struct pf_rail *rail, struct pf_session *session, bool for_listen);

/* After its lanes are closed and its registrations returned. */
void pf_rail_close(struct pf_rail *rail);

#endif
