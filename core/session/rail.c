/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/rail.h"

#include "core/backends.h"
#include "core/session/session.h"
#include "pageferry.h"

#include <string.h>

const char *pf_role_name(enum pf_role role)
{
    static const char *const names[PF_ROLE_COUNT] = {"control", "urgent", "bulk"};
    return names[role];
}

static void port_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    struct pf_port *port = ctx;
    port->connected = true;
}

/* What a rejection says, as pf_destination writes it: a code and the beginning of a sentence. */
static int rejection(struct pf_port *port, int status, const void *data, size_t len)
{
    struct pf_session *session = port->session;
    if (status != -ECONNREFUSED || len < 2)
        return pf_why(&session->why, status, "%s%sthe %s connection %s: %s",
                      session->for_listen ? "" : session->rails[port->rail].uri,
                      session->for_listen ? "" : ": ", pf_role_name(port->role),
                      port->connected ? "broke" : "could not be made", ferry_strerror(status));
    uint8_t copy[PF_PRIVATE_DATA_MAX];
    memcpy(copy, data, len);
    int code = -(copy[0] | copy[1] << 8);
    return pf_why(&session->why, code < 0 ? code : -ECONNREFUSED, "the destination refused: %.*s",
                  (int)(len - 2), (const char *)copy + 2);
}

static void port_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                        size_t len)
{
    (void)endpoint;
    struct pf_port *port = ctx;
    if (status == 0)
        status = -ECONNRESET;
    /* The urgent and bulk lanes have threads of their own: they may not write session->why. */
    struct pf_session *session = port->session;
    if (session->lanes_driven && !session->ended &&
        !(port->role == PF_ROLE_BULK && session->outlives))
        status = rejection(port, status, data, len);
    pf_port_lose(port, status);
}

void pf_port_lose(struct pf_port *port, int status)
{
    int well = 0;
    if (atomic_compare_exchange_strong(&port->status, &well, status))
        pf_session_wake(port->session);
}

struct pf_endpoint_attr pf_port_attr(struct pf_port *port, unsigned sends, unsigned receives,
                                     size_t receive_size)
{
    static const struct pf_endpoint_events events = {
        .connected = port_connected,
        .closed = port_closed,
    };
    return (struct pf_endpoint_attr){
        .events = &events,
        .ctx = port,
        .send_depth = sends,
        .recv_depth = receives,
        .recv_size = receive_size,
    };
}

void pf_port_init(struct pf_port *port, struct pf_session *session, enum pf_role role,
                  unsigned rail)
{
    *port = (struct pf_port){.session = session, .role = role, .rail = rail};
    atomic_init(&port->status, 0);
}

int pf_port_open(struct pf_port *port, struct pf_device *device)
{
    unsigned depth = device->caps.max_depth;
    /* The urgent lane may have all slots there can be: a request or two answers and a receive each.
     */
    struct pf_lane_attr attr = {
        .depth = port->role == PF_ROLE_URGENT
                     ? 3 * (depth < PF_SLOTS_MAX ? depth : PF_SLOTS_MAX) + PF_TRAYS_MAX
                     : 0,
    };
    return pf_lane_open(device, &attr, &port->lane, &port->session->why);
}

void pf_port_hang_up(struct pf_port *port)
{
    if (port->endpoint)
        pf_endpoint_close(port->endpoint);
    port->endpoint = NULL;
}

void pf_port_close(struct pf_port *port)
{
    pf_port_hang_up(port);
    if (port->lane)
        pf_lane_close(port->lane);
    port->lane = NULL;
}

int pf_rail_open(struct pf_rail *rail, struct pf_session *session, bool for_listen)
{
    const char *uri = rail->uri;
    const struct pf_transport *transport = pf_transport_find(pf_backends, uri);
    if (!transport)
        return pf_why(&session->why, -EPROTONOSUPPORT,
                      "no transport answers \"%.100s\": see `pageferry probe` for those built in",
                      uri);
    struct pf_device_attr attr = {
        .uri = uri,
        .for_listen = for_listen,
        .node = PF_NODE_ANY,
        .transports = pf_backends,
    };
    return pf_device_open(transport, &attr, &rail->device, &session->why);
}

void pf_rail_close(struct pf_rail *rail)
{
    if (rail->device)
        pf_device_close(rail->device);
    rail->device = NULL;
}
