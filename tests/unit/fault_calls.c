/* SPDX-License-Identifier: BSD-2-Clause */
/* What each kind of fault does to the calls that make devices, lanes and connections. */
#include "tests/contract/backends.h"
#include "tests/unit/fault_rig.h"

static int open_device(const char *uri, struct pf_device **device, struct pf_why *why)
{
    struct pf_device_attr attr = {.uri = uri, .node = PF_NODE_ANY, .transports = contract_backends};
    return pf_device_open(&pf_fault_transport, &attr, device, why);
}

static void failing_calls(void)
{
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_mr *mr;
    struct pf_lane_attr lane_attr = {0};
    struct pf_why why = {""};
    char byte;
    CU_ASSERT_EQUAL(open_device("fault+inproc://x?at=1&do=fail", &device, &why), -EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "at=1"));

    CU_ASSERT_EQUAL_FATAL(open_device("fault+inproc://x?at=2&do=fail", &device, &why), 0);
    CU_ASSERT_EQUAL(pf_lane_open(device, &lane_attr, &lane, &why), -EIO);
    CU_ASSERT_TRUE(pf_fault_fired(device));
    /* Once, and never again. */
    CU_ASSERT_EQUAL_FATAL(pf_lane_open(device, &lane_attr, &lane, &why), 0);
    pf_lane_close(lane);
    pf_device_close(device);

    CU_ASSERT_EQUAL_FATAL(open_device("fault+inproc://x?at=2", &device, &why), 0);
    CU_ASSERT_EQUAL(pf_mr_reg(device, &byte, 1, PF_LOCAL_READ, &mr, &why), -EIO);
    CU_ASSERT_EQUAL(pf_fault_count(device), 2);
    pf_device_close(device);
}

static void failing_connect(void)
{
    struct rig rig;
    faulty_client(&rig, "at=3&do=fail");
    CU_ASSERT_EQUAL(rig_ask(&rig, &rig.client, NULL, 0), -EIO);
    rig.client.endpoint = NULL;
    rig_settle(&rig, 10);
    CU_ASSERT_EQUAL(rig.requests, 0);
    CU_ASSERT_TRUE(pf_fault_fired(rig.client_host.device));
    rig_close(&rig);
}

/* Here the listening side goes wrong: device 1, lane 2, listen 3, accept 4. */
static void listening_scene(struct rig *rig, const char *options, char uri[RIG_URI_BYTES])
{
    snprintf(uri, RIG_URI_BYTES, "fault+%s?%s", FAULT_SERVER_URI, options);
    CU_ASSERT_TRUE_FATAL(rig_choose(uri));
    rig_open(rig);
    CU_ASSERT_EQUAL_FATAL(rig_ask(rig, &rig->client, "abcdef", 6), 0);
    RIG_UNTIL(rig, rig->request);
}

static int accept_request(struct rig *rig)
{
    struct pf_endpoint_attr attr = rig_default_attr;
    struct pf_why why = {""};
    struct pf_request *request = rig->request;
    attr.events = &rig_endpoint_events;
    attr.ctx = &rig->server;
    rig->request = NULL;
    return pf_accept(request, rig->server_host.lane, &attr, "abcdef", 6, &rig->server.endpoint,
                     &why);
}

static void failing_accept(void)
{
    struct rig rig;
    char uri[RIG_URI_BYTES];
    listening_scene(&rig, "at=4&do=fail", uri);
    CU_ASSERT_EQUAL(accept_request(&rig), -EIO);
    rig.server.endpoint = NULL;
    RIG_UNTIL(&rig, rig.client.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ECONNREFUSED);
    rig_close(&rig);
}

static void cut_accept(void)
{
    struct rig rig;
    char uri[RIG_URI_BYTES];
    listening_scene(&rig, "at=4&do=cut", uri);
    CU_ASSERT_EQUAL(accept_request(&rig), 0);
    RIG_UNTIL(&rig, rig.client.closed && rig.server.closed);
    CU_ASSERT_EQUAL(rig.server.closed_status, -ECONNRESET);
    rig_close(&rig);
}

static void dropped_accept(void)
{
    struct rig rig;
    char uri[RIG_URI_BYTES];
    listening_scene(&rig, "at=4&do=drop", uri);
    CU_ASSERT_EQUAL(accept_request(&rig), 0);
    RIG_UNTIL(&rig, rig.server.closed);
    CU_ASSERT_EQUAL(rig.server.closed_status, -ETIMEDOUT);
    CU_ASSERT_EQUAL(rig.client.connected, 0);
    rig_close(&rig);
}

static void corrupt_accept(void)
{
    struct rig rig;
    char uri[RIG_URI_BYTES];
    listening_scene(&rig, "at=4&do=corrupt", uri);
    CU_ASSERT_EQUAL(memcmp(rig.asked, "abcdef", 6), 0);
    CU_ASSERT_EQUAL(accept_request(&rig), 0);
    RIG_UNTIL(&rig, rig.client.connected && rig.server.connected);
    CU_ASSERT_EQUAL(rig.client.data_len, 6);
    CU_ASSERT_TRUE(one_bit_apart(rig.client.data, "abcdef", 6));
    rig_close(&rig);
}

static void connect_faults(void)
{
    struct rig rig;
    faulty_client(&rig, "at=3&do=cut");
    CU_ASSERT_EQUAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.client.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ECONNRESET);
    if (rig.request)
        pf_reject(rig.request, NULL, 0);
    rig.request = NULL;
    rig_close(&rig);

    faulty_client(&rig, "at=3&do=drop");
    CU_ASSERT_EQUAL(rig_ask(&rig, &rig.client, NULL, 0), 0);
    RIG_UNTIL(&rig, rig.client.closed);
    CU_ASSERT_EQUAL(rig.client.closed_status, -ETIMEDOUT);
    CU_ASSERT_EQUAL(rig.requests, 0);
    rig_close(&rig);

    faulty_client(&rig, "at=3&do=corrupt");
    CU_ASSERT_EQUAL(rig_ask(&rig, &rig.client, "abcdef", 6), 0);
    RIG_UNTIL(&rig, rig.request);
    CU_ASSERT_TRUE(one_bit_apart(rig.asked, "abcdef", 6));
    pf_reject(rig.request, NULL, 0);
    RIG_UNTIL(&rig, rig.client.closed);
    rig_close(&rig);
}

static void bad_options(void)
{
    static const char *const bad[] = {
        "fault+inproc://x?at=x",        "fault+inproc://x?at=1x",
        "fault+inproc://x?at=-1",       "fault+inproc://x?at=1&do=explode",
        "fault+inproc://x?at=1&ms=two", "fault+nothing://x",
    };
    struct pf_device *device;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_why why = {""};
        CU_ASSERT_EQUAL(open_device(bad[i], &device, &why), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i]));
    }
    struct pf_why why = {""};
    struct pf_device_attr attr = {.uri = "fault+inproc://x", .node = PF_NODE_ANY};
    CU_ASSERT_EQUAL(pf_device_open(&pf_fault_transport, &attr, &device, &why), -EINVAL);
    struct pf_caps caps = {0};
    attr.transports = contract_backends;
    CU_ASSERT_EQUAL(pf_query(&pf_fault_transport, &attr, &caps, &why), 0);
    CU_ASSERT_TRUE(caps.max_gather > 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"calls that fail", failing_calls},
        {"connect fails", failing_connect},
        {"connect is cut, dropped, corrupted", connect_faults},
        {"accept fails", failing_accept},
        {"accept is cut", cut_accept},
        {"accept is dropped", dropped_accept},
        {"accept is corrupted", corrupt_accept},
        {"bad options", bad_options},
        {NULL, NULL},
    };
    return pf_suite_run("fault_calls", tests, argc > 1 ? argv[1] : NULL);
}
