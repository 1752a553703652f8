/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Closing a shared-memory endpoint whose peer lives in this process. There the shm provider (1.17)
 * does not map the peer's region a second time but uses the peer's own mapping; closing unmaps it
 * under the peer's feet, which may still be about to answer a command of ours. So such an endpoint
 * is put aside, untouched, until the peer's side stream has ended: then both have stopped. Nothing
 * lands meanwhile, because the provider lands writes only when the queue is read.
 *
 * Peers in other processes have mappings of their own, and their endpoints are closed at once.
 */
#include "rdma/ofi/internal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct grave {
    struct pf_list link; /* in the device, under its lock: lanes come and go */
    struct fid_ep *ep;
    struct fid_cq *cq;
    struct fid_av *av;
    int fd;
};

static bool peer_is_here(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == getpid();
}

static bool stream_ended(int fd)
{
    char unread[512];
    ssize_t got;
    do
        got = recv(fd, unread, sizeof unread, MSG_DONTWAIT);
    while (got > 0);
    return got == 0 || (errno != EAGAIN && errno != EINTR);
}

/* Close what has waited long enough. */
void pf_ofi_grave_sweep(struct pf_ofi_device *device)
{
    pthread_mutex_lock(&device->lock);
    struct pf_list *item = device->graves.next;
    while (item != &device->graves) {
        struct grave *grave = pf_container_of(item, struct grave, link);
        item = item->next;
        if (!stream_ended(grave->fd))
            continue;
        pf_list_remove(&grave->link);
        fi_close(&grave->ep->fid);
        fi_close(&grave->cq->fid);
        fi_close(&grave->av->fid);
        close(grave->fd);
        free(grave);
    }
    pthread_mutex_unlock(&device->lock);
}

/*
 * True if the endpoint's resources were taken. The peer's address is removed first: closing the
 * address vector would look into the peer's region, which may be gone by then.
 */
bool pf_ofi_grave_bury(struct pf_ofi_endpoint *endpoint)
{
    struct pf_ofi_device *device = endpoint->device;
    if (!device->local || !endpoint->side || !endpoint->av || !peer_is_here(endpoint->side->fd))
        return false;
    struct grave *grave = calloc(1, sizeof *grave);
    int fd = dup(endpoint->side->fd);
    if (!grave || fd < 0) {
        free(grave);
        return false;
    }
    if (endpoint->peer != FI_ADDR_UNSPEC)
        fi_av_remove(endpoint->av, &endpoint->peer, 1, 0);
    *grave = (struct grave){
        .ep = endpoint->ep,
        .cq = endpoint->cq,
        .av = endpoint->av,
        .fd = fd,
    };
    endpoint->ep = NULL;
    endpoint->cq = NULL;
    endpoint->av = NULL;
    shutdown(fd, SHUT_WR);
    pthread_mutex_lock(&device->lock);
    pf_list_append(&device->graves, &grave->link);
    pthread_mutex_unlock(&device->lock);
    return true;
}
