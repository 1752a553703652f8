/* SPDX-License-Identifier: BSD-2-Clause */
/* verbs_suite ADDRESS [TESTNAME]: what the contract suite can't ask of every back end. */
#include "rdma/verbs/verbs.h"

#include "tests/suite.h"

#include <linux/capability.h>
#include <rdma/rdma_cma.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* CUnit's tests take no argument: set once by main. */
static struct {
    char uri[128];
} target;

struct host {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_listener *listener;
    unsigned requests;
};

static void refuse(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    (void)data;
    (void)len;
    ((struct host *)ctx)->requests++;
    pf_reject(request, NULL, 0);
}

static const struct pf_listener_events refusing = {refuse};

static void host_open(struct host *host, unsigned depth)
{
    struct pf_why why = {""};
    const struct pf_device_attr attr = {.uri = target.uri, .for_listen = true, .node = PF_NODE_ANY};
    const struct pf_lane_attr lane = {.depth = depth};
    *host = (struct host){.requests = 0};
    int rc = pf_device_open(&pf_verbs_transport, &attr, &host->device, &why);
    if (rc == 0)
        rc = pf_lane_open(host->device, &lane, &host->lane, &why);
    if (rc == 0)
        rc = pf_listen(host->lane, target.uri, &refusing, host, &host->listener, &why);
    if (rc != 0)
        fprintf(stderr, "%s\n", why.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void host_close(struct host *host)
{
    pf_listener_close(host->listener);
    pf_lane_close(host->lane);
    pf_device_close(host->device);
}

/* ---- memlock --------------------------------------------------------------------------------- */

static void drop_ipc_lock(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return;
    data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    syscall(SYS_capset, &header, data);
}

/* What registering 8 MiB under a limit of 1 MiB returns; the sentence goes to why. */
static int register_under_limit(struct pf_why *why)
{
    enum { LIMIT = 1 << 20, NEEDED = 8 << 20 };
    struct host host;
    struct pf_mr *mr;
    const struct rlimit low = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
    char *memory = calloc(1, NEEDED);
    if (!memory || setrlimit(RLIMIT_MEMLOCK, &low) != 0)
        return -errno;
    drop_ipc_lock();
    host_open(&host, 0);
    int rc = pf_mr_reg(host.device, memory, NEEDED, PF_REMOTE_WRITE, &mr, why);
    host_close(&host);
    free(memory);
    return rc;
}

/*
 * In a process of its own: the kernel refuses the connection manager's descriptors to a process
 * whose credentials have changed since it opened them.
 */
static void memlock_too_low(void)
{
    struct {
        int rc;
        struct pf_why why;
    } result = {.rc = 1};
    int ends[2], status;
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        result.rc = register_under_limit(&result.why);
        _exit(write(ends[1], &result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    CU_ASSERT_EQUAL(read(ends[0], &result, sizeof result), sizeof result);
    close(ends[0]);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(result.rc, -ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.why.text, "RLIMIT_MEMLOCK is 1.0 MiB, 8.0 MiB needed"));
    CU_ASSERT_PTR_NOT_NULL(strstr(result.why.text, "limits.d"));
}

static void unmapped_memory(void)
{
    struct host host;
    struct pf_mr *mr;
    struct pf_why why = {""};
    host_open(&host, 0);
    /* Nothing is mapped in the first page. */
    CU_ASSERT_EQUAL(pf_mr_reg(host.device, (void *)64, 64, PF_REMOTE_WRITE, &mr, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "not mapped"));
    host_close(&host);
}

/* ---- devices and lanes ----------------------------------------------------------------------- */

static void not_an_rdma_address(void)
{
    struct pf_device *device;
    struct pf_why why = {""};
    struct pf_device_attr attr = {
        .uri = "verbs://127.0.0.1", .for_listen = true, .node = PF_NODE_ANY};
    CU_ASSERT_EQUAL(pf_device_open(&pf_verbs_transport, &attr, &device, &why), -ENODEV);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "127.0.0.1"));
}

/* A bare scheme: the first RDMA device that has an address. */
static void bare_scheme(void)
{
    struct pf_caps caps = {0};
    struct pf_why why = {""};
    const struct pf_device_attr attr = {.uri = "verbs", .node = PF_NODE_ANY};
    CU_ASSERT_EQUAL(pf_query(&pf_verbs_transport, &attr, &caps, &why), 0);
    CU_ASSERT_TRUE(caps.needs_pinning && caps.can_sleep && caps.ordered_writes);
    CU_ASSERT_TRUE(caps.inline_size >= 64 && caps.max_gather >= 4 && caps.max_depth >= 64);
    CU_ASSERT_EQUAL(caps.imm_bits, 32);
}

static void connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)ctx, (void)endpoint, (void)data, (void)len;
}

static void closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                   size_t len)
{
    (void)endpoint, (void)data, (void)len;
    *(int *)ctx = status;
}

static const struct pf_endpoint_events endpoint_events = {connected, closed};

/* Completions that would not fit are refused when the endpoint is made, not lost later. */
static void lane_full(void)
{
    struct host host;
    struct pf_endpoint *endpoint;
    struct pf_why why = {""};
    char uri[128];
    int status = 1;
    struct pf_endpoint_attr attr = {
        .events = &endpoint_events, .ctx = &status, .send_depth = 8, .recv_depth = 9};
    host_open(&host, 16);
    CU_ASSERT_EQUAL_FATAL(pf_listener_uri(host.listener, uri, sizeof uri), 0);
    CU_ASSERT_EQUAL(pf_connect(host.lane, uri, &attr, NULL, 0, &endpoint, &why), -ENOMEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "open the lane with more"));
    attr.recv_depth = 8;
    for (unsigned i = 0; i < 5; i++) { /* what an endpoint took is given back */
        CU_ASSERT_EQUAL_FATAL(pf_connect(host.lane, uri, &attr, NULL, 0, &endpoint, &why), 0);
        pf_endpoint_close(endpoint);
    }
    host_close(&host);
}

/* ---- a stranger at the listener -------------------------------------------------------------- */

/* Returns the event that ends the attempt. */
static enum rdma_cm_event_type knock(struct host *host, const char *words)
{
    struct rdma_event_channel *events = rdma_create_event_channel();
    struct rdma_cm_id *id;
    struct rdma_cm_event *event;
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP}, *address;
    struct rdma_conn_param param = {.private_data = words,
                                    .private_data_len = (uint8_t)strlen(words)};
    struct ibv_qp_init_attr attr = {
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
    char uri[128], *port;
    CU_ASSERT_EQUAL_FATAL(pf_listener_uri(host->listener, uri, sizeof uri), 0);
    port = strrchr(uri, ':');
    *port++ = '\0';
    CU_ASSERT_EQUAL_FATAL(rdma_getaddrinfo(strrchr(uri, '/') + 1, port, &hints, &address), 0);
    CU_ASSERT_EQUAL_FATAL(rdma_create_ep(&id, address, NULL, &attr), 0);
    CU_ASSERT_EQUAL_FATAL(rdma_migrate_id(id, events), 0); /* from here on without blocking */
    CU_ASSERT_EQUAL_FATAL(rdma_connect(id, &param), 0);
    for (unsigned i = 0; i < 64; i++) {
        pf_progress(host->lane, 8);
        usleep(1000);
    }
    CU_ASSERT_EQUAL_FATAL(rdma_get_cm_event(events, &event), 0);
    enum rdma_cm_event_type type = event->event;
    rdma_ack_cm_event(event);
    rdma_destroy_ep(id);
    rdma_freeaddrinfo(address);
    rdma_destroy_event_channel(events);
    return type;
}

static void strangers(void)
{
    struct host host;
    host_open(&host, 0);
    CU_ASSERT_EQUAL(knock(&host, "GET / HTTP/1.0"), RDMA_CM_EVENT_REJECTED);
    CU_ASSERT_EQUAL(knock(&host, ""), RDMA_CM_EVENT_REJECTED);
    CU_ASSERT_EQUAL(host.requests, 0);
    host_close(&host);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"memlock too low", memlock_too_low},
        {"unmapped memory", unmapped_memory},
        {"not an RDMA address", not_an_rdma_address},
        {"bare scheme", bare_scheme},
        {"lane full", lane_full},
        {"strangers at the listener", strangers},
        {NULL, NULL},
    };
    if (argc < 2) {
        fprintf(stderr, "usage: %s ADDRESS [TESTNAME]\n", argv[0]);
        return 2;
    }
    snprintf(target.uri, sizeof target.uri, "verbs://%s", argv[1]);
    return pf_suite_run("verbs", tests, argc > 2 ? argv[2] : NULL);
}
