/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/inproc/internal.h"

#include <stdlib.h>

struct link *pf_inproc_link_make(void)
{
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    pthread_mutex_init(&link->lock, NULL);
    for (unsigned i = 0; i < SIDES; i++) {
        pf_list_init(&link->sides[i].inbox);
        pf_list_init(&link->sides[i].finished);
    }
    return link;
}

void pf_inproc_link_put(struct link *link)
{
    bool last = --link->holders == 0;
    pthread_mutex_unlock(&link->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&link->lock);
    free(link);
}

static void wake_side(struct side *side)
{
    if (side->lane)
        pf_inproc_lane_wake(side->lane);
}

void pf_inproc_link_finish(struct link *link, struct message *message, unsigned poster, int status)
{
    message->status = status;
    pf_list_remove(&message->node);
    pf_list_append(&link->sides[poster].finished, &message->node);
    wake_side(&link->sides[poster]);
}

void pf_inproc_link_fail(struct link *link, int status)
{
    if (link->state == LINK_DOWN)
        return;
    link->state = LINK_DOWN;
    link->status = status;
    for (unsigned i = 0; i < SIDES; i++) {
        struct pf_list *item;
        while ((item = pf_list_pop(&link->sides[i].inbox)))
            pf_inproc_link_finish(link, pf_container_of(item, struct message, node), !i,
                                  -ECANCELED);
        wake_side(&link->sides[i]);
    }
}
