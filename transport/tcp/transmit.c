/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/transmit.h"

#include "transport/tcp/device.h"

#include <sys/socket.h>

enum {
    BATCH_IOV = 64,
    BATCH_BYTES = 256 << 10, /* a batch is not made longer than this by one more frame */
    SYSTEM_CALLS = 16,       /* in one run, so that reading is not kept waiting, */
    RUN_BYTES = 4 << 20,     /* and about this much */
};
static_assert((int)BATCH_IOV > (int)PF_TCP_GATHER, "a frame fits in one system call");

/* What one sendmsg() takes. */
struct batch {
    struct iovec iov[BATCH_IOV];
    unsigned count;
    size_t bytes;
    struct pf_tcp_slot *held; /* the registration that its one answer with data reads from */
};

int pf_tcp_tx_init(struct pf_tcp_tx *tx, unsigned depth)
{
    pf_list_init(&tx->queue);
    pf_list_init(&tx->awaiting);
    pf_list_init(&tx->dropped);
    tx->control.iov = &tx->control_iov;
    return pf_tcp_pool_init(&tx->own, depth, PF_TCP_GATHER + 1);
}

void pf_tcp_tx_fini(struct pf_tcp_tx *tx)
{
    pf_tcp_pool_fini(&tx->own);
    pf_tcp_pool_fini(&tx->answers);
}

static struct pf_tcp_frame *to_frame(struct pf_list *item)
{
    return pf_container_of(item, struct pf_tcp_frame, link);
}

bool pf_tcp_tx_ready(const struct pf_tcp_endpoint *ep)
{
    const struct pf_tcp_tx *tx = &ep->tx;
    if (pf_list_empty(&tx->queue) || tx->error)
        return false;
    return !tx->blocked || to_frame(tx->queue.next)->left == 0;
}

/* ---- completing ------------------------------------------------------------------------------ */

void pf_tcp_tx_complete(struct pf_tcp_endpoint *ep, struct pf_tcp_frame *frame)
{
    struct pf_op *op = frame->op;
    pf_list_remove(&frame->link);
    pf_tcp_pool_give(&ep->tx.own, frame);
    op->done(op, 0, frame->length);
}

static void retire_answer(struct pf_tcp_tx *tx, struct pf_tcp_frame *frame)
{
    pf_list_remove(&frame->link);
    if (frame == &tx->control)
        tx->control_used = false;
    else
        pf_tcp_pool_give(&tx->answers, frame);
}

/* Take frames that have left off the queue. False when the budget ends or the endpoint did. */
static bool complete_left(struct pf_tcp_endpoint *ep)
{
    struct pf_tcp_tx *tx = &ep->tx;
    while (!pf_list_empty(&tx->queue)) {
        struct pf_tcp_frame *frame = to_frame(tx->queue.next);
        if (frame->left > 0)
            return true;
        if (!frame->op) {
            retire_answer(tx, frame);
        } else if (frame->type == PF_TCP_READ || frame->type == PF_TCP_FLUSH) {
            pf_list_remove(&frame->link);
            pf_list_append(&tx->awaiting, &frame->link);
        } else {
            if (!pf_tcp_lane_spend(pf_tcp_lane_of(ep)))
                return false;
            pf_tcp_tx_complete(ep, frame);
            if (pf_tcp_is_dead(ep))
                return false;
        }
    }
    return true;
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool batch_add(struct batch *batch, const struct pf_tcp_frame *frame)
{
    unsigned entries = frame->iov_count - frame->iov_at;
    if (batch->count + entries > BATCH_IOV ||
        (batch->count > 0 && batch->bytes + frame->left > BATCH_BYTES))
        return false;
    memcpy(&batch->iov[batch->count], &frame->iov[frame->iov_at], entries * sizeof(struct iovec));
    batch->count += entries;
    batch->bytes += frame->left;
    return true;
}

static struct pf_tcp_slot *hold_source(struct pf_tcp_endpoint *ep, const struct pf_tcp_frame *frame)
{
    struct pf_tcp_device *device = pf_tcp_device(ep->base.lane->device);
    return pf_tcp_mr_hold(&device->table, frame->key, frame->addr, frame->length, PF_REMOTE_READ);
}

/* -EACCES: the first frame is an answer from memory that is registered no longer. */
static int batch_fill(struct pf_tcp_endpoint *ep, struct batch *batch)
{
    batch->count = 0;
    batch->bytes = 0;
    batch->held = NULL;
    pf_list_for_each (item, &ep->tx.queue) {
        struct pf_tcp_frame *frame = to_frame(item);
        if (frame->key) {
            if (batch->count > 0)
                break; /* alone, so that there is never more than one to hold */
            batch->held = hold_source(ep, frame);
            if (!batch->held)
                return -EACCES;
        }
        if (!batch_add(batch, frame) || batch->held)
            break;
    }
    return 0;
}

static ssize_t batch_send(struct pf_tcp_endpoint *ep, struct batch *batch)
{
    struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = batch->count};
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t sent;
    do {
        /* The kernel takes one piece faster than a list of one. */
        sent = batch->count == 1
                   ? send(ep->watch.fd, batch->iov[0].iov_base, batch->iov[0].iov_len, flags)
                   : sendmsg(ep->watch.fd, &message, flags);
    } while (sent < 0 && errno == EINTR);
    if (batch->held)
        pf_tcp_mr_release(batch->held);
    return sent;
}

static size_t frame_advance(struct pf_tcp_frame *frame, size_t sent)
{
    size_t taken = sent < frame->left ? sent : frame->left;
    frame->left -= taken;
    for (size_t rest = taken; rest > 0;) {
        struct iovec *iov = &frame->iov[frame->iov_at];
        size_t step = rest < iov->iov_len ? rest : iov->iov_len;
        iov->iov_base = (char *)iov->iov_base + step;
        iov->iov_len -= step;
        rest -= step;
        if (iov->iov_len == 0)
            frame->iov_at++;
    }
    return sent - taken;
}

static void account(struct pf_tcp_endpoint *ep, size_t sent)
{
    ep->moved += sent;
    pf_list_for_each (item, &ep->tx.queue) {
        if (sent == 0)
            return;
        sent = frame_advance(to_frame(item), sent);
    }
}

/* False when there is no point in trying again now. */
static bool send_once(struct pf_tcp_endpoint *ep)
{
    struct batch batch;
    if (batch_fill(ep, &batch)) {
        /* Behind half a frame a NAK would be taken for the rest of it. */
        if (pf_tcp_frame_partial(to_frame(ep->tx.queue.next)))
            pf_tcp_endpoint_end(ep, -EACCES);
        else
            pf_tcp_endpoint_refuse(ep, -EACCES);
        return false;
    }
    ssize_t sent = batch_send(ep, &batch);
    if (sent < 0 && errno == EFAULT) {
        /* Somebody has unmapped what is to be sent: the connection itself will never say so. */
        pf_tcp_endpoint_end(ep, -EFAULT);
        return false;
    }
    if (sent < 0) {
        ep->tx.blocked = errno == EAGAIN;
        ep->tx.error = ep->tx.blocked ? 0 : errno;
        return false;
    }
    account(ep, (size_t)sent);
    ep->tx.blocked = false;
    return true;
}

void pf_tcp_tx_run(struct pf_tcp_endpoint *ep)
{
    uint64_t before = ep->moved;
    for (int i = 0; i < SYSTEM_CALLS && complete_left(ep); i++)
        if (ep->moved - before >= RUN_BYTES || pf_list_empty(&ep->tx.queue) || ep->tx.error ||
            !send_once(ep))
            break;
    if (!pf_tcp_is_dead(ep))
        complete_left(ep);
}

static void abort_list(struct pf_tcp_endpoint *ep, struct pf_list *list, int status)
{
    struct pf_list *item;
    while ((item = pf_list_pop(list))) {
        struct pf_tcp_frame *frame = to_frame(item);
        if (frame->op)
            pf_tcp_lane_finish(pf_tcp_lane_of(ep), frame->op, status);
    }
}

void pf_tcp_tx_abort(struct pf_tcp_endpoint *ep, int status)
{
    abort_list(ep, &ep->tx.awaiting, status);
    abort_list(ep, &ep->tx.queue, status);
    abort_list(ep, &ep->tx.dropped, status);
}

/* ---- queueing -------------------------------------------------------------------------------- */

int pf_tcp_tx_control(struct pf_tcp_tx *tx, const struct pf_tcp_header *header, const void *data)
{
    if (tx->control_used)
        return -EBUSY;
    tx->control_used = true;
    pf_tcp_frame_start(&tx->control, header);
    pf_tcp_frame_copy(&tx->control, data, header->length);
    pf_list_append(&tx->queue, &tx->control.link);
    return 0;
}

int pf_tcp_tx_last(struct pf_tcp_tx *tx, const struct pf_tcp_header *header)
{
    if (tx->control_used)
        return -EBUSY;
    struct pf_list *keep = tx->queue.next;
    /* One that has left entirely but waits for its done() is dropped with those behind it. */
    if (keep != &tx->queue && pf_tcp_frame_partial(to_frame(keep)))
        keep = keep->next;
    while (keep != &tx->queue) {
        struct pf_list *next = keep->next;
        struct pf_tcp_frame *frame = to_frame(keep);
        if (frame->op) {
            pf_list_remove(keep);
            pf_list_append(&tx->dropped, keep);
        } else {
            retire_answer(tx, frame);
        }
        keep = next;
    }
    return pf_tcp_tx_control(tx, header, "");
}

static int queue_answer(struct pf_tcp_tx *tx, const struct pf_tcp_header *header,
                        struct pf_tcp_frame **out)
{
    struct pf_tcp_frame *frame = pf_tcp_pool_take(&tx->answers);
    if (!frame)
        return -EPROTO;
    pf_tcp_frame_start(frame, header);
    pf_list_append(&tx->queue, &frame->link);
    *out = frame;
    return 0;
}

int pf_tcp_tx_flush_ack(struct pf_tcp_tx *tx)
{
    struct pf_tcp_header header = {.version = PF_TCP_VERSION, .type = PF_TCP_FLUSH_ACK};
    struct pf_tcp_frame *frame;
    return queue_answer(tx, &header, &frame);
}

int pf_tcp_tx_read_data(struct pf_tcp_tx *tx, const struct pf_tcp_header *request)
{
    struct pf_tcp_header header = {
        .version = PF_TCP_VERSION, .type = PF_TCP_READ_DATA, .length = request->length};
    struct pf_tcp_frame *frame;
    int status = queue_answer(tx, &header, &frame);
    if (status)
        return status;
    frame->key = request->key;
    frame->addr = request->addr;
    frame->length = request->length;
    pf_tcp_frame_add(frame, pf_tcp_pointer(request->addr), request->length);
    return 0;
}

struct pf_tcp_frame *pf_tcp_tx_awaiting(const struct pf_tcp_tx *tx, uint8_t type)
{
    if (pf_list_empty(&tx->awaiting))
        return NULL;
    struct pf_tcp_frame *frame = to_frame(tx->awaiting.next);
    return frame->type == type ? frame : NULL;
}
