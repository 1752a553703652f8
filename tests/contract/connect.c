/* SPDX-License-Identifier: BSD-2-Clause */
/* How connections come about, and how they don't. */
#include "tests/contract/rig.h"

static const struct pf_endpoint_attr *attr_of(struct rig_end *end, struct pf_endpoint_attr *attr)
{
    *attr = rig_default_attr;
    attr->events = &rig_endpoint_events;
    attr->ctx = end;
    return attr;
}

static int answer(struct rig *rig, const void *data, size_t len)
{
    struct pf_endpoint_attr attr;
    struct pf_why why = {""};
    struct pf_request *request = rig->request;
    rig->request = NULL;
    return pf_accept(request, rig->server.host->lane, attr_of(&rig->server, &attr), data, len,
                     &rig->server.endpoint, &why);
}

static void private_data(void)
{
    struct rig rig;
    uint8_t question[PF_PRIVATE_DATA_MAX], reply[PF_PRIVATE_DATA_MAX - 1];
    rig_fill((char *)question, sizeof question, 1);
    rig_fill((char *)reply, sizeof reply, 2);
    rig_open(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, question, sizeof question), 0);
    RIG_UNTIL(&rig, rig.request);
    CU_ASSERT_EQUAL(rig.asked_len, sizeof question);
    CU_ASSERT_EQUAL(memcmp(rig.asked, question, sizeof question), 0);
    CU_ASSERT_EQUAL(rig.client.connected, 0);

    CU_ASSERT_EQUAL_FATAL(answer(&rig, reply, sizeof reply), 0);
    RIG_UNTIL(&rig, rig.client.connected && rig.server.connected);
    CU_ASSERT_EQUAL(rig.client.data_len, sizeof reply);
    CU_ASSERT_EQUAL(memcmp(rig.client.data, reply, sizeof reply), 0);
    CU_ASSERT_EQUAL(rig.server.data_len, 0);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.client.connected + rig.server.connected, 2);
    CU_ASSERT_EQUAL(rig.client.closed + rig.server.closed, 0);
    CU_ASSERT_EQUAL(rig.requests, 1);
    rig_close(&rig);
}

static void too_much_private_data(void)
{
    struct rig rig;
    char data[PF_PRIVATE_DATA_MAX + 1] = "";
    rig_open(&rig);
    CU_ASSERT_EQUAL(rig_ask(&rig, &rig.client, data, sizeof data), -EINVAL);
    rig.client.endpoint = NULL;
    rig_close(&rig);
}

static void answered_later(void)
{
    struct rig rig;
    rig_open(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, "x", 1), 0);
    RIG_UNTIL(&rig, rig.request);
    /* New connections are refused from here on; this request stays valid. */
    pf_listener_close(rig.listener);
    rig.listener = NULL;
    rig_settle(&rig, 50);
    CU_ASSERT_EQUAL(rig.client.connected + rig.client.closed, 0);
    CU_ASSERT_EQUAL_FATAL(answer(&rig, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.client.connected && rig.server.connected);
    CU_ASSERT_EQUAL(rig.client.data_len, 0);
    rig_close(&rig);
}

static void refused(void)
{
    struct rig rig;
    rig_open(&rig);
    pf_listener_close(rig.listener);
    rig.listener = NULL;
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.client.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ECONNREFUSED);
    CU_ASSERT_EQUAL(rig.client.data_len, 0);
    CU_ASSERT_EQUAL(rig.client.connected, 0);
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(rig.client.closed, 1);
    rig_close(&rig);
}

static void rejected(void)
{
    struct rig rig;
    static const char reason[] = "not today: the cellar is full";
    rig_open(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.request);
    CU_ASSERT_EQUAL(rig.asked_len, 0);
    pf_reject(rig.request, reason, sizeof reason);
    rig.request = NULL;
    RIG_UNTIL(&rig, rig.client.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ECONNREFUSED);
    CU_ASSERT_EQUAL(rig.client.data_len, sizeof reason);
    CU_ASSERT_EQUAL(memcmp(rig.client.data, reason, sizeof reason), 0);
    CU_ASSERT_EQUAL(rig.client.connected, 0);

    /* The listener lives on. */
    rig_end_close(&rig.client);
    rig_join(&rig, &rig.client, &rig.server, NULL);
    rig_close(&rig);
}

static void address_in_use(void)
{
    struct rig rig;
    struct pf_listener *second;
    struct pf_why why = {""};
    rig_open(&rig);
    int err = pf_listen(rig.server_host.lane, rig.uri, rig.listener->events, &rig, &second, &why);
    CU_ASSERT_EQUAL(err, -EADDRINUSE);
    CU_ASSERT_TRUE(strlen(why.text) > 0);
    if (err == 0)
        pf_listener_close(second);
    rig_close(&rig);
}

static void bad_addresses(void)
{
    struct rig rig;
    struct pf_endpoint_attr attr;
    struct pf_listener *listener;
    struct pf_why why = {""};
    rig_open(&rig);
    struct pf_lane *lane = rig.client_host.lane;
    CU_ASSERT_EQUAL(pf_connect(lane, "no address", attr_of(&rig.client, &attr), NULL, 0,
                               &rig.client.endpoint, &why),
                    -EINVAL);
    CU_ASSERT_TRUE(strlen(why.text) > 0);
    why.text[0] = '\0';
    CU_ASSERT_EQUAL(pf_listen(lane, "no address", rig.listener->events, &rig, &listener, &why),
                    -EINVAL);
    CU_ASSERT_TRUE(strlen(why.text) > 0);
    rig.client.endpoint = NULL;
    rig_close(&rig);
}

static void too_early(void)
{
    struct rig rig;
    struct rig_memory memory;
    struct rig_op send, recv;
    rig_open(&rig);
    rig_memory_make(&memory, &rig.client_host, RIG_MESSAGE, PF_LOCAL_WRITE);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    CU_ASSERT_EQUAL(rig_send(&rig.client, &memory, 0, 8, &send), -ENOTCONN);
    /* A receive may be posted, and gets what the peer sends as soon as it can. */
    CU_ASSERT_EQUAL(rig_recv(&rig.client, &memory, 0, RIG_MESSAGE, &recv), 0);
    RIG_UNTIL(&rig, rig.request);
    CU_ASSERT_EQUAL_FATAL(answer(&rig, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.server.connected);

    struct rig_memory greeting;
    rig_memory_make(&greeting, &rig.server_host, 8, PF_LOCAL_READ);
    rig_fill(greeting.bytes, 8, 3);
    struct rig_op hello;
    RIG_POST(&rig, rig_send(&rig.server, &greeting, 0, 8, &hello));
    RIG_UNTIL(&rig, recv.calls && hello.calls);
    RIG_OK(&recv);
    CU_ASSERT_EQUAL(rig.client.connected, 1);
    CU_ASSERT_TRUE(rig_filled(memory.bytes, 8, 3));
    CU_ASSERT_EQUAL(send.calls, 0);
    rig_close(&rig);
}

static void many_in_turn(void)
{
    struct rig rig;
    rig_open(&rig);
    for (unsigned i = 0; i < 10; i++) {
        rig_join(&rig, &rig.client, &rig.server, NULL);
        rig_end_close(&rig.client);
        rig_end_close(&rig.server);
    }
    CU_ASSERT_EQUAL(rig.requests, 10);
    rig_close(&rig);
}

/* Given up by the asker before the answer: the listener's side is told, nothing leaks. */
static void given_up(void)
{
    struct rig rig;
    rig_open(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.request);
    rig_end_close(&rig.client);
    if (answer(&rig, NULL, 0) == 0)
        RIG_UNTIL(&rig, rig.server.closed);
    else
        rig.server.endpoint = NULL;
    CU_ASSERT_EQUAL(rig.client.closed + rig.client.connected, 0);
    rig_close(&rig);
}

static void two_endpoints_on_a_lane(void)
{
    struct rig rig;
    struct rig_end client = {.host = &rig.client_host}, server = {.host = &rig.server_host};
    struct rig_memory from, to[2];
    struct rig_op sent[2], got[2];
    rig_pair(&rig, NULL);
    rig_join(&rig, &client, &server, NULL);
    rig_memory_make(&from, &rig.client_host, 256, PF_LOCAL_READ);
    rig_fill(from.bytes, 256, 5);
    for (int i = 0; i < 2; i++) {
        rig_memory_make(&to[i], &rig.server_host, 256, PF_LOCAL_WRITE);
        RIG_POST(&rig, rig_recv(i ? &server : &rig.server, &to[i], 0, 256, &got[i]));
    }
    /* One at a time: only the endpoint that was sent to may have got anything. */
    RIG_POST(&rig, rig_send(&client, &from, 0, 100, &sent[1]));
    RIG_UNTIL(&rig, got[1].calls && sent[1].calls);
    CU_ASSERT_EQUAL(got[1].bytes, 100);
    CU_ASSERT_TRUE(rig_filled(to[1].bytes, 100, 5));
    rig_settle(&rig, 20);
    CU_ASSERT_EQUAL(got[0].calls, 0);

    /* The end of one leaves the other alone. */
    rig_end_close(&client);
    RIG_UNTIL(&rig, server.closed);
    RIG_POST(&rig, rig_send(&rig.client, &from, 0, 200, &sent[0]));
    RIG_UNTIL(&rig, got[0].calls && sent[0].calls);
    RIG_OK(&got[0]);
    CU_ASSERT_EQUAL(got[0].bytes, 200);
    CU_ASSERT_EQUAL(rig.server.closed + rig.client.closed, 0);
    rig_end_close(&server);
    rig_close(&rig);
}

const struct pf_test contract_connect[] = {
    {"private data both ways", private_data},
    {"too much private data", too_much_private_data},
    {"answered later, listener gone", answered_later},
    {"refused", refused},
    {"rejected with data", rejected},
    {"address in use", address_in_use},
    {"bad addresses", bad_addresses},
    {"posting before connected", too_early},
    {"ten connections in turn", many_in_turn},
    {"given up before the answer", given_up},
    {"two endpoints on a lane", two_endpoints_on_a_lane},
    {NULL, NULL},
};
