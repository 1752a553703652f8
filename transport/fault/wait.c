/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "transport/fault/internal.h"

#include <stdlib.h>
#include <string.h>

static struct fault_waiting *copy(const struct fault_post *post, size_t inline_len)
{
    struct fault_waiting *waiting = calloc(1, sizeof *waiting + inline_len);
    if (!waiting)
        return NULL;
    waiting->post = *post;
    waiting->post.sgl = waiting->sgl;
    if (post->count)
        memcpy(waiting->sgl, post->sgl, post->count * sizeof post->sgl[0]);
    uint8_t *at = waiting->inline_data;
    for (unsigned i = 0; inline_len && i < post->count; i++) {
        memcpy(at, post->sgl[i].addr, post->sgl[i].len);
        at += post->sgl[i].len;
    }
    if (inline_len) {
        waiting->sgl[0] = (struct pf_sge){NULL, waiting->inline_data, inline_len};
        waiting->post.count = 1;
    }
    return waiting;
}

int pf_fault_wait(struct fault_endpoint *endpoint, const struct fault_post *post, struct pf_op *op,
                  uint64_t due)
{
    size_t len;
    if (!pf_fault_valid(endpoint, post, &len))
        return -EINVAL;
    if (endpoint->room == 0)
        return -EAGAIN;
    /* Bytes that the caller may change as soon as the post has returned are copied. */
    bool is_inline =
        post->kind == FAULT_SEND && len <= endpoint->base.lane->device->caps.inline_size;
    struct fault_waiting *waiting = copy(post, is_inline ? len : 0);
    if (!waiting)
        return -ENOMEM;
    waiting->op = op;
    waiting->due = due;
    pf_list_append(&endpoint->waiting, &waiting->node);
    endpoint->room--;
    pf_fault_wake_at(pf_container_of(endpoint->base.lane, struct fault_lane, base), due);
    return 0;
}

static void drop_first(struct fault_endpoint *endpoint)
{
    struct fault_waiting *waiting =
        pf_container_of(pf_list_pop(&endpoint->waiting), struct fault_waiting, node);
    endpoint->room++;
    free(waiting);
}

void pf_fault_wait_over(struct fault_endpoint *endpoint)
{
    struct fault_lane *lane = pf_container_of(endpoint->base.lane, struct fault_lane, base);
    if (pf_list_empty(&endpoint->waiting))
        return;
    uint64_t now = pf_now_ns();
    while (!pf_list_empty(&endpoint->waiting)) {
        struct fault_waiting *first =
            pf_container_of(endpoint->waiting.next, struct fault_waiting, node);
        if (now < first->due)
            return;
        int err = pf_fault_forward(endpoint, &first->post, first->op);
        if (err == -EAGAIN)
            return;
        /* Its caller was told that it is posted. */
        if (err)
            pf_fault_event(lane, first->op, -ECANCELED, 0);
        drop_first(endpoint);
    }
    if (endpoint->hung_up && endpoint->inner)
        pf_shutdown(endpoint->inner);
}

void pf_fault_wait_cancel(struct fault_endpoint *endpoint)
{
    struct fault_lane *lane = pf_container_of(endpoint->base.lane, struct fault_lane, base);
    while (!pf_list_empty(&endpoint->waiting)) {
        struct fault_waiting *first =
            pf_container_of(endpoint->waiting.next, struct fault_waiting, node);
        pf_fault_event(lane, first->op, -ECANCELED, 0);
        drop_first(endpoint);
    }
}
