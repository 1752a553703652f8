/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/targets.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int pf_targets_open(struct pf_targets *targets, struct pf_gate *gate, struct pf_why *why)
{
    *targets = (struct pf_targets){.gate = gate, .told_fd = -1};
    targets->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    targets->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (targets->epoll_fd < 0 || targets->command_fd < 0)
        return pf_why(why, -errno, "cannot watch userfaultfds: %s", strerror(errno));
    return 0;
}

void pf_targets_close(struct pf_targets *targets)
{
    if (!targets->gate)
        return;
    close(targets->epoll_fd);
    close(targets->command_fd);
    *targets = (struct pf_targets){.gate = NULL};
}

static void wake(int fd)
{
    ssize_t written = fd < 0 ? 0 : write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

/* ---- the list -------------------------------------------------------------------------------- */

/* With the gate closed. */
static int append(struct pf_targets *targets, struct pf_target *target)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = target};
    if (targets->count == PF_TARGETS_MAX)
        return -ENOSPC;
    if (epoll_ctl(targets->epoll_fd, EPOLL_CTL_ADD, target->uffd->fd, &event))
        return -errno;
    targets->list[targets->count++] = target;
    targets->child_homes += target->home && target->child;
    atomic_store(&target->state, PF_TARGET_SERVED);
    return 0;
}

int pf_targets_add(struct pf_targets *targets, struct pf_target *target)
{
    pf_gate_close(targets->gate);
    int error = append(targets, target);
    pf_gate_open(targets->gate);
    return error;
}

static bool take_out(struct pf_targets *targets, const struct pf_target *target)
{
    for (unsigned i = 0; i < targets->count; i++) {
        if (targets->list[i] != target)
            continue;
        pf_gate_close(targets->gate);
        targets->list[i] = targets->list[--targets->count];
        targets->child_homes -= target->home && target->child;
        pf_gate_open(targets->gate);
        epoll_ctl(targets->epoll_fd, EPOLL_CTL_DEL, target->uffd->fd, NULL);
        return true;
    }
    return false;
}

void pf_targets_remove(struct pf_targets *targets, struct pf_target *target)
{
    if (take_out(targets, target))
        atomic_store(&target->state, PF_TARGET_IDLE);
}

void pf_targets_fail(struct pf_targets *targets, struct pf_target *target, int status)
{
    if (!take_out(targets, target))
        return;
    target->status = status;
    atomic_store(&target->state, PF_TARGET_FAILED);
    wake(targets->told_fd);
}

unsigned pf_targets_spares(const struct pf_targets *targets)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PF_TARGET_SPARES; i++)
        count += atomic_load_explicit(&targets->spares[i], memory_order_relaxed) != NULL;
    return count;
}

int pf_targets_fork(struct pf_targets *targets, const struct pf_target *parent, int fd)
{
    struct pf_target *child = NULL;
    for (unsigned i = 0; i < PF_TARGET_SPARES && !child; i++)
        child = atomic_exchange(&targets->spares[i], NULL);
    if (!child)
        return -ENOSPC; /* not more than there were spares for are read */
    child->uffd->fd = fd;
    child->home = parent->home;
    child->minor = parent->minor;
    child->pid = parent->pid;
    child->child = true;
    int error = pf_uffd_unblock(fd);
    if (!error)
        error = pf_target_copy(child, parent);
    if (!error)
        error = append(targets, child);
    if (error) {
        child->status = error;
        atomic_store(&child->state, PF_TARGET_FAILED);
    }
    wake(targets->told_fd);
    return 0;
}

unsigned pf_targets_ready(struct pf_targets *targets, struct pf_target **ready, unsigned room)
{
    struct epoll_event events[16];
    int max = room < 16 ? (int)room : 16;
    int count = targets->count ? epoll_wait(targets->epoll_fd, events, max, 0) : 0;
    for (int i = 0; i < count; i++)
        ready[i] = events[i].data.ptr;
    return count > 0 ? (unsigned)count : 0;
}

/* ---- commands -------------------------------------------------------------------------------- */

int pf_targets_post(struct pf_targets *targets, struct pf_target *target, bool add)
{
    unsigned tail = atomic_load_explicit(&targets->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&targets->head, memory_order_acquire) == PF_TARGET_COMMANDS)
        return -EAGAIN;
    targets->ring[tail % PF_TARGET_COMMANDS] = (struct pf_target_command){target, add};
    atomic_store_explicit(&targets->tail, tail + 1, memory_order_release);
    wake(targets->command_fd);
    return 0;
}

static void obey(struct pf_targets *targets, const struct pf_target_command *command)
{
    struct pf_target *target = command->target;
    int error = 0;
    if (command->add)
        error = pf_targets_add(targets, target);
    else
        pf_targets_remove(targets, target);
    if (error) {
        target->status = error;
        atomic_store(&target->state, PF_TARGET_FAILED);
    }
    wake(targets->told_fd);
}

unsigned pf_targets_obey(struct pf_targets *targets)
{
    unsigned head = atomic_load_explicit(&targets->head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(&targets->tail, memory_order_acquire);
    unsigned done = tail - head;
    uint64_t count;
    if (done == 0)
        return 0;
    ssize_t got = read(targets->command_fd, &count, sizeof count);
    (void)got;
    for (; head != tail; head++) {
        obey(targets, &targets->ring[head % PF_TARGET_COMMANDS]);
        atomic_store_explicit(&targets->head, head + 1, memory_order_release);
    }
    return done;
}
