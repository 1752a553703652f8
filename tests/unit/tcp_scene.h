/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane of the tcp back end with a well-behaved connection to itself, and a raw socket that can
 * say to it what it likes. All of it in one thread.
 */
#ifndef PF_TESTS_UNIT_TCP_SCENE_H
#define PF_TESTS_UNIT_TCP_SCENE_H

#include "base/clock.h"
#include "tests/suite.h"
#include "transport/tcp/wire.h"
#include "transport/transport.h"

enum { REGION = 1 << 16, DEPTH = 8, MESSAGE = 256 };

struct end {
    struct pf_endpoint *endpoint;
    int connected, closed, status;
};

struct counted {
    struct pf_op op;
    int calls, status;
    size_t bytes;
};

/* One lane: a listener, a well-behaved connection to itself, and what a raw socket got accepted. */
struct scene {
    struct pf_device *device;
    struct pf_lane *lane;
    struct pf_listener *listener;
    char uri[128];
    struct end good[2], victim; /* good[0] connected, good[1] was accepted */
    struct end *expected;       /* who the next request becomes; NULL: nobody is expected */
    int requests;
    char *region;
    struct pf_mr *mr;
    uint8_t packed[PF_RKEY_BYTES];
    uint64_t key; /* as the wire has it, in host order */
    int fd;       /* the raw socket */
};

void scene_open(struct scene *scene);
/* Also shows that the well-behaved connection still works. */
void scene_close(struct scene *scene);
/* Let the lane move on. */
void scene_step(struct scene *scene);
/* The `done` of a struct counted. */
void scene_count(struct pf_op *op, int status, size_t bytes);
/* The one that the raw socket talks to has been closed, once, with this status. */
void scene_victim_ends(struct scene *scene, int status);
/* The header of a write into the region. */
struct pf_tcp_header scene_write(const struct scene *scene, size_t offset, uint32_t length);

#define UNTIL(scene, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ = pf_now_ns() + 30000000000ull;                                              \
        while (!(condition) && pf_now_ns() < end_)                                                 \
            scene_step(scene);                                                                     \
        CU_ASSERT_TRUE_FATAL(!!(condition));                                                       \
    } while (0)

/* ---- the raw socket -------------------------------------------------------------------------- */

/* A proper greeting. */
extern const struct pf_tcp_header raw_hello;

void raw_connect(struct scene *scene);
/* Greet properly, and be accepted as the victim. */
void raw_join(struct scene *scene);
void raw_bytes(struct scene *scene, const void *bytes, size_t len);
/* A version of 0 is replaced by ours. */
void raw_frame(struct scene *scene, struct pf_tcp_header header, const void *payload, size_t len);
/* Exactly len bytes, or false when the stream ended before. The lane moves on meanwhile. */
bool raw_read(struct scene *scene, void *out, size_t len);
bool raw_header(struct scene *scene, struct pf_tcp_header *header);
/* Nothing more comes, and it is hung up. */
void raw_hung_up_on(struct scene *scene);
/* It is told what it did wrong. */
void raw_nak(struct scene *scene, int code);

#endif
