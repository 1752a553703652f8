/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the contract tests stand on: two hosts (a device and a lane each) in one process, a listener
 * at the first, connections between them, registered memory, operations that record their done().
 *
 * Waiting is driven by progress and bounded by a deadline that no machine should reach: a test that
 * does reach it has failed.
 */
#ifndef PF_TESTS_CONTRACT_RIG_H
#define PF_TESTS_CONTRACT_RIG_H

#include "base/clock.h"
#include "tests/suite.h"
#include "transport/transport.h"

enum { RIG_DEADLINE_S = 30, RIG_URI_BYTES = 320, RIG_DEPTH = 32, RIG_MESSAGE = 4096 };

struct rig_host {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_list memories; /* given back when the host is closed */
};

/* One end of a connection, with a record of its connection events. */
struct rig_end {
    struct rig_host *host;
    struct pf_endpoint *endpoint;
    unsigned connected; /* calls */
    unsigned closed;
    int closed_status;
    uint8_t data[PF_PRIVATE_DATA_MAX]; /* what came with the last of them */
    size_t data_len;
    bool close_at_once; /* close the endpoint from within the next event */
    bool strange;       /* what came broke the contract; rig_close() asserts that nothing did */
};

struct rig {
    struct rig_host server_host, client_host;
    struct pf_listener *listener;
    bool strange; /* as in rig_end; callbacks may run in threads, where CUnit can't assert */
    char uri[RIG_URI_BYTES];    /* where the listener can be reached */
    struct pf_request *request; /* the last that came and was not answered */
    unsigned requests;
    uint8_t asked[PF_PRIVATE_DATA_MAX];
    size_t asked_len;
    struct rig_end server, client; /* the connection that rig_pair() makes */
};

struct rig_op {
    struct pf_op op;
    unsigned calls;
    int status;
    size_t bytes;
    void (*then)(struct rig_op *op); /* called from within done() */
    void *ctx;
};

/* Registered memory, all zeros at first. */
struct rig_memory {
    char *bytes;
    size_t len;
    struct pf_mr *mr;
    char *whole; /* with the margins */
    struct pf_list on_host;
};

/* ---- the back end under test: set by main before the first test, then only read */
bool rig_choose(const char *uri);
const char *rig_target(void);
void rig_skip(const char *reason);

/* ---- hosts and connections */
extern const struct pf_endpoint_events rig_endpoint_events;
extern const struct pf_endpoint_attr rig_default_attr;

void rig_host_open(struct rig_host *host, bool for_listen, const char *uri);
void rig_host_close(struct rig_host *host);
/* Another lane on a device, which stays its host's: close the lane by pf_lane_close(). */
void rig_lane_open(struct rig_host *host, struct pf_device *device);

void rig_open(struct rig *rig);                                      /* hosts and listener */
void rig_pair(struct rig *rig, const struct pf_endpoint_attr *attr); /* the same, and connect */
void rig_close(struct rig *rig);

int rig_ask(struct rig *rig, struct rig_end *end, const void *data, size_t len);
/* Connect two more ends: each has its host set. attr NULL: the default. */
void rig_join(struct rig *rig, struct rig_end *client, struct rig_end *server,
              const struct pf_endpoint_attr *attr);
void rig_end_close(struct rig_end *end);

/* ---- progress: the thread that owns both lanes */
int rig_step(struct rig *rig);
bool rig_late(uint64_t *since);
/* For about this long, see to it that nothing keeps anything from happening. */
void rig_settle(struct rig *rig, unsigned milliseconds);

#define RIG_UNTIL(rig, condition)                                                                  \
    do {                                                                                           \
        uint64_t since_ = 0;                                                                       \
        while (!(condition) && !rig_late(&since_))                                                 \
            rig_step(rig);                                                                         \
        CU_ASSERT_TRUE_FATAL(!!(condition));                                                       \
    } while (0)

/* Post, making progress as long as the queue is full. */
#define RIG_POST(rig, call)                                                                        \
    do {                                                                                           \
        uint64_t since_ = 0;                                                                       \
        int err_;                                                                                  \
        while ((err_ = (call)) == -EAGAIN && !rig_late(&since_))                                   \
            rig_step(rig);                                                                         \
        CU_ASSERT_EQUAL_FATAL(err_, 0);                                                            \
    } while (0)

/* ---- operations and memory */
void rig_op_init(struct rig_op *op);
#define RIG_OK(record)                                                                             \
    do {                                                                                           \
        CU_ASSERT_EQUAL((record)->calls, 1);                                                       \
        CU_ASSERT_EQUAL((record)->status, 0);                                                      \
    } while (0)

/* They live until their host is closed. */
void rig_memory_make(struct rig_memory *memory, struct rig_host *host, size_t len, unsigned access);
/* With unregistered margins, so that what lands outside would be seen and not crash. */
void rig_memory_inside(struct rig_memory *memory, struct rig_host *host, size_t len, size_t margin,
                       unsigned access);
/* Bytes that tell their place and the seed apart. */
void rig_fill(char *at, size_t len, unsigned seed);
bool rig_filled(const char *at, size_t len, unsigned seed);
bool rig_all(const char *at, size_t len, char byte);

struct pf_sge rig_sge(const struct rig_memory *memory, size_t offset, size_t len);
/* The key of memory at owner's side, as user's endpoint addresses it. */
struct pf_rkey rig_key(const struct rig_memory *memory, struct rig_end *owner,
                       struct rig_end *user);
uint64_t rig_address(const struct rig_memory *memory, size_t offset);

/* One piece each; the caller checks the return value. */
int rig_send(struct rig_end *end, const struct rig_memory *memory, size_t offset, size_t len,
             struct rig_op *op);
int rig_recv(struct rig_end *end, const struct rig_memory *memory, size_t offset, size_t len,
             struct rig_op *op);

/* ---- the themes: tables that end with {NULL, NULL} */
extern const struct pf_test contract_connect[];
extern const struct pf_test contract_close[];
extern const struct pf_test contract_data[];
extern const struct pf_test contract_flow[];
extern const struct pf_test contract_errors[];
extern const struct pf_test contract_sleep[];
extern const struct pf_test contract_threads[];
extern const struct pf_test contract_death[];

/* What the tests in death.c start and end: a peer in a process of its own, named by its role. */
extern const struct pf_test contract_peer[];

#endif
