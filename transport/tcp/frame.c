/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/frame.h"

#include <stdlib.h>

int pf_tcp_pool_init(struct pf_tcp_pool *pool, unsigned count, unsigned iov_each)
{
    pool->frames = calloc(count, sizeof *pool->frames);
    pool->iov = calloc((size_t)count * iov_each, sizeof *pool->iov);
    if (!pool->frames || !pool->iov) {
        pf_tcp_pool_fini(pool);
        return -ENOMEM;
    }
    pf_list_init(&pool->free);
    for (unsigned i = 0; i < count; i++) {
        pool->frames[i].iov = pool->iov + (size_t)i * iov_each;
        pf_list_append(&pool->free, &pool->frames[i].link);
    }
    return 0;
}

void pf_tcp_pool_fini(struct pf_tcp_pool *pool)
{
    free(pool->frames);
    free(pool->iov);
    *pool = (struct pf_tcp_pool){.frames = NULL};
}

struct pf_tcp_frame *pf_tcp_pool_take(struct pf_tcp_pool *pool)
{
    struct pf_list *item = pf_list_pop(&pool->free);
    return item ? pf_container_of(item, struct pf_tcp_frame, link) : NULL;
}

void pf_tcp_pool_give(struct pf_tcp_pool *pool, struct pf_tcp_frame *frame)
{
    pf_list_append(pool->free.next, &frame->link); /* in front of the first */
}

void pf_tcp_frame_start(struct pf_tcp_frame *frame, const struct pf_tcp_header *header)
{
    pf_tcp_encode(header, frame->wire);
    frame->op = NULL;
    frame->type = header->type;
    frame->key = 0;
    frame->left = PF_TCP_HEADER_BYTES;
    frame->iov_at = 0;
    frame->iov_count = 1;
    frame->scatter = 0;
    frame->iov[0] = (struct iovec){frame->wire, PF_TCP_HEADER_BYTES};
}

void pf_tcp_frame_add(struct pf_tcp_frame *frame, void *data, size_t len)
{
    frame->iov[frame->iov_count++] = (struct iovec){data, len};
    frame->left += len;
}

void pf_tcp_frame_copy(struct pf_tcp_frame *frame, const void *data, size_t len)
{
    if (len == 0)
        return; /* data may be NULL then */
    memcpy(frame->wire + frame->iov[0].iov_len, data, len);
    frame->iov[0].iov_len += len;
    frame->left += len;
}

bool pf_tcp_frame_partial(const struct pf_tcp_frame *frame)
{
    return frame->left > 0 && (frame->iov_at > 0 || frame->iov[0].iov_base != frame->wire);
}
