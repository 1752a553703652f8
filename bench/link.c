/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/link.h"

#include "base/clock.h"
#include "bench/link_post.h"
#include "core/backends.h"
#include "core/memory/locked.h"
#include "numa/topology.h"
#include "pageferry.h"
#include "transport/uri.h"
#include "transport/uri_list.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { BUDGET = 32, LOOKS_BETWEEN_CLOCKS = 1024, SLEEP_MS = 1000 };

/* Of the peer, after which the measurement is given up: while connecting, and later. */
#define GREETING_NS 10000000000ull
#define SILENCE_NS  30000000000ull

enum message_kind { MESSAGE_HELLO = 1, MESSAGE_PING, MESSAGE_STOP };

/* Both ends are one program on one host: its own layout will do. */
struct message {
    uint32_t kind;
    uint32_t unused;
    uint64_t addr; /* HELLO: of the sender's region */
    uint8_t key[PF_RKEY_BYTES];
    uint8_t rest[PF_LINK_MESSAGE_BYTES - 16 - PF_RKEY_BYTES];
};

static int fail(struct pf_link *link, int status, const char *what)
{
    if (!link->status)
        link->status = pf_why(&link->why, status, "%s: %s", what, ferry_strerror(status));
    return link->status;
}

/* ---- callbacks
 * ----------------------------------------------------------------------------------------- */

static void on_connected(void *ctx, struct pf_endpoint *endpoint, const void *data, size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    ((struct pf_link *)ctx)->connected = true;
}

static void on_closed(void *ctx, struct pf_endpoint *endpoint, int status, const void *data,
                      size_t len)
{
    (void)endpoint;
    (void)data;
    (void)len;
    fail(ctx, status ? status : -ECONNRESET, "the bare connection ended");
}

static int post_receive(struct pf_link_receive *receive)
{
    struct pf_link *link = receive->owner;
    struct pf_sge sge = {link->messages_mr, receive->message, PF_LINK_MESSAGE_BYTES};
    return pf_recv(link->endpoint, &sge, &receive->op);
}

static int on_message(struct pf_link *link, const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_HELLO:
        link->peer_addr = message->addr;
        link->greeted = true;
        return pf_rkey_unpack(link->endpoint, message->key, &link->peer_key);
    case MESSAGE_PING:
        link->asked++;
        return 0;
    case MESSAGE_STOP:
        link->stopped = true;
        return 0;
    default:
        return -EPROTO;
    }
}

static void receive_done(struct pf_op *op, int status, size_t bytes)
{
    struct pf_link_receive *receive = pf_container_of(op, struct pf_link_receive, op);
    struct pf_link *link = receive->owner;
    if (!status && op->has_imm)
        link->answers++;
    else if (!status)
        status = bytes == sizeof(struct message) ? on_message(link, receive->message) : -EPROTO;
    if (!status)
        status = post_receive(receive);
    if (status && status != -ECANCELED)
        fail(link, status, "receiving on the bare connection failed");
}

static void post_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_link_post *post = pf_container_of(op, struct pf_link_post, op);
    pf_list_append(&post->owner->free, &post->free);
    post->owner->posted--;
    if (status && status != -ECANCELED)
        fail(post->owner, status, "a send or write of the bare connection failed");
}

static void flush_done(struct pf_op *op, int status, size_t bytes)
{
    (void)bytes;
    struct pf_link *link = pf_container_of(op, struct pf_link, flush);
    link->flushing = false;
    if (status && status != -ECANCELED)
        fail(link, status, "a flush of the bare connection failed");
}

/* ---- moving along
 * --------------------------------------------------------------------------------------- */

/* Nothing happened. The clock is looked at now and then only: it would cost the round trip. */
static int rest(struct pf_link *link)
{
    if (++link->looks % LOOKS_BETWEEN_CLOCKS == 0 || !link->spin) {
        uint64_t now = pf_now_ns();
        if (link->idle.since == 0)
            link->idle.since = now;
        else if (now - link->idle.since > (link->greeted ? SILENCE_NS : GREETING_NS))
            return fail(link, -ETIMEDOUT, "the bare connection");
    }
    if (link->spin)
        sched_yield();
    else
        pf_idle(&link->idle, SLEEP_MS);
    return 0;
}

int pf_link_step(struct pf_link *link)
{
    int events = pf_progress(link->lane, BUDGET);
    if (events < 0)
        return fail(link, events, "the lane broke");
    if (link->status)
        return link->status;
    if (events == 0)
        return rest(link);
    pf_busy(&link->idle);
    return 0;
}

struct pf_link_post *pf_link_take(struct pf_link *link)
{
    struct pf_list *item;
    while (!(item = pf_list_pop(&link->free)))
        if (pf_link_step(link))
            return NULL;
    return pf_container_of(item, struct pf_link_post, free);
}

int pf_link_posted(struct pf_link *link, struct pf_link_post *post, int error)
{
    if (!error) {
        link->posted++;
        return 0;
    }
    pf_list_append(&link->free, &post->free);
    if (error == -EAGAIN)
        return pf_link_step(link);
    return fail(link, error, "cannot post on the bare connection");
}

static int say(struct pf_link *link, const struct message *message)
{
    int error;
    do {
        struct pf_link_post *post = pf_link_take(link);
        if (!post)
            return link->status;
        memcpy(post->message, message, sizeof *message);
        struct pf_sge sge = {link->messages_mr, post->message, sizeof *message};
        error = pf_send(link->endpoint, &sge, 1, &post->op);
        int status = pf_link_posted(link, post, error);
        if (status)
            return status;
    } while (error == -EAGAIN);
    return 0;
}

/*
 * Until what was posted has left: it may take progress of ours. Not by a flush, which takes
 * progress of the peer's too, and the peer may have stopped by then.
 */
static int wait_until_sent(struct pf_link *link)
{
    int error = 0;
    while (!error && link->posted > 0)
        error = pf_link_step(link);
    return error;
}

int pf_link_ask(struct pf_link *link)
{
    return say(link, &(struct message){.kind = MESSAGE_PING});
}

int pf_link_flush(struct pf_link *link)
{
    int error;
    while ((error = pf_flush(link->endpoint, &link->flush)) == -EAGAIN)
        if (pf_link_step(link))
            return link->status;
    if (error)
        return fail(link, error, "cannot flush the bare connection");
    link->flushing = true;
    while (link->flushing)
        if (pf_link_step(link))
            return link->status;
    return 0;
}

/* ---- answering
 * ------------------------------------------------------------------------------------------ */

static int answer(struct pf_link *link)
{
    struct pf_link_post *post = pf_link_take(link);
    if (!post)
        return link->status;
    struct pf_sge sge = {link->region_mr, link->region, PF_LINK_ANSWER_BYTES};
    int error = pf_write_imm(link->endpoint, &sge, 1, link->peer_addr, &link->peer_key,
                             (uint32_t)link->answered, &post->op);
    if (!error)
        link->answered++;
    return pf_link_posted(link, post, error);
}

int pf_link_serve(struct pf_link *link)
{
    while (!link->stopped) {
        int error = pf_link_step(link);
        while (!error && link->answered < link->asked)
            error = answer(link);
        if (error)
            return error;
    }
    link->stopped = false;
    return wait_until_sent(link);
}

int pf_link_begin(struct pf_link *link, struct pf_peer *peer)
{
    return pf_peer_tell(peer, &(struct pf_peer_command){.action = PF_PEER_SERVE}, &link->why);
}

int pf_link_end(struct pf_link *link, struct pf_peer *peer)
{
    int error = say(link, &(struct message){.kind = MESSAGE_STOP});
    if (!error)
        error = wait_until_sent(link);
    return error ? error : pf_peer_answer(peer, &link->why);
}

/* ---- setting up
 * ----------------------------------------------------------------------------------------- */

static struct pf_endpoint_attr endpoint_attr(struct pf_link *link)
{
    static const struct pf_endpoint_events events = {
        .connected = on_connected,
        .closed = on_closed,
    };
    return (struct pf_endpoint_attr){
        .events = &events,
        .ctx = link,
        .send_depth = link->depth + 1, /* the flush */
        .recv_depth = link->depth,
        .recv_size = PF_LINK_MESSAGE_BYTES,
    };
}

static void lay_out(struct pf_link *link)
{
    char *at = link->messages;
    pf_list_init(&link->free);
    link->flush.done = flush_done;
    for (unsigned i = 0; i < link->depth; i++) {
        link->receives[i].op.done = receive_done;
        link->receives[i].owner = link;
        link->receives[i].message = at;
        at += PF_LINK_MESSAGE_BYTES;
        link->posts[i].op.done = post_done;
        link->posts[i].owner = link;
        link->posts[i].message = at;
        at += PF_LINK_MESSAGE_BYTES;
        pf_list_append(&link->free, &link->posts[i].free);
    }
}

static int make_memory(struct pf_link *link)
{
    size_t message_bytes = (size_t)2 * PF_LINK_DEPTH * PF_LINK_MESSAGE_BYTES;
    link->messages = pf_map_locked(message_bytes, PF_NODE_UNKNOWN);
    link->region = mmap(NULL, link->region_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (link->region == MAP_FAILED)
        link->region = NULL;
    if (!link->messages || !link->region)
        return pf_why(&link->why, -ENOMEM, "no memory for a region of %zu MiB",
                      link->region_bytes >> 20);
    memset(link->region, 1, link->region_bytes);
    lay_out(link);
    int error = pf_mr_reg(link->device, link->messages, message_bytes, PF_LOCAL_WRITE,
                          &link->messages_mr, &link->why);
    return error ? error
                 : pf_mr_reg(link->device, link->region, link->region_bytes, PF_REMOTE_WRITE,
                             &link->region_mr, &link->why);
}

static int open_device(struct pf_link *link, const char *uri, bool for_listen,
                       const struct pf_bench *bench)
{
    struct pf_device_attr attr = {
        .uri = uri,
        .for_listen = for_listen,
        .node = PF_NODE_ANY,
        .transports = pf_backends,
    };
    memset(link, 0, sizeof *link);
    link->spin = bench->engine.wait == PF_WAIT_SPIN;
    link->region_bytes = bench->link_bytes ? bench->link_bytes : PF_LINK_REGION_BYTES;
    int error =
        pf_device_open(pf_transport_find(pf_backends, uri), &attr, &link->device, &link->why);
    if (error)
        return error;
    link->depth = PF_LINK_DEPTH;
    if (link->device->caps.max_depth <= link->depth)
        link->depth = link->device->caps.max_depth - 1;
    error = make_memory(link);
    if (!error)
        error =
            pf_lane_open(link->device, &(struct pf_lane_attr){.depth = 0}, &link->lane, &link->why);
    link->idle = (struct pf_idle){.lanes = {link->lane}, .lane_count = 1};
    return error;
}

/* After the endpoint exists: what is needed before the peer may say anything. */
static int post_receives(struct pf_link *link)
{
    for (unsigned i = 0; i < link->depth; i++) {
        int error = post_receive(&link->receives[i]);
        if (error)
            return fail(link, error, "cannot post receives on the bare connection");
    }
    return 0;
}

static int greet(struct pf_link *link)
{
    struct message hello = {.kind = MESSAGE_HELLO, .addr = (uintptr_t)link->region};
    while (!link->connected)
        if (pf_link_step(link))
            return link->status;
    int error = pf_rkey_pack(link->region_mr, link->endpoint, hello.key);
    if (error)
        return fail(link, error, "cannot make a key for the bare connection");
    error = say(link, &hello);
    if (!error)
        error = wait_until_sent(link);
    while (!error && !link->greeted)
        error = pf_link_step(link);
    return error;
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    (void)data;
    (void)len;
    struct pf_link *link = ctx;
    struct pf_endpoint_attr attr = endpoint_attr(link);
    if (link->endpoint) {
        pf_reject(request, NULL, 0);
        return;
    }
    int error = pf_accept(request, link->lane, &attr, NULL, 0, &link->endpoint, &link->why);
    if (error)
        link->status = error;
    else
        post_receives(link);
}

/* On the first rail. The job's listener has the port that the user gave: this one takes any. */
static int any_port(const char *uri, char *out, size_t size, struct pf_why *why)
{
    struct pf_uri_list list;
    struct pf_uri parsed;
    int error = pf_uri_list_parse(uri, &list, why);
    if (!error)
        error = pf_uri_parse(list.uris[0], &parsed, why);
    if (!error && parsed.port[0])
        snprintf(parsed.port, sizeof parsed.port, "0");
    if (!error && pf_uri_format(&parsed, out, size))
        error = pf_why(why, -EINVAL, "the address \"%s\" is too long", uri);
    return error;
}

static int listen_and_tell(struct pf_link *link, struct pf_peer *peer, const char *uri)
{
    static const struct pf_listener_events events = {.request = on_request};
    struct pf_peer_command command = {.action = PF_PEER_CONNECT};
    int error = pf_listen(link->lane, uri, &events, link, &link->listener, &link->why);
    if (error)
        return error;
    error = pf_listener_uri(link->listener, command.uri, sizeof command.uri);
    if (error)
        return pf_why(&link->why, error, "the listener has no address to connect to");
    return pf_peer_tell(peer, &command, &link->why);
}

int pf_link_open(struct pf_link *link, struct pf_peer *peer, const struct pf_bench *bench)
{
    char local[PF_BENCH_URI_MAX];
    memset(link, 0, sizeof *link);
    int error = any_port(bench->uri, local, sizeof local, &link->why);
    if (!error)
        error = open_device(link, local, true, bench);
    if (!error)
        error = listen_and_tell(link, peer, local);
    if (!error)
        error = greet(link);
    if (link->listener)
        pf_listener_close(link->listener);
    link->listener = NULL;
    /* When the peer could not connect, it knows why: that sentence is the better one. */
    if (error && error != -ETIMEDOUT)
        return error;
    int answer = pf_peer_answer(peer, &link->why);
    return answer ? answer : error;
}

int pf_link_connect(struct pf_link *link, const char *uri, const struct pf_bench *bench)
{
    int error = open_device(link, uri, false, bench);
    struct pf_endpoint_attr attr = endpoint_attr(link);
    if (!error)
        error = pf_connect(link->lane, uri, &attr, NULL, 0, &link->endpoint, &link->why);
    if (!error)
        error = post_receives(link);
    return error ? error : greet(link);
}

void pf_link_close(struct pf_link *link)
{
    if (link->listener)
        pf_listener_close(link->listener);
    if (link->endpoint)
        pf_endpoint_close(link->endpoint);
    if (link->lane)
        pf_lane_close(link->lane);
    if (link->region_mr)
        pf_mr_dereg(link->region_mr);
    if (link->messages_mr)
        pf_mr_dereg(link->messages_mr);
    if (link->region)
        munmap(link->region, link->region_bytes);
    if (link->messages)
        munmap(link->messages, (size_t)2 * PF_LINK_DEPTH * PF_LINK_MESSAGE_BYTES);
    if (link->device)
        pf_device_close(link->device);
    memset(link, 0, sizeof *link);
}
