/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/contract/rig.h"

#include "tests/contract/backends.h"

#include <stdlib.h>

/* CUnit's tests take no argument: the target of the whole run is kept here, set once by main. */
static const char *target;

bool rig_choose(const char *uri)
{
    target = uri;
    return pf_transport_find(contract_backends, uri) != NULL;
}

const char *rig_target(void)
{
    return target;
}

void rig_skip(const char *reason)
{
    printf("skipped: %s ... ", reason);
}

/* A sentence that explains a failure is worth more than the assertion that follows. */
static void must(int err, const char *what, const struct pf_why *why)
{
    if (err)
        fprintf(stderr, "\n%s: %s (%s)\n", what, strerror(-err), why->text);
    CU_ASSERT_EQUAL_FATAL(err, 0);
}

void rig_lane_open(struct rig_host *host, struct pf_device *device)
{
    struct pf_why why = {""};
    struct pf_lane_attr attr = {.depth = 0};
    host->device = device;
    pf_list_init(&host->memories);
    must(pf_lane_open(device, &attr, &host->lane, &why), "opening a lane", &why);
}

void rig_host_open(struct rig_host *host, bool for_listen, const char *uri)
{
    struct pf_why why = {""};
    struct pf_device_attr attr = {
        .uri = uri,
        .for_listen = for_listen,
        .node = PF_NODE_ANY,
        .transports = contract_backends,
    };
    const struct pf_transport *transport = pf_transport_find(contract_backends, uri);
    CU_ASSERT_PTR_NOT_NULL_FATAL(transport);
    if (!transport)
        return; /* not reached: the compiler does not know that the assertion jumps */
    must(pf_device_open(transport, &attr, &host->device, &why), "opening a device", &why);
    rig_lane_open(host, host->device);
}

void rig_host_close(struct rig_host *host)
{
    if (!host->lane)
        return;
    pf_lane_close(host->lane);
    struct pf_list *item;
    while ((item = pf_list_pop(&host->memories))) {
        struct rig_memory *memory = pf_container_of(item, struct rig_memory, on_host);
        pf_mr_dereg(memory->mr);
        free(memory->whole);
    }
    pf_device_close(host->device);
    host->lane = NULL;
}

static void note_data(struct rig_end *end, const void *data, size_t len)
{
    end->data_len = len;
    if (len > sizeof end->data)
        end->strange = true;
    else if (len)
        memcpy(end->data, data, len);
}

static void on_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    struct rig_end *end = ctx;
    if (end->endpoint && end->endpoint != endpoint)
        end->strange = true;
    end->connected++;
    note_data(end, data, len);
    if (end->close_at_once)
        rig_end_close(end);
}

static void on_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                      size_t len)
{
    struct rig_end *end = ctx;
    if (end->endpoint && end->endpoint != endpoint)
        end->strange = true;
    end->closed++;
    end->closed_status = status;
    note_data(end, data, len);
    if (end->close_at_once)
        rig_end_close(end);
}

const struct pf_endpoint_events rig_endpoint_events = {on_connected, on_closed};

const struct pf_endpoint_attr rig_default_attr = {
    .send_depth = RIG_DEPTH,
    .recv_depth = RIG_DEPTH,
    .recv_size = RIG_MESSAGE,
};

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct rig *rig = ctx;
    if (rig->request || len > sizeof rig->asked)
        rig->strange = true;
    rig->request = request;
    rig->requests++;
    rig->asked_len = len;
    if (len && !rig->strange)
        memcpy(rig->asked, data, len);
}

static const struct pf_listener_events listener_events = {on_request};

void rig_open(struct rig *rig)
{
    struct pf_why why = {""};
    *rig = (struct rig){.requests = 0};
    rig_host_open(&rig->server_host, true, target);
    must(pf_listen(rig->server_host.lane, target, &listener_events, rig, &rig->listener, &why),
         "listening", &why);
    CU_ASSERT_EQUAL_FATAL(pf_listener_uri(rig->listener, rig->uri, sizeof rig->uri), 0);
    rig_host_open(&rig->client_host, false, rig->uri);
    rig->server.host = &rig->server_host;
    rig->client.host = &rig->client_host;
}

void rig_pair(struct rig *rig, const struct pf_endpoint_attr *attr)
{
    rig_open(rig);
    rig_join(rig, &rig->client, &rig->server, attr);
}

void rig_end_close(struct rig_end *end)
{
    if (end->endpoint)
        pf_endpoint_close(end->endpoint);
    end->endpoint = NULL;
}

void rig_close(struct rig *rig)
{
    CU_ASSERT_FALSE(rig->strange || rig->client.strange || rig->server.strange);
    rig_end_close(&rig->client);
    rig_end_close(&rig->server);
    if (rig->listener)
        pf_listener_close(rig->listener);
    rig_host_close(&rig->client_host);
    rig_host_close(&rig->server_host);
}

static struct pf_endpoint_attr attr_for(const struct pf_endpoint_attr *attr, struct rig_end *end)
{
    struct pf_endpoint_attr own = attr ? *attr : rig_default_attr;
    own.events = &rig_endpoint_events;
    own.ctx = end;
    return own;
}

int rig_ask(struct rig *rig, struct rig_end *end, const void *data, size_t len)
{
    struct pf_why why = {""};
    struct pf_endpoint_attr attr = attr_for(NULL, end);
    return pf_connect(end->host->lane, rig->uri, &attr, data, len, &end->endpoint, &why);
}

void rig_join(struct rig *rig, struct rig_end *client, struct rig_end *server,
              const struct pf_endpoint_attr *attr)
{
    struct pf_why why = {""};
    client->connected = server->connected = client->closed = server->closed = 0;
    struct pf_endpoint_attr client_attr = attr_for(attr, client);
    struct pf_endpoint_attr server_attr = attr_for(attr, server);
    must(pf_connect(client->host->lane, rig->uri, &client_attr, NULL, 0, &client->endpoint, &why),
         "connecting", &why);
    RIG_UNTIL(rig, rig->request || client->closed);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->request);
    struct pf_request *request = rig->request;
    rig->request = NULL;
    must(pf_accept(request, server->host->lane, &server_attr, NULL, 0, &server->endpoint, &why),
         "accepting", &why);
    RIG_UNTIL(rig, client->connected && server->connected);
}

int rig_step(struct rig *rig)
{
    int client = rig->client_host.lane ? pf_progress(rig->client_host.lane, 64) : 0;
    int server = rig->server_host.lane ? pf_progress(rig->server_host.lane, 64) : 0;
    if (client < 0 || server < 0)
        rig->strange = true;
    if (client + server == 0)
        sched_yield();
    return client + server;
}

bool rig_late(uint64_t *since)
{
    uint64_t now = pf_now_ns();
    if (!*since)
        *since = now;
    return now - *since > RIG_DEADLINE_S * 1000000000ull;
}

void rig_settle(struct rig *rig, unsigned milliseconds)
{
    uint64_t end = pf_now_ns() + (uint64_t)milliseconds * 1000000;
    while (pf_now_ns() < end)
        rig_step(rig);
}

static void record(struct pf_op *op, int status, size_t bytes)
{
    struct rig_op *self = pf_container_of(op, struct rig_op, op);
    self->calls++;
    self->status = status;
    self->bytes = bytes;
    if (self->then)
        self->then(self);
}

void rig_op_init(struct rig_op *op)
{
    *op = (struct rig_op){.op.done = record, .status = 1};
}

void rig_memory_inside(struct rig_memory *memory, struct rig_host *host, size_t len, size_t margin,
                       unsigned access)
{
    struct pf_why why = {""};
    memory->len = len;
    memory->whole = calloc(1, len + 2 * margin);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory->whole);
    memory->bytes = memory->whole + margin;
    must(pf_mr_reg(host->device, memory->bytes, len, access, &memory->mr, &why),
         "registering memory", &why);
    pf_list_append(&host->memories, &memory->on_host);
}

void rig_memory_make(struct rig_memory *memory, struct rig_host *host, size_t len, unsigned access)
{
    rig_memory_inside(memory, host, len, 0, access);
}

static char pattern(size_t at, unsigned seed)
{
    /* Differs from place to place and from page to page. */
    return (char)(at * 7 + (at >> 8) * 13 + (at >> 12) * 31 + (size_t)seed * 101 + 1);
}

void rig_fill(char *at, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        at[i] = pattern(i, seed);
}

bool rig_filled(const char *at, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != pattern(i, seed))
            return false;
    return true;
}

bool rig_all(const char *at, size_t len, char byte)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != byte)
            return false;
    return true;
}

struct pf_sge rig_sge(const struct rig_memory *memory, size_t offset, size_t len)
{
    return (struct pf_sge){memory->mr, memory->bytes + offset, len};
}

struct pf_rkey rig_key(const struct rig_memory *memory, struct rig_end *owner, struct rig_end *user)
{
    uint8_t packed[PF_RKEY_BYTES];
    struct pf_rkey key = {0};
    CU_ASSERT_EQUAL_FATAL(pf_rkey_pack(memory->mr, owner->endpoint, packed), 0);
    CU_ASSERT_EQUAL_FATAL(pf_rkey_unpack(user->endpoint, packed, &key), 0);
    return key;
}

uint64_t rig_address(const struct rig_memory *memory, size_t offset)
{
    return (uintptr_t)memory->bytes + offset;
}

int rig_send(struct rig_end *end, const struct rig_memory *memory, size_t offset, size_t len,
             struct rig_op *op)
{
    struct pf_sge sge = rig_sge(memory, offset, len);
    rig_op_init(op);
    return pf_send(end->endpoint, &sge, 1, &op->op);
}

int rig_recv(struct rig_end *end, const struct rig_memory *memory, size_t offset, size_t len,
             struct rig_op *op)
{
    struct pf_sge sge = rig_sge(memory, offset, len);
    rig_op_init(op);
    return pf_recv(end->endpoint, &sge, &op->op);
}
