/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plain libibverbs and librdmacm, two processes on one host, nothing in between: what the verbs
 * back end is held against. A 64-byte inline send answered by a 4 KiB write with immediate, one
 * outstanding; and one-way writes of 4 KiB, 64 KiB and 1 MiB. Both ends spin with sched_yield().
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REQUEST_BYTES = 64,
    ANSWER_BYTES = 4096,
    WARM_UP = 500,
    REPEATS = 3, /* of each transfer; the median counts */
    DEPTH = 64,
    REGION_BYTES = 8 << 20,
    CM_PORT = 7499,
};

struct options {
    const char *address;
    unsigned rounds; /* requests that are timed */
    size_t bytes;    /* of one transfer */
};

/* What each end tells the other when they connect. */
struct key {
    uint64_t region;
    uint32_t rkey;
} __attribute__((packed));

struct end {
    struct rdma_event_channel *events;
    struct rdma_cm_id *id;
    struct ibv_cq *cq;
    struct ibv_mr *mr;
    char *region; /* written to and from; its first bytes hold requests and answers */
    struct key peer;
};

static const size_t piece_sizes[] = {4096, 65536, 1 << 20};
static const char *const piece_names[] = {"write_4k_GBps", "write_64k_GBps", "write_1m_GBps"};
enum { PIECES = sizeof piece_sizes / sizeof piece_sizes[0] };

static void die(const char *doing)
{
    fprintf(stderr, "bare_verbs: %s: %m\n", doing);
    exit(1);
}

/* ---- connecting ---- */

/* The next event, which must be the one named; its private data goes to peer. */
static struct rdma_cm_id *expect(struct end *end, enum rdma_cm_event_type type)
{
    struct rdma_cm_event *event;
    if (rdma_get_cm_event(end->events, &event) != 0)
        die("reading connection events");
    if (event->event != type) {
        fprintf(stderr, "bare_verbs: %s, status %d\n", rdma_event_str(event->event), event->status);
        exit(1);
    }
    struct rdma_cm_id *id = event->id;
    if (event->param.conn.private_data && event->param.conn.private_data_len >= sizeof end->peer)
        memcpy(&end->peer, event->param.conn.private_data, sizeof end->peer);
    rdma_ack_cm_event(event);
    return id;
}

static void make_queues(struct end *end)
{
    struct ibv_pd *pd = ibv_alloc_pd(end->id->verbs);
    end->cq = ibv_create_cq(end->id->verbs, 2 * DEPTH, NULL, NULL, 0);
    if (!pd || !end->cq || posix_memalign((void **)&end->region, 4096, REGION_BYTES) != 0)
        die("making a completion queue and memory");
    memset(end->region, 1, REGION_BYTES);
    end->mr =
        ibv_reg_mr(pd, end->region, REGION_BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (!end->mr)
        die("registering memory");
    struct ibv_qp_init_attr attr = {
        .send_cq = end->cq,
        .recv_cq = end->cq,
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = 1,
        .cap = {.max_send_wr = DEPTH,
                .max_recv_wr = DEPTH,
                .max_send_sge = 1,
                .max_recv_sge = 1,
                .max_inline_data = REQUEST_BYTES},
    };
    if (rdma_create_qp(end->id, pd, &attr) != 0)
        die("creating a queue pair");
}

static void post_receive(struct end *end)
{
    struct ibv_sge sge = {(uintptr_t)end->region, REQUEST_BYTES, end->mr->lkey};
    struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
    errno = ibv_post_recv(end->id->qp, &wr, &bad);
    if (errno != 0)
        die("posting a receive");
}

static struct sockaddr_in address_of(const struct options *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(CM_PORT)};
    if (inet_pton(AF_INET, options->address, &address.sin_addr) != 1) {
        fprintf(stderr, "bare_verbs: \"%s\" is not an IPv4 address\n", options->address);
        exit(1);
    }
    return address;
}

static void open_id(struct end *end)
{
    end->events = rdma_create_event_channel();
    if (!end->events || rdma_create_id(end->events, &end->id, NULL, RDMA_PS_TCP) != 0)
        die("opening the connection manager");
}

static struct rdma_conn_param parameters(const struct key *own)
{
    return (struct rdma_conn_param){.private_data = own,
                                    .private_data_len = sizeof *own,
                                    .retry_count = 6,
                                    .rnr_retry_count = 6};
}

/* ready: a pipe that is closed once the listener is there. */
static void serve_connection(struct end *end, const struct options *options, int ready)
{
    struct sockaddr_in address = address_of(options);
    open_id(end);
    if (rdma_bind_addr(end->id, (struct sockaddr *)&address) != 0 || rdma_listen(end->id, 1) != 0)
        die("listening");
    close(ready);
    end->id = expect(end, RDMA_CM_EVENT_CONNECT_REQUEST);
    make_queues(end);
    for (unsigned i = 0; i < DEPTH; i++)
        post_receive(end);
    struct key own = {(uintptr_t)end->region, end->mr->rkey};
    struct rdma_conn_param param = parameters(&own);
    if (rdma_accept(end->id, &param) != 0)
        die("accepting");
    struct key peer = end->peer;
    expect(end, RDMA_CM_EVENT_ESTABLISHED);
    end->peer = peer;
}

static void make_connection(struct end *end, const struct options *options)
{
    struct sockaddr_in address = address_of(options);
    open_id(end);
    if (rdma_resolve_addr(end->id, NULL, (struct sockaddr *)&address, 2000) != 0)
        die("resolving the address");
    expect(end, RDMA_CM_EVENT_ADDR_RESOLVED);
    if (rdma_resolve_route(end->id, 2000) != 0)
        die("resolving the route");
    expect(end, RDMA_CM_EVENT_ROUTE_RESOLVED);
    make_queues(end);
    struct key own = {(uintptr_t)end->region, end->mr->rkey};
    struct rdma_conn_param param = parameters(&own);
    if (rdma_connect(end->id, &param) != 0)
        die("connecting");
    expect(end, RDMA_CM_EVENT_ESTABLISHED);
}

/* ---- posting and completions ---- */

static void post(struct end *end, struct ibv_send_wr *wr, size_t offset, size_t len)
{
    struct ibv_sge sge = {(uintptr_t)end->region + offset, (uint32_t)len, end->mr->lkey};
    struct ibv_send_wr *bad;
    wr->sg_list = &sge;
    wr->num_sge = 1;
    wr->wr.rdma.remote_addr = end->peer.region + offset;
    wr->wr.rdma.rkey = end->peer.rkey;
    errno = ibv_post_send(end->id->qp, wr, &bad);
    if (errno != 0)
        die("posting");
}

static void send_message(struct end *end, size_t len)
{
    struct ibv_send_wr wr = {.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE};
    post(end, &wr, 0, len);
}

/* One completion that is there, or false after a yield. */
static bool poll_one(struct end *end, struct ibv_wc *wc)
{
    if (ibv_poll_cq(end->cq, 1, wc) == 0) {
        sched_yield();
        return false;
    }
    if (wc->status != IBV_WC_SUCCESS) {
        fprintf(stderr, "bare_verbs: %s\n", ibv_wc_status_str(wc->status));
        exit(1);
    }
    return true;
}

/* Wait for a receive; completions of our own sends pass by. */
static uint32_t wait_receive(struct end *end)
{
    struct ibv_wc wc;
    while (!poll_one(end, &wc) || !(wc.opcode & IBV_WC_RECV))
        ;
    post_receive(end);
    return wc.byte_len;
}

/* ---- the two sides ---- */

static void serve(const struct options *options, int ready)
{
    struct end end = {.id = NULL};
    serve_connection(&end, options, ready);
    while (wait_receive(&end) == REQUEST_BYTES) {
        struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE_WITH_IMM};
        post(&end, &wr, 0, ANSWER_BYTES);
    }
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void measure_requests(struct end *end, unsigned rounds)
{
    uint64_t *times = calloc(rounds, sizeof *times);
    if (!times)
        die("allocating the times");
    for (unsigned i = 0; i < DEPTH / 2; i++)
        post_receive(end);
    for (unsigned i = 0; i < rounds + WARM_UP; i++) {
        uint64_t start = pf_now_ns();
        send_message(end, REQUEST_BYTES);
        wait_receive(end);
        if (i >= WARM_UP)
            times[i - WARM_UP] = pf_now_ns() - start;
    }
    qsort(times, rounds, sizeof *times, compare_times);
    size_t p50 = rounds / 2, p99 = (size_t)rounds * 99 / 100, p999 = (size_t)rounds * 999 / 1000;
    printf("{\"rtt_p50_us\": %.3f, \"rtt_p99_us\": %.3f, \"rtt_p999_us\": %.3f",
           (double)times[p50] / 1e3, (double)times[p99] / 1e3, (double)times[p999] / 1e3);
    free(times);
}

static double transfer(struct end *end, size_t piece, size_t bytes)
{
    struct ibv_wc wc;
    size_t pieces = bytes / piece, posted = 0, done = 0;
    uint64_t start = pf_now_ns();
    while (done < pieces) {
        if (posted < pieces && posted - done < DEPTH / 2) {
            struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE};
            post(end, &wr, posted * piece % REGION_BYTES, piece);
            posted++;
        } else if (poll_one(end, &wc)) {
            done++;
        }
    }
    return (double)(pieces * piece) / (double)(pf_now_ns() - start);
}

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure_transfers(struct end *end, size_t bytes)
{
    for (unsigned i = 0; i < PIECES; i++) {
        double rates[REPEATS];
        for (unsigned r = 0; r < REPEATS; r++)
            rates[r] = transfer(end, piece_sizes[i], bytes);
        qsort(rates, REPEATS, sizeof rates[0], compare_rates);
        printf(", \"%s\": %.4f", piece_names[i], rates[REPEATS / 2]);
    }
    printf("}\n");
}

static void ask(const struct options *options)
{
    struct end end = {.id = NULL};
    make_connection(&end, options);
    measure_requests(&end, options->rounds);
    struct ibv_wc wc; /* the last request's own completion */
    while (ibv_poll_cq(end.cq, 1, &wc) > 0)
        ;
    measure_transfers(&end, options->bytes);
    send_message(&end, 1);
    while (!poll_one(&end, &wc))
        ;
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.rounds = 10000, .bytes = 64 << 20};
    int option;
    while ((option = getopt(argc, argv, "n:b:")) != -1) {
        if (option == 'n')
            options.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'b')
            options.bytes = strtoul(optarg, NULL, 10);
    }
    if (optind + 1 != argc || options.rounds == 0 || options.bytes < piece_sizes[PIECES - 1]) {
        fprintf(stderr,
                "usage: %s [-n ROUNDS] [-b BYTES] ADDRESS\n"
                "ADDRESS is that of an RDMA device of this host.\n",
                argv[0]);
        exit(2);
    }
    options.address = argv[optind];
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    int ready[2], status = 1;
    if (pipe(ready) != 0)
        die("making a pipe");
    pid_t server = fork(); /* before any RDMA object: they don't survive it */
    if (server < 0)
        die("forking");
    if (server == 0) {
        close(ready[0]);
        serve(&options, ready[1]);
        return 0;
    }
    char none;
    close(ready[1]);
    if (read(ready[0], &none, 1) != 0)
        die("waiting for the listener");
    ask(&options);
    waitpid(server, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
